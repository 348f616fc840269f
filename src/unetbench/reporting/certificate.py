"""Everything that is known of one case, on one page: what was changed, how it was proved, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from unetbench.amounts import counted
from unetbench.errors import BadInput, unknown
from unetbench.records import HIGH_WATER_MARK, MARGIN_EDGES, RGB, Measurement, Parity, Result, Session
from unetbench.reporting.attribution import NOTHING, Limits, machine_lines, section_lines
from unetbench.reporting.row import Row, rewrite_proof
from unetbench.reporting.table import milliseconds
from unetbench.stats import moved

_LAST_LINES, _LINE_CHARACTERS = 12, 200  # of what a process printed before it failed
_BAR = 30  # characters of the histogram's longest bar


def chosen(results: Sequence[Result], name: str) -> Result:
    """Return the result whose name or key is that, or begins with it alone.

    Raises: BadInput where none or several are meant.
    """
    names = {result.key: result.case.name for result in results}
    exact = [result for result in results if name in (result.key, result.case.name)]
    found = exact or [r for r in results if r.case.name.startswith(name) or r.key.startswith(name)]
    if not found:
        raise unknown("case", name, names.values(), "Give its name, as in the table, or its key.")
    if len(found) > 1:
        several = "; ".join(f"{result.case.name} ({result.key})" for result in found[:6])
        raise BadInput(f"{name!r} may be {len(found)} cases: {several}: give one of the keys.")
    return found[0]


def certificate(
    result: Result, row: Row, session: Session, limits: Limits = NOTHING, last_words: str = ""
) -> Iterator[tuple[str, str]]:
    """Give heading and text of each finding; further lines of one have no heading.

    `last_words` are the end of what the process of a failed case printed.
    """
    channels = "" if row.channels == RGB else f", {counted(row.channels, 'channel')}"
    given = f"{row.size}{channels}, batch {row.batch}"
    yield "case", f"{result.case.name}, {given}, {counted(row.threads, 'thread')} ({result.key})"
    yield "status", f"{row.status}: {row.reason}" if row.reason else row.status
    if result.failed:
        yield from _under("it said", _printed(last_words))
    if result.alone:
        measurement = result.alone[-1]
        yield from _rewrites(measurement)
        yield from _agreement(result.parity)
        if row.status == "ok":
            yield from _time(row)
            yield from _limits(result, limits)
        yield from _costs(measurement, row)
        yield from _in_force(measurement)
    yield "measured", f"{session.started_utc}, {session.machine.cpu}, unetbench {session.command}"


def _printed(words: str) -> list[str]:
    """Give the last lines of what a process printed, of which nothing reaches the terminal but its letters."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in words.splitlines())
    return [line[:_LINE_CHARACTERS] for line in lines if line][-_LAST_LINES:]


def _rewrites(measurement: Measurement) -> Iterator[tuple[str, str]]:
    if not measurement.rewrites:
        yield "rewrites", "none"
    heading = "rewrites"
    for report in measurement.rewrites:
        yield heading, rewrite_proof(report)
        heading = ""


def _agreement(parity: Parity) -> Iterator[tuple[str, str]]:
    yield (
        "agreement",
        f"{parity.measured_class}: relative error {parity.relative_error:.1e} against fp64 "
        f"(eager fp32: {parity.eager_relative_error:.1e}), cosine {parity.cosine:.6f}",
    )
    yield (
        "",
        f"{parity.agreement:.4%} of the pixels of {parity.inputs} inputs in the same class; "
        f"{parity.flips_beyond_margin} changed where the reference was sure",
    )
    if parity.margins:
        yield "", f"largest error of a logit: {parity.largest_error:.1e} of the logits' spread"
        yield "margins", "pixels by how sure the reference is, in RMS errors"
        between = (f"{low:g}–{high:g}" for low, high in pairwise(MARGIN_EDGES))
        edges = [f"≤ {MARGIN_EDGES[0]:g}", *between, f"> {MARGIN_EDGES[-1]:g}"]
        total = sum(parity.margins) or 1
        for edge, count in zip(edges, parity.margins, strict=True):
            yield "", f"{edge:>8}  {count / total:7.2%}  {'█' * round(_BAR * count / max(parity.margins))}"


