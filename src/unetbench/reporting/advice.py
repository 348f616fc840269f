"""Stores to the candidates of a choice, and the choice to lines: winner, ties, costs, doubts, conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unetbench import advisor
from unetbench.advisor import Advice, Candidate, Constraint, Latency
from unetbench.amounts import counted
from unetbench.errors import BadInput
from unetbench.quality import SAME_ACCURACY
from unetbench.quality import Source as QualitySource
from unetbench.records import RGB, Machine, Result, Session
from unetbench.reporting.page import Source, source
from unetbench.reporting.row import Row
from unetbench.reporting.table import milliseconds
from unetbench.store import reading
from unetbench.suite import parse_size
from unetbench.tails import tail

_MEDIAN = 50.0
_SHOWN = 5  # of those that follow: a choice is short
_ALONE = "one process alone says about how fast, and no more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question: the input that is meant, and at which percentile its time counts."""

    size: str  # HxW
    classes: int
    channels: int = RGB
    percentile: float = _MEDIAN
    batch: int = 1
    threads: int | None = None  # any number where none is asked for

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {counted(self.threads, 'thread')}"
        channels = "" if self.channels == RGB else f", {counted(self.channels, 'channel')}"
        return (
            f"{self.size}, batch {self.batch}, {counted(self.classes, 'class', 'classes')}{channels}{threads}"
        )

    def of(self, row: Row) -> Asked:
        """Return the same question of a row's input, and of its threads where a number of them is asked for."""
        threads = self.threads and row.threads
        return replace(
            self, size=row.size, classes=row.classes, channels=row.channels, batch=row.batch, threads=threads
        )

    @property
    def time(self) -> str:
        return "median" if self.percentile == _MEDIAN else f"p{self.percentile:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What stores hold that answers a question, all of one machine."""

    candidates: tuple[Candidate, ...]
    conditions: tuple[str, ...]  # of each session, a line
    here: bool  # measured on this machine


def asked(
    size: str, classes: int, percentile: float, threads: int | None = None, channels: int = RGB
) -> Asked:
    """Return the question in the stores' words. Raises: BadInput for a size that is none."""
    height, width = parse_size(size)
    return Asked(
        size=f"{height}x{width}", classes=classes, channels=channels, percentile=percentile, threads=threads
    )


def advised(found: Sequence[Candidate], limits: tuple[Any, ...], *, own_quality: bool) -> Advice:
    """Return the choice under limits as `advisor.constraints` takes them; one's own figures are taken exactly."""
    wanted = advisor.constraints(*limits)
    return advisor.advice(found, wanted, same=0.0 if own_quality else SAME_ACCURACY)


def measured(paths: Sequence[Path], asked: Asked, quality: QualitySource, here: Machine) -> Measured:
    """Return the measured cases that answer a question.

    Results of this machine are taken where there are some, else those of the machine that came last with some. What failed
    in a later session is none any more, whatever an earlier one said.
    Raises: BadInput where no result is of that input.
    """
    every = _every_session(paths)
    if not every:
        raise BadInput("the stores hold no session yet: give --budget 15m to measure.")
    machines = [here, *(each.report.session.machine for each in reversed(every))]
    lost: set[str] = set()  # what failed on one machine is no answer of the next either
    left = every
    for machine in machines:
        used = [each for each in left if not each.report.session.machine.differs_from(machine)]
        left = [each for each in left if each.report.session.machine.differs_from(machine)]
        whole = _candidates(used, asked, quality)
        if found := {key: each for key, each in whole.items() if key not in lost}:
            break
        lost |= {result.key for each in used for result in each.results if result.failed}
    else:
        raise BadInput(_nothing(every, asked))
    own = not machine.differs_from(here)
    named = {candidate.session for candidate in found.values()}
    conditions = [
        f"{_name(each)}, preset {each.report.session.preset}: {each.report.conditions()}"
        + (
            "; memory with the inputs and expected answers that measuring held"
            if each.report.peaks_hold[0]
            else ""
        )
        + ("" if own else "; NOT this machine")
        for each in used
        if _name(each) in named
    ]
    return Measured(candidates=tuple(found.values()), conditions=tuple(conditions), here=own)


