"""Results to table rows: every derived figure that a report shows is computed here, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from unetbench.records import MEASURED_CLASSES, REFERENCE, Case, Measurement, Result, RewriteReport
from unetbench.reporting.standing import NONE, Standing, Standings
from unetbench.stats import NS_PER_MS, disturbed, summary


# A dataclass takes ten times as long to replace.
class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One case as a report shows it; None where the case gave no such figure."""

    encoder: str
    decoder: str
    recipe: str
    size: str
    batch: int
    classes: int
    threads: int
    status: str  # "ok", "not quiet", "unsteady", or the kind of the failure
    reason: str = ""
    parameters_m: float | None = None
    encoder_parameters_m: float | None = None
    decoder_parameters_m: float | None = None  # all but the encoder's: the head is among them
    decoder_share: float | None = None  # of the parameters
    gflop: float | None = None
    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    end_to_end_ms: float | None = None
    images_per_s: float | None = None
    peak_mb: float | None = None
    speedup: float | None = None
    images_per_s_per_m: float | None = None
    runs: int | None = None
    measured_class: str = ""
    relative_error: float | None = None
    agreement: float | None = None
    waiting_share: float | None = None
    rewrites: str = ""  # what those that fired did: the proof that they did
    first_run_s: float | None = None
    load_s: float | None = None  # build + rewrite + prepare + first run
    peak_load_mb: float | None = None
    rank: str = ""  # from verdicts only: 3, or 2–4 where rows are tied
    blocks: int | None = None  # usable paired blocks; None where there are none
    interval_low_ms: float | None = None  # 99 %, over blocks
    interval_high_ms: float | None = None
    verdict: str = ""  # against the reference: faster, slower, the same, not decided
    speedup_low: float | None = None  # at the confidence that all stated pairs share
    speedup_high: float | None = None
    speedup_ungated: float | None = None  # from every run, the disturbed ones too
    detectable: float | None = None  # the relative difference to the reference found 4 times in 5
    quiet_share: float | None = None
    adjusted: bool | None = None  # not by the gate: all runs, brought to the quiet level by their canaries
    import_s: float | None = None
    cold_s: float | None = None  # import, build, rewrite, compile with empty caches, first run
    pays_after_images: float | None = None  # from which its preparation is repaid, against the reference
    artifact_mb: float | None = None
    alone_ms: float | None = None  # median of the process alone; None where others disturbed it
    winner: str = ""  # the measured class, where no row of its network as exact or more so is faster
    session: int = 0
    case: str = ""

    @property
    def network(self) -> str:
        """The network in one word: a reference without an encoder has no decoder either."""
        return f"{self.encoder}/{self.decoder}" if self.decoder else self.encoder

    @property
    def bare_encoder(self) -> str:
        """The encoder without the name of its training; a whole network has none."""
        return self.encoder.partition(".")[0] if self.decoder else self.encoder

    @property
    def short_network(self) -> str:
        """The network without the tag of a training and the usual decoder."""
        return self.bare_encoder if self.decoder in ("", "unet") else f"{self.bare_encoder}/{self.decoder}"


def rows(results: Iterable[Result], said: Standings = NONE) -> tuple[Row, ...]:
    """Return the rows of results, fastest first, failures last; `said` is what their blocks say.

    A speed-up is against torch_eager/fp32 on the same network and input in the same session: by paired
    blocks where there are some, else by processes that ran alone.
    """
    standing = said.cases
    found = []
    for result in results:
        row = _row(result)
        # Where blocks say a time, it is none of the process alone's that others disturbed that one.
        if row.status in ("ok", "not quiet") and row.case in standing:
            row = _with_blocks(row, standing[row.case])
        found.append((_place(result), result.case.recipe == REFERENCE, row))
    reference = {place: row for place, is_reference, row in found if is_reference}
    made = []
    for place, _, row in found:
        base = reference.get(place)
        if base and row.status == base.status == "ok":
            row = _against(row, base, standing.get(row.case))
        made.append(row)
    return _with_winners(sorted(made, key=_slowness))


