"""Results to table rows: every derived figure that a report shows is computed here, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from unetbench.records import REFERENCE, Case, Measurement, Result, RewriteReport
from unetbench.stats import NS_PER_MS, disturbed, summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case as a report shows it; None where the case gave no such figure."""

    encoder: str
    decoder: str
    recipe: str
    size: str
    batch: int
    classes: int
    threads: int
    status: str  # "ok", "not quiet", or the kind of the failure
    reason: str = ""
    parameters_m: float | None = None
    encoder_parameters_m: float | None = None
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
    session: int = 0
    case: str = ""


def rows(results: Iterable[Result]) -> tuple[Row, ...]:
    """Return the rows of results, fastest first, failures last.

    A speed-up is against torch_eager/fp32 on the same network and input in the same session.
    """
    results = tuple(results)
    reference = {
        (result.session, result.case): _row(result) for result in results if result.case.recipe == REFERENCE
    }
    made = []
    for result in results:
        row = _row(result)
        base = reference.get((result.session, replace(result.case, recipe=REFERENCE)))
        if base and base.median_ms and row.median_ms and row.status == base.status == "ok":
            row = replace(row, speedup=base.median_ms / row.median_ms)
        made.append(row)
    return tuple(sorted(made, key=_slowness))


def fastest_per_network(table: Sequence[Row]) -> tuple[Row, ...]:
    """Return the fastest quietly measured row of each network and input, fastest first."""
    best: dict[tuple[object, ...], Row] = {}
    for row in sorted(table, key=_slowness):
        if row.status == "ok":
            best.setdefault((row.encoder, row.decoder, row.size, row.batch, row.classes, row.threads), row)
    return tuple(best.values())


def _proof(report: RewriteReport) -> str:
    return (
        f"{report.rewrite}: modules {report.modules_before} → {report.modules_after}, "
        f"parameters {report.parameters_before:,} → {report.parameters_after:,}"
    )


def _slowness(row: Row) -> tuple[bool, float, str, str]:
    per_image = float("inf") if row.images_per_s is None else 1.0 / row.images_per_s
    return (row.status != "ok", per_image, row.encoder, row.recipe)


def _row(result: Result) -> Row:
    case = result.case
    row = Row(
        encoder=case.network.encoder,
        decoder=case.network.decoder,
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
    return _measured(row, case, result.measurements[-1])


def _measured(row: Row, case: Case, measurement: Measurement) -> Row:
    runs = summary(measurement.run_ns)
    whole = summary(
        [
            sum(parts)
            for parts in zip(measurement.bind_ns, measurement.run_ns, measurement.read_ns, strict=True)
        ]
    )
    images_per_s = case.batch * 1e9 / (runs.median_ms * NS_PER_MS)
    if disturbed(measurement.waiting_share):
        reason = f"processes waited for a CPU during {measurement.waiting_share:.0%} of the timed runs; "
        row = replace(row, status="not quiet", reason=reason + "the same command measures it again")
    return replace(
        row,
        waiting_share=measurement.waiting_share,
        parameters_m=measurement.parameters / 1e6,
        encoder_parameters_m=measurement.encoder_parameters / 1e6,
        gflop=measurement.flop / 1e9,
        median_ms=runs.median_ms,
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
        rewrites="; ".join(_proof(report) for report in measurement.rewrites if report.fired),
        first_run_s=measurement.first_run_s,
        load_s=measurement.build_s + measurement.rewrite_s + measurement.prepare_s + measurement.first_run_s,
        peak_load_mb=measurement.peak_load_bytes / 1e6,
    )