def _candidates(used: Sequence[Source], asked: Asked, quality: QualitySource) -> dict[str, Candidate]:
    """Return by key the candidates of sessions of one machine: the surest of each case, unless it failed since."""
    found: dict[str, Candidate] = {}
    for each in sorted(used, key=lambda one: one.report.session.started_utc):
        for result in each.results:
            if result.failed:
                found.pop(result.key, None)
        for candidate in _of_session(each, asked, quality):
            known = found.get(candidate.row.case)
            if known is None or (known.row.blocks or 0) <= (candidate.row.blocks or 0):
                found[candidate.row.case] = candidate
    return found


def lines(told: Advice, asked: Asked, found: Measured) -> Iterator[str]:
    """Return the choice as it is printed, with what it was chosen by and under which conditions."""
    yield "Chosen by quality first; among equally good ones exact and near answers come before approximate ones, then the faster before the slower."
    yield (
        "Quality: your own figures."
        if not told.same
        else f"Quality: published ImageNet accuracy of the encoder, a proxy: networks within {told.same:g} points count "
        "as equally good. --quality CSV takes your own figures."
    )
    yield f"Asked: {asked}{''.join(f', {_given(each)}' for each in told.wanted)}; time: {asked.time} of a run. {told.considered} cases were measured."
    yield from _choice(told, asked, told_here=found.here) if told.ranked else _infeasible(told, asked)
    yield "Conditions:"
    yield from (f"  {line}" for line in found.conditions)


def _choice(told: Advice, asked: Asked, *, told_here: bool) -> Iterator[str]:
    first, *others = told.ranked
    yield ""
    yield from _case("Best", first, asked)
    limit = next((each.limit for each in told.wanted if each.option == "--max-latency"), None)
    doubt = advisor.doubt(first, limit)
    if doubt:
        yield f"    not sure: {doubt}; {_further(first, told_here)}"
    else:
        within = "" if limit is None else " is within the limit: it"
        yield f"    sure: the whole interval of its time{within} ends at {milliseconds(first.latency.high_ms)} ms"
    for each in told.tied:
        yield from _case("As good, and not told apart in speed", each, asked)
    rest = [each for each in others if each not in told.tied]
    if rest:
        yield "Then, in this order:" + ("" if told.tied else _no_verdicts(first, rest))
        for each in rest[:_SHOWN]:
            sure = "" if limit is None else ", not sure" if advisor.doubt(each, limit) else ", sure"
            yield f"  {each.network} {each.row.recipe}: {_figures(each, asked)}{sure}"
        if len(rest) > _SHOWN:
            yield f"  and {len(rest) - _SHOWN} more that meet everything"
    for constraint, without in told.costs:
        same = without is first
        said = "the same" if same else f"{without.network} {without.row.recipe}: {_figures(without, asked)}"
        yield f"Without {_given(constraint)}: {said}"


def _further(candidate: Candidate, told_here: bool) -> str:
    if not told_here:
        return "--store NEW.sqlite --budget 15m measures here"
    if candidate.row.blocks is None:
        return "--budget 15m measures it further"
    return "--store NEW.sqlite --budget 15m measures it anew"


def _no_verdicts(first: Candidate, rest: Sequence[Candidate]) -> str:
    known = [each for each in rest if advisor.told_apart(first, each) is not None]
    return "" if known else " (no verdict: which of two near ones is faster is not known)"


def _infeasible(told: Advice, asked: Asked) -> Iterator[str]:
    yield ""
    yield "Nothing that was measured meets all of this."
    for each in told.shortfalls:
        constraint, best = each.constraint, each.best
        where = "fails by itself" if each.alone else "cannot be met together with the others"
        if best is None or constraint.value is None:
            which = "no measured case" if each.alone else "no case that meets the others"
            yield f"  {constraint.option} {where}: {which} is one"
        elif constraint.limit is None:
            yield f"  {constraint.option} {where}: the nearest has an error of {constraint.value(best):.0e}, {_named(best)}"
        else:
            at_best = constraint.value(best)
            of = "of the case that fails the fewest" if each.fewest else "at best"
            yield (
                f"  {_given(constraint)} {where}: {at_best:.4g} {constraint.unit} {of}, "
                f"{at_best / constraint.limit:.2f} × the limit, {_named(best)}: {_figures(best, asked)}"
            )