def _time(row: Row) -> Iterator[tuple[str, str]]:
    if row.blocks is None:
        yield (
            "time",
            f"median {milliseconds(row.median_ms)} ms of {row.runs} runs of one process alone: no verdict without paired blocks",
        )
    else:
        interval = f"{milliseconds(row.interval_low_ms)} to {milliseconds(row.interval_high_ms)} ms"
        sure = (
            f"on the quiet machine, 99 % interval {interval}"
            if row.interval_low_ms
            else "without an interval, as before the first look and where it was too loud for one"
        )
        yield "time", f"{milliseconds(row.median_ms)} ms {sure}, {counted(row.blocks, 'block')}"
        used = (
            "louder ones count too, brought to the quiet level by canaries"
            if row.adjusted
            else "they alone count"
        )
        yield "", f"{row.quiet_share:.0%} of the turns were quiet: {used}; ungated is every run as it was"
    yield "", f"end-to-end {milliseconds(row.end_to_end_ms)} ms: bind the input, run, read the answer"
    if row.speedup is not None:
        between = f" ({row.speedup_low:.3f} to {row.speedup_high:.3f})" if row.speedup_low else ""
        ungated = f", ungated {row.speedup_ungated:.3f}" if row.speedup_ungated else ""
        verdict = f": {row.verdict}" if row.verdict else ""
        yield "", f"{row.speedup:.3f} × as fast as torch_eager/fp32{between}{ungated}{verdict}"
    if row.detectable is not None:
        yield "", f"a difference of {row.detectable:.1%} to it would be found 4 times in 5"


def _limits(result: Result, limits: Limits) -> Iterator[tuple[str, str]]:
    if failure := limits.failures.get(result.key):
        yield "sections", f"not cut: {failure.kind} while {failure.stage}: {failure.message}"
    found = limits.attribution(result.key)
    if found is not None:
        yield from _under("sections", section_lines(found))
    machine = limits.machine.get(result.case.threads)
    if machine is not None:
        yield from _under("machine", machine_lines(machine))


def _under(heading: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        yield heading, line
        heading = ""


def _costs(measurement: Measurement, row: Row) -> Iterator[tuple[str, str]]:
    yield (
        "cold costs",
        f"import {measurement.import_s:.1f} s, build {measurement.build_s:.1f} s, rewrite "
        f"{measurement.rewrite_s:.1f} s, prepare {measurement.prepare_s:.1f} s, first run "
        f"{measurement.first_run_s:.2f} s, compilers' caches empty",
    )
    if row.artifact_mb is not None:
        yield "", f"compiled artifact: {row.artifact_mb:.1f} MB"
    if row.pays_after_images is not None:
        yield (
            "",
            f"repaid after about {float(f'{row.pays_after_images:.2g}'):,.0f} images, against torch_eager/fp32",
        )
    built = measurement.peak_build_bytes
    yield (
        "peak memory",
        (f"{built / 1e6:.0f} MB to build, " if built else "")
        + f"{measurement.peak_load_bytes / 1e6:.0f} MB to prepare, "
        f"{measurement.peak_run_bytes / 1e6:.0f} MB in steady inference",
    )
    held = measurement.held_bytes
    counted = "with what" if held is None else f"without {held / 1e6:.0f} MB that"
    yield "", f"{counted} measuring held: inputs and expected answers"
    if measurement.peak_is != HIGH_WATER_MARK:
        yield "", f"by {measurement.peak_is}"


def _in_force(measurement: Measurement) -> Iterator[tuple[str, str]]:
    yield "in force", ", ".join(f"{name} {value}" for name, value in measurement.in_force.items())
    wall_ns = sum(measurement.run_ns)
    yield "", f"{measurement.cpu_ns / wall_ns:.2f} cores busy during its runs"
    found = moved(measurement.counters_before, measurement.counters_after)
    unknown_names = [name for name, end in measurement.counters_after.items() if end is None]
    known = (f"{name} {value}" for name, value in found.items() if value is not None)
    yield "counters", ", ".join(known) or "none shown"
    if unknown_names:
        yield "", f"not shown by this machine, so unknown: {', '.join(unknown_names)}"