def comparable(table: Iterable[Row]) -> list[Row]:
    """Return of each network's rows those with the surest kind of time that any of them has.

    Those are blocks with an interval, else blocks, else processes alone: one kind is no match for another.
    """
    good = [row for row in table if row.status == "ok"]
    surest: dict[tuple[object, ...], int] = {}
    for row in good:
        surest[_network(row)] = max(surest.get(_network(row), 0), _sureness(row))
    return [row for row in good if _sureness(row) == surest[_network(row)]]


def _sureness(row: Row) -> int:
    return (row.blocks is not None) + (row.interval_low_ms is not None)


def _with_winners(ordered: Sequence[Row]) -> tuple[Row, ...]:
    """Mark in rows, fastest first, those of a network that nothing as exact or more so outruns."""
    left: dict[tuple[object, ...], int] = {}  # how many classes are more exact than any row so far
    marked = []
    candidates = set(map(id, comparable(ordered)))  # of rows, whose keys may be of several sessions
    for row in ordered:
        if id(row) in candidates:
            place = MEASURED_CLASSES.index(row.measured_class)
            here = _network(row)
            if place < left.get(here, len(MEASURED_CLASSES)):
                left[here] = place
                row = replace(row, winner=row.measured_class)
        marked.append(row)
    return tuple(marked)


def _network(row: Row) -> tuple[object, ...]:
    """What rows share that may be told from each other by their recipes alone; the session last."""
    return (row.encoder, row.decoder, row.size, row.batch, row.classes, row.threads, row.session)


def _place(result: Result) -> tuple[object, ...]:
    """What a case shares with its reference: all but the recipe."""
    case = result.case
    return (
        result.session,
        case.network,
        case.batch,
        case.height_px,
        case.width_px,
        case.threads,
        case.device,
    )


def _with_blocks(row: Row, standing: Standing) -> Row:
    """Put what the blocks say in the place of what the process alone said."""
    time = standing.steady
    assert row.end_to_end_ms is not None and row.median_ms is not None and row.images_per_s is not None
    images_per_s = row.images_per_s * row.median_ms / time.median_ms
    assert row.parameters_m is not None
    return replace(
        row,
        median_ms=time.median_ms,
        end_to_end_ms=row.end_to_end_ms - row.median_ms + time.median_ms,
        images_per_s=images_per_s,
        images_per_s_per_m=images_per_s / row.parameters_m,
        interval_low_ms=time.low_ms,
        interval_high_ms=time.high_ms,
        blocks=time.blocks,
        rank=standing.rank,
        quiet_share=time.quiet_share,
        adjusted=time.adjusted,
        status="unsteady" if time.unsteady else "ok",
        reason="its time still changes in the second half of each block" if time.unsteady else "",
    )


def _against(row: Row, base: Row, standing: Standing | None) -> Row:
    """Compare a row with its reference's."""
    pair = standing.against_reference if standing else None
    pays_after = _pays_after(row, base)
    if pair is not None and pair.ratio is not None:
        return replace(
            row,
            speedup=pair.ratio,
            speedup_low=pair.low,
            speedup_high=pair.high,
            speedup_ungated=pair.ungated,
            verdict=pair.state or (pair.verdict if pair.low is not None else ""),
            detectable=pair.detectable,
            pays_after_images=pays_after
            if pair.verdict == "faster"
            else None,  # no gain, nothing to repay it
        )
    speedup = 1.0 if row is base else alone_ratio(row, base)
    return replace(row, speedup=speedup, pays_after_images=pays_after)


def alone_ratio(row: Row, base: Row) -> float | None:
    """How many times as fast a row is by processes alone; a time of blocks, brought to quiet, is no match for one."""
    return base.alone_ms / row.alone_ms if base.alone_ms and row.alone_ms else None


def _pays_after(row: Row, base: Row) -> float | None:
    """Images after which a longer preparation is repaid by faster runs; None where it never is."""
    if row is base or not (row.images_per_s and base.images_per_s and row.cold_s and base.cold_s):
        return None
    saved_s = 1.0 / base.images_per_s - 1.0 / row.images_per_s
    more_s = row.cold_s - base.cold_s
    return None if saved_s <= 0.0 else max(0.0, more_s / saved_s)


def winners(table: Iterable[Row]) -> tuple[Row, ...]:
    """Return of each network the fastest row, and those that are fastest among answers as exact or more so."""
    return tuple(row for row in table if row.winner)