def _case(heading: str, candidate: Candidate, asked: Asked) -> Iterator[str]:
    row = candidate.row
    yield f"{heading}: {_named(candidate)}"
    yield f"    {_figures(candidate, asked)}"
    agreement = "" if row.agreement is None else f", same class as fp64 on {row.agreement:.2%} of the pixels"
    yield f"    answer {row.measured_class}: relative error {row.relative_error:.0e}{agreement}"
    if row.measured_class == "approximate" and candidate.quality is not None:
        yield "    its quality is that of the exact form: what this precision costs your data is not known here"
    yield f"    {candidate.quality.told if candidate.quality else 'quality not known'}; measured in {candidate.session}"


def _figures(candidate: Candidate, asked: Asked) -> str:
    time = candidate.latency
    unsure = "about " if time.doubt else ""
    name = "slowest run" if time.doubt and asked.percentile != _MEDIAN else asked.time
    high = "" if time.high_ms is None else f" (at most {milliseconds(time.high_ms)})"
    weights = " with its weights" if candidate.size_mb != candidate.row.artifact_mb else ""
    quality = "" if candidate.quality is None else f", quality {candidate.quality.value:.4g}"
    return (
        f"{name} {unsure}{milliseconds(time.value_ms)} ms{high}, {candidate.memory_mb:.0f} MB of memory, "
        f"{candidate.size_mb:.1f} MB{weights}{quality}"
    )


def _named(candidate: Candidate) -> str:
    return f"{candidate.network} {candidate.row.recipe}, {counted(candidate.row.threads, 'thread')}"


def _given(constraint: Constraint) -> str:
    return constraint.option + (
        "" if constraint.limit is None else f" {constraint.limit:g} {constraint.unit}"
    )


def _of_session(each: Source, asked: Asked, quality: QualitySource) -> Iterator[Candidate]:
    results = {result.key: result for result in each.results}
    for row in each.report.rows:
        if asked.of(row) == asked and row.status == "ok":
            yield Candidate(
                row=row,
                latency=_latency(results[row.case], row, asked),
                quality=quality(row.architecture),
                said=each.report.said,
                session=_name(each),
            )


def _latency(result: Result, row: Row, asked: Asked) -> Latency:
    assert row.median_ms is not None
    if asked.percentile == _MEDIAN:
        doubt = (
            _ALONE if row.blocks is None else f"{row.blocks} blocks say about how fast, without an interval"
        )
        known = row.interval_high_ms is not None
        return Latency(value_ms=row.median_ms, high_ms=row.interval_high_ms, doubt="" if known else doubt)
    processes = [[ns for turn in turns for ns in turn.run_ns] for turns in result.turns.values()]
    alone = result.alone[-1]
    every = [ns for runs in (*alone.rejected_ns, alone.run_ns) for ns in runs]  # the disturbed ones too
    found = tail(processes or [every], asked.percentile / 100)
    if found.value_ms is None:
        doubt = (
            f"{asked.time} cannot be told from {found.runs} runs, worth {found.effective:.0f} independent ones: "
            f"{found.needed} are needed; it is judged by the slowest"
        )
        return Latency(value_ms=found.slowest_ms, doubt=doubt)
    return Latency(value_ms=found.value_ms, high_ms=found.upper_ms)


def _every_session(paths: Sequence[Path]) -> list[Source]:
    """Return the sessions of all stores, each store under a name of its own."""
    found: list[tuple[Path, list[Source]]] = []
    for path in paths:
        with reading(path) as store:
            found.append((path, [source(store, session=each.identifier) for each in store.sessions()]))
    labels = Counter(sessions[0].label for _, sessions in found if sessions)
    return [
        replace(each, label=str(path)) if labels[each.label] > 1 else each
        for path, sessions in found
        for each in sessions
    ]


def _name(each: Source) -> str:
    session: Session = each.report.session
    return f"{each.label} session {session.identifier}"


def _nothing(used: Sequence[Source], asked: Asked) -> str:
    there = {str(asked.of(row)) for each in used for row in each.report.rows if row.status == "ok"}
    if str(asked) in there:
        return f"all results of {asked} failed in a later session: --budget 15m measures, and goes on from there."
    if not there:
        disturbed = sum(row.status == "not quiet" for each in used for row in each.report.rows)
        why = f" ({disturbed} are not quiet: other processes disturbed them)" if disturbed else ""
        return f"no result in the stores has a time that counts{why}: --budget 15m measures, and goes on from there."
    held = "; ".join(sorted(there)[:6])
    return (
        f"no result is of {asked}; there are: {held}: ask for one of these, or give --budget 15m to measure."
    )
