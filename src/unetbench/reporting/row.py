"""One row of a report: every figure that a case has by itself is derived here, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from statistics import median
from typing import Any

import msgspec
from msgspec.structs import replace

from unetbench.amounts import counted
from unetbench.records import RGB, Case, Measurement, Parity, Result, RewriteReport
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
    # Not by the gate alone: louder turns too, brought to the quiet level by canaries.
    adjusted: bool | None = None
    import_s: float | None = None
    cold_s: float | None = None  # import, build, rewrite, compile with empty caches, first run
    pays_after_images: float | None = None  # from which its preparation is repaid, against the reference
    artifact_mb: float | None = None
    alone_ms: float | None = None  # median of the process alone; None where others disturbed it
    winner: str = ""  # the measured class, where no row of its network as exact or more so is faster
    session: int = 0
    case: str = ""
    channels: int = RGB  # of the image
    weights: str = "random"  # or pretrained, or a checkpoint's path as it was given

    @property
    def network(self) -> str:
        """The network in one word, with its weights where they are not random."""
        return f"{self.architecture} ({self.trained})" if self.trained else self.architecture

    @property
    def architecture(self) -> str:
        """The network whatever its weights: a reference without an encoder has no decoder either."""
        return f"{self.encoder}/{self.decoder}" if self.decoder else self.encoder

    @property
    def bare_encoder(self) -> str:
        """The encoder without the name of its training; a whole network has none."""
        return self.encoder.partition(".")[0] if self.decoder else self.encoder

    @property
    def short_network(self) -> str:
        """The network without the tag of a training and the usual decoder; with its weights where they are not random."""
        name = self.bare_encoder if self.decoder in ("", "unet") else f"{self.bare_encoder}/{self.decoder}"
        return f"{name} ({self.trained})" if self.trained else name

    @property
    def trained(self) -> str:
        """A checkpoint by its path as it was given, or pretrained; nothing where weights are random."""
        return "" if self.weights == "random" else self.weights


# By what rows of one network are told apart, and how it is written behind a name.
_APART: dict[str, Callable[[Any], str]] = {
    "decoder": "/{}".format, "trained": " ({})".format, "size": " @{}".format, "batch": ", batch {}".format,
    "classes": lambda number: f", {counted(number, 'class', 'classes')}",
    "channels": lambda number: f", {counted(number, 'channel')}",
    "threads": lambda number: f", {counted(number, 'thread')}",
}  # fmt: skip


def apart(rows: Sequence[Row], *, but: Collection[str] = ()) -> list[str]:
    """Return for each row what tells it from others of its name: those fields in which any of the rows differ."""
    fields = [name for name in _APART if name not in but and len({getattr(row, name) for row in rows}) > 1]
    return [
        "".join(_APART[name](getattr(row, name)) for name in fields if getattr(row, name)) for row in rows
    ]


def shorter_encoders(rows: Sequence[Row]) -> dict[str, str]:
    """Return each encoder's name without its pretrained tag, where that still tells it from the others."""
    bare = {row.encoder: row.bare_encoder for row in rows}
    shared = Counter(bare.values())
    return {encoder: name if shared[name] == 1 else encoder for encoder, name in bare.items()}


def named(rows: Sequence[Row], *, short: bool = False) -> list[str]:
    """Return for each row its encoder or whole network, in short or whole, with what tells it from others of the table."""
    shorter = shorter_encoders(rows) if short else {}
    return [
        shorter.get(row.encoder, row.encoder) + behind for row, behind in zip(rows, apart(rows), strict=True)
    ]


def listed(some: Collection[Row], *, among: Sequence[Row]) -> str:
    """Name some rows of a table by network and recipe; a network all of whose rows are meant, once."""
    chosen = {row.case for row in some}
    recipes: dict[str, list[str]] = {}
    left = Counter(names := named(among))
    for name, row in zip(names, among, strict=True):
        if row.case in chosen:
            recipes.setdefault(name, []).append(row.recipe)
            left[name] -= 1
    return "; ".join(
        f"{name} {'under all recipes' if not left[name] and len(own) > 1 else ', '.join(own)}"
        for name, own in recipes.items()
    )


def of_result(result: Result) -> Row:
    """Return what a result says by itself: of its process alone, where it has a time."""
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
        channels=case.network.in_channels,
        weights=case.network.weights,
    )
    if result.failure is not None:
        failure = result.failure
        return replace(row, status=failure.kind, reason=f"{failure.stage}: {failure.message}")
    if not (alone := result.alone):
        return replace(row, status="not run", reason="what it did by itself was lost with a damaged store")
    return _measured(row, case, alone[-1], result.parity)


def _measured(row: Row, case: Case, measurement: Measurement, parity: Parity) -> Row:
    runs = summary(measurement.run_ns)
    load_s = measurement.build_s + measurement.rewrite_s + measurement.prepare_s + measurement.first_run_s
    whole_ns = median(
        map(sum, zip(measurement.bind_ns, measurement.run_ns, measurement.read_ns, strict=True))
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
        end_to_end_ms=whole_ns / NS_PER_MS,
        images_per_s=images_per_s,
        peak_mb=measurement.peak_run_bytes / 1e6,
        images_per_s_per_m=images_per_s / (measurement.parameters / 1e6),
        runs=runs.runs,
        measured_class=parity.measured_class,
        relative_error=parity.relative_error,
        agreement=parity.agreement,
        rewrites="; ".join(rewrite_proof(report) for report in measurement.rewrites if report.fired),
        first_run_s=measurement.first_run_s,
        load_s=load_s,
        peak_load_mb=measurement.peak_load_bytes / 1e6,
        import_s=measurement.import_s,
        cold_s=measurement.import_s + load_s,
        artifact_mb=None if measurement.artifact_bytes is None else measurement.artifact_bytes / 1e6,
    )


def rewrite_proof(report: RewriteReport) -> str:
    """Say what a rewrite did, in counts before and after, those that stay the same left out; or why nothing."""
    if not report.fired:
        left = f"its {report.offered} modules stay as they are" if report.offered else report.reason
        return f"{report.rewrite}: nothing to do" + (f", {left}" if left else "")
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


def rewrite_lines(rows: Sequence[Row], *, most: int | None = None) -> tuple[str, ...]:
    """Say what rewrites did, once for each network, whose recipes share them: the proof that they did anything.

    Where that are more lines than the most, one says where they are.
    """
    said = [
        f"{name} {proof}."
        for name, row in zip(named(rows), rows, strict=True)
        for proof in row.rewrites.split("; ")
        if proof
    ]
    lines = tuple(dict.fromkeys(said))
    if most is None or len(lines) <= most:
        return lines
    return (
        f"What rewrites did takes {len(lines)} lines: results.md has them, and `report --case NAME` those of one.",
    )