def fastest_per_network(table: Sequence[Row]) -> tuple[Row, ...]:
    """Return the fastest quietly measured row of each network and input, fastest first."""
    best: dict[tuple[object, ...], Row] = {}
    for row in sorted(comparable(table), key=_slowness):
        best.setdefault(_network(row)[:-1], row)  # whatever its session
    return tuple(best.values())


def rewrite_proof(report: RewriteReport) -> str:
    """Say what a rewrite did, in counts before and after; those that stay the same are left out."""
    counts = [
        ("modules", report.modules_before, report.modules_after, "{:,}", 1.0),
        ("parameters", report.parameters_before, report.parameters_after, "{:,}", 1.0),
        ("GFLOP", report.flop_before, report.flop_after, "{:.2f}", 1e9),
        ("MB moved", report.moved_bytes_before, report.moved_bytes_after, "{:.0f}", 1e6),
    ]
    said = [
        f"{name} {form.format(before / unit if unit > 1 else before)} → "
        f"{form.format(after / unit if unit > 1 else after)}"
        for name, before, after, form, unit in counts
        if before is not None and after is not None and before != after
    ]
    return f"{report.rewrite}: {', '.join(said) or f'{report.offered} weights laid out anew'}"


def _slowness(row: Row) -> tuple[bool, float, str, str]:
    per_image = float("inf") if row.images_per_s is None else 1.0 / row.images_per_s
    return (row.status != "ok", per_image, row.encoder, row.recipe)


def _row(result: Result) -> Row:
    case = result.case
    encoder, decoder = case.network.labels
    row = Row(
        encoder=encoder,
        decoder=decoder,
        recipe=str(case.recipe),
        size=f"{case.height_px}x{case.width_px}",
        batch=case.batch,
        classes=case.network.classes,
        threads=case.threads,
        status="ok",
        session=result.session,
        case=result.key,
    )
    if result.failure is not None:
        failure = result.failure
        return replace(row, status=failure.kind, reason=f"{failure.stage}: {failure.message}")
    if not result.alone:
        return replace(row, status="not run", reason="what it did by itself was lost with a damaged store")
    return _measured(row, case, result.alone[-1])


def _measured(row: Row, case: Case, measurement: Measurement) -> Row:
    runs = summary(measurement.run_ns)
    load_s = measurement.build_s + measurement.rewrite_s + measurement.prepare_s + measurement.first_run_s
    whole = summary(
        [
            sum(parts)
            for parts in zip(measurement.bind_ns, measurement.run_ns, measurement.read_ns, strict=True)
        ]
    )
    images_per_s = case.batch * 1e9 / (runs.median_ms * NS_PER_MS)
    decoder_parameters = measurement.parameters - measurement.encoder_parameters
    if disturbed(measurement.waiting_share):
        reason = f"processes waited for a CPU during {measurement.waiting_share:.0%} of the timed runs; "
        row = replace(row, status="not quiet", reason=reason + "the same command measures it again")
    return replace(
        row,
        waiting_share=measurement.waiting_share,
        parameters_m=measurement.parameters / 1e6,
        encoder_parameters_m=measurement.encoder_parameters / 1e6,
        decoder_parameters_m=decoder_parameters / 1e6,
        decoder_share=decoder_parameters / measurement.parameters,
        gflop=measurement.flop / 1e9,
        median_ms=runs.median_ms,
        alone_ms=None if disturbed(measurement.waiting_share) else runs.median_ms,
        low_ms=runs.low_ms,
        high_ms=runs.high_ms,
        end_to_end_ms=whole.median_ms,
        images_per_s=images_per_s,
        peak_mb=measurement.peak_run_bytes / 1e6,
        images_per_s_per_m=images_per_s / (measurement.parameters / 1e6),
        runs=runs.runs,
        measured_class=measurement.parity.measured_class,
        relative_error=measurement.parity.relative_error,
        agreement=measurement.parity.agreement,
        rewrites="; ".join(rewrite_proof(report) for report in measurement.rewrites if report.fired),
        first_run_s=measurement.first_run_s,
        load_s=load_s,
        peak_load_mb=measurement.peak_load_bytes / 1e6,
        import_s=measurement.import_s,
        cold_s=measurement.import_s + load_s,
        artifact_mb=None if measurement.artifact_bytes is None else measurement.artifact_bytes / 1e6,
    )
