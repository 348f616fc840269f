"""A store's session as a report: the rows, the conditions beside them, the files made from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from unetbench import quiet
from unetbench.amounts import counted
from unetbench.errors import BadInput
from unetbench.levels import disturbing
from unetbench.records import DENORMALS_SEEN, HIGH_WATER_MARK, RGB, Session
from unetbench.reporting import ablation, attribution, files, limits_page
from unetbench.reporting import certificate as certificates
from unetbench.reporting.attribution import NOTHING, Limits
from unetbench.reporting.pairs import PairRow, pair_rows
from unetbench.reporting.row import Row, listed, named, rewrite_lines
from unetbench.reporting.rows import rows, winners
from unetbench.reporting.standing import NONE, Aboves, Standings, of_session
from unetbench.reporting.table import several_recipes, shown_columns
from unetbench.store import Store

_GIB = 1 << 30
_why = attrgetter("recipe", "reason")
_FRONT = 25  # rows
_TEXTS = ("pairs.csv", "recipes.md", "limits.md")  # that are not written for every session
_PICTURES = ("throughput.png", "recipes.png", "limits.png")
_QUICK = "Quick preset: medians and quartiles of one process; neighbouring rows may change places when measured again."
_WINNER = (
    "Winner: no case of its network that is as exact or more so was faster, by its median; the word says how exact "
    "it is. Near ties may change places when measured again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of one session with everything that must stand beside them."""

    session: Session
    rows: tuple[Row, ...]
    other_sessions: int
    said: Standings = NONE
    above: Aboves = field(
        default_factory=dict
    )  # the level on record, by threads; None: too far, nothing is stated
    own_canaries: tuple[str, ...] = ()  # cases whose canaries read otherwise than those of the null runtime
    # Names of cases some of whose threads do not flush them, by key.
    keeps_denormals: Mapping[str, str] = field(default_factory=dict)
    # In how many of how many peaks of memory that is which measuring held: recorded before it was taken off.
    peaks_hold: tuple[int, int] = (0, 0)
    other_peaks: tuple[str, ...] = ()  # what the peaks of memory are, where they are no high-water marks
    limits: Limits = NOTHING  # of the machine, and where the time of the fastest goes

    @property
    def title(self) -> str:
        """What was measured, as far as all rows agree on it."""
        agreed = [
            _agreed(f"decoder {row.decoder}" if row.decoder else "" for row in self.rows),
            _agreed(row.size for row in self.rows),
            _agreed(f"batch {row.batch}" for row in self.rows),
            _agreed(f"classes {row.classes}" for row in self.rows),
            _agreed("" if row.channels == RGB else f"channels {row.channels}" for row in self.rows),
            _agreed(f"weights {row.trained}" if row.trained else "" for row in self.rows),
        ]
        blocks = "1 block a case, no verdicts" if self.session.preset == "quick" else "paired blocks"
        return ", ".join(filter(None, [*agreed, f"preset {self.session.preset} ({blocks})"]))

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows of a table: those not run are told in a note instead."""
        return tuple(row for row in self.rows if row.status != "not run")

    def conditions(self) -> str:
        """Return machine, threads, date and versions in one line."""
        machine = self.session.machine
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions)
        return (
            f"{self._granted()}; {' '.join(machine.instruction_sets)}; {self.session.started_utc[:10]}; {versions}"
            + "".join(f"; {name}={value}" for name, value in machine.environment or ())
        )

    def caption(self) -> str:
        """Return what stands above a picture, in two lines: the title, and the conditions in brief."""
        where = (self._granted(), self.session.machine.telling_set, self.session.started_utc[:10])
        return f"{self.title}\n{' · '.join(filter(None, where))}"

    def _granted(self) -> str:
        machine = self.session.machine
        threads = "/".join(map(str, sorted({row.threads for row in self.rows})))
        memory = f"{machine.memory_bytes / _GIB:.0f} GiB"
        granted = f"{counted(machine.cores, 'core')} granted"
        parts = (granted, counted(threads, "thread"), memory, machine.virtualisation)
        return ", ".join(filter(None, (machine.cpu, *parts)))

    def reading_notes(self) -> tuple[str, ...]:
        """Return what the figures mean, whatever rows are shown."""
        notes = [_QUICK if self.session.preset == "quick" else self._blocks_note()]
        referred = any(row.speedup for row in self.shown)
        against = "Speed-up is against torch_eager/fp32 in the same session. " if referred else ""
        notes.append(
            f"{against}End-to-end is bind + run + read; peak is the process's resident memory in steady inference{self._holding()}; "
            "a multiply-add counts as 2 FLOP; every timed answer passed the gate of its precision against fp64 (the same class on 99.9 % of the pixels "
            "in fp32, 99 % in bf16; in int8 a floor of 90 %, no promise)."
        )
        if several_recipes(self.shown):
            notes.append(_WINNER)
        return tuple(notes)

    def notes(self) -> tuple[str, ...]:
        """Return what a reader must know of the figures above: what they mean, then what is to be said of rows."""
        notes = list(self.reading_notes())
        not_run = sorted((row for row in self.rows if row.status == "not run"), key=_why)
        for (recipe, reason), group in groupby(not_run, key=_why):
            networks = {row.network for row in group}
            notes.append(f"Not run: {recipe} on {len(networks)} networks ({reason}).")
        notes += [
            f"{name} {row.recipe}: {row.status}, {row.reason.rstrip('.')}."
            for name, row in zip(named(self.shown), self.shown, strict=True)
            if row.status != "ok"
        ]
        notes += [f"Machine: {line}." for line in attribution.session_lines(self.limits)]
        without = [row for row in self.shown if row.status == "ok" and row.blocks is None]
        if self.said.cases and without:
            searched = self.session.preset == "tune"
            why = "since the search left them behind, or for want" if searched else "for want"
            notes.append(
                f"Without paired blocks enough, {why} of time, of memory or of quiet, so that their times are of one process alone "
                f"and nothing is stated of them: {listed(without, among=self.shown)}."
            )
        if self.own_canaries:
            several = ", ".join(self.own_canaries)
            notes.append(
                f"Around these canaries read otherwise than around the null runtime, by more than 2 % beyond doubt: {several}."
            )
        notes += self.denormals_note(self.shown)
        if any(row.status == "ok" and row.waiting_share is None for row in self.shown):
            notes.append(
                "This machine does not show whether processes waited for a CPU: what that did is unknown."
            )
        notes += [f"Peak memory is by {told}." for told in self.other_peaks]
        if self.other_sessions:
            notes.append(f"Other sessions in the store: {self.other_sessions}; --session N shows one.")
        return tuple(notes)

    def denormals_note(self, rows: Iterable[Row]) -> list[str]:
        """Name those of the rows that are not treated as all others are."""
        shown = {row.case for row in rows}
        kept = [name for key, name in self.keeps_denormals.items() if key in shown]
        if not kept:
            return []
        return [
            "Not all threads of these flush denormals, which the others do: with other weights they may be "
            f"slower: {', '.join(kept)}."
        ]

    def _holding(self) -> str:
        holding, peaks = self.peaks_hold
        where = "" if holding == peaks else f"in {holding} of {peaks} rows "
        return f", {where}the inputs and expected answers that measuring held among it" if holding else ""

    def _blocks_note(self) -> str:
        """What intervals, ranks and verdicts mean here, and how many there are."""
        if self.above and all(each is None for each in self.above.values()):
            return (
                "Not quiet: even the quietest canaries of this session are slower than this machine's on record, "
                "by more than can be taken off, so no verdict is stated; --fresh measures it anew when the machine is quieter."
            )
        if not self.said.cases:
            return (
                "No case has paired blocks enough: times are of one process each, and no verdict is stated."
            )
        adjusted = sum(bool(row.adjusted) for row in self.rows)
        rarely = (
            f"Quiet runs were too few for {adjusted} of the rows: louder ones of those count too, brought to the quiet "
            "level by their canaries. "
        )
        farthest = max(filter(None, self.above.values()), default=quiet.AT_RECORD)
        if any(farthest):
            cache, memory = (math.expm1(far) for far in farthest)
            rarely = (
                f"This session was never as quiet as the machine's quietest on record (canaries {cache:.0%} slower in "
                f"cache and {memory:.0%} in memory): runs are brought to the record; intervals allow for it. "
            )
        return (
            f"Times are of the machine without those neighbours that canaries feel; 99 % intervals over blocks. "
            f"{rarely if adjusted or any(farthest) else ''}{self.said.decided} of {self.said.stated} pairs are decided: all verdicts, ranks and "
            "speed-up intervals hold together at 99 %, in this session. A rank of several places is of rows that are tied."
        )


def report(store: Store, *, session: int | None = None) -> Report:
    """Return the report of a session; the latest where none is named.

    Raises: BadInput for a session that is not there.
    """
    sessions = {each.identifier: each for each in store.sessions()}
    if not sessions:
        raise BadInput(f"store {str(store.path)!r} holds no session yet: run the suite first.")
    chosen = max(sessions) if session is None else session
    if chosen not in sessions:
        raise BadInput(
            f"unknown session {chosen}: {str(store.path)!r} holds {', '.join(map(str, sessions))}; name one of them."
        )
    results = store.results(chosen)
    said, above = of_session(store, sessions[chosen], results)
    alone = {result.key: (result.case, result.alone[-1]) for result in results if result.alone}
    return Report(
        session=sessions[chosen],
        rows=rows(results, said),
        other_sessions=len(sessions) - 1,
        said=said,
        above=above,
        own_canaries=tuple(case.name for case in disturbing(store, sessions[chosen], results)),
        keeps_denormals={
            key: case.name
            for key, (case, last) in alone.items()
            if last.in_force.get(DENORMALS_SEEN, "").startswith("kept")
        },
        peaks_hold=(sum(last.held_bytes is None for _, last in alone.values()), len(alone)),
        other_peaks=tuple(
            sorted({m.peak_is for result in results for m in result.measurements} - {HIGH_WATER_MARK})
        ),
        limits=attribution.of_session(store, chosen),
    )


def certificate(store: Store, report: Report, name: str) -> Iterator[tuple[str, str]]:
    """Return everything about one case of a report.

    Raises: BadInput where no case, or more than one, has that name or key.
    """
    session = report.session
    result = certificates.chosen(store.results(session.identifier), name)
    row = next(row for row in report.rows if row.case == result.key)
    last_words = store.last_words(session.identifier, result.key)
    return certificates.certificate(result, row, session, report.limits, last_words)


def write_files(report: Report, folder: Path, *, chart: bool = True) -> tuple[Path, ...]:
    """Write results.csv, results.md and throughput.png, of several recipes also recipes.md and recipes.png, of
    paired blocks pairs.csv, of what was cut into sections limits.md and limits.png; return their paths.
    """
    written = [folder / "results.csv", folder / "results.md"]
    files.write_text(written[0], files.csv_text(report.rows))
    files.write_text(written[1], markdown(report))
    if pairs := list(pair_rows(report.rows, report.said)):
        written.append(folder / "pairs.csv")
        files.write_text(written[-1], files.csv_text(pairs, PairRow))
    if chart and any(row.status == "ok" for row in report.rows):
        from unetbench.reporting import charts

        written.append(folder / "throughput.png")
        above = report.caption()
        drawing = charts.throughput_chart(report.rows, title="Speed against size", subtitle=above)
        charts.write_png(drawing, written[-1])
        if ablation.is_ablation(report.rows):
            written += [folder / "recipes.md", folder / "recipes.png"]
            conditions = (f"{report.title}. {report.reading_notes()[0]}", f"{report.conditions()}.")
            files.write_text(written[-2], ablation.table(report.rows, report.said, notes=conditions))
            drawing = ablation.heatmap(report.rows, title="Speed-up of each recipe", subtitle=above)
            charts.write_png(drawing, written[-1])
    if report.limits.breakdowns or report.limits.failures:
        written += _write_limits(report, folder, chart=chart)
    for name in (*_TEXTS, *(_PICTURES if chart else ())):
        if folder / name not in written:
            (folder / name).unlink(missing_ok=True)  # of an earlier session: not true beside the others
    return tuple(written)


def _write_limits(report: Report, folder: Path, *, chart: bool) -> list[Path]:
    written = [folder / "limits.md"]
    title = f"Where the time goes: {report.title}"
    text = limits_page.page(report.shown, report.limits, title=title, notes=(report.conditions(),))
    files.write_text(written[0], text)
    if chart and limits_page.shown(report.shown, report.limits):
        from unetbench.reporting import charts

        written.append(folder / "limits.png")
        drawing = limits_page.chart(
            report.shown, report.limits, title="Where the time goes", subtitle=report.caption()
        )
        charts.write_png(drawing, written[-1])
    return written


def write_parquet(report: Report, path: Path) -> None:
    """Write the rows as one Parquet file, the conditions in its metadata. Raises: as `files.parquet_bytes`."""
    beside = {
        "title": report.title,
        "conditions": report.conditions(),
        "notes": "\n".join([*report.notes(), *rewrite_lines(report.shown)]),
    }
    files.write_bytes(path, files.parquet_bytes(report.rows, beside))


def markdown(report: Report, *, fastest: bool = False) -> str:
    """Return the table in Markdown with its conditions and notes.

    With `fastest` the winners alone, no more of them than a front page holds, with the notes that hold for all rows
    and the exceptions among them.
    """
    rows = winners(report.rows)[:_FRONT] if fastest else report.shown
    columns = shown_columns(rows)
    notes = (*report.reading_notes(), *report.denormals_note(rows)) if fastest else report.notes()
    return files.markdown_text(
        report.title,
        [column.name for column in columns],
        [[column.text(row) for column in columns] for row in rows],
        (report.conditions(), *notes),
        () if fastest else rewrite_lines(report.shown),
    )


def _agreed(values: Iterable[str]) -> str:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else ""
