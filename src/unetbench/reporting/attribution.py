"""Where a case's time goes, and how far each section is from what the machine can do: figures and their words.

A section's limit is the longer of two times: its arithmetic at the machine's peak in its precision, and its
convolutions' bytes at memory's bandwidth.
Source: Williams, Waterman and Patterson, Roofline, CACM 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import msgspec

from unetbench.amounts import counted
from unetbench.records import (
    LIMITS_FACT,
    Breakdown,
    Failure,
    Kernel,
    LimitKind,
    MachineLimits,
    Section,
    SectionsBy,
    breakdown_fact,
)
from unetbench.reporting.table import milliseconds
from unetbench.stats import NS_PER_MS
from unetbench.store import Store

_KINDS: Final[tuple[LimitKind, ...]] = ("fp32", "bf16", "int8", "memory")
_FP32_BYTES = 4
_MOST_APART = (
    1.5  # the sections' sum over the whole, or the whole over it: beyond, shares say nothing (decision 17)
)
_DIFFERENCE: Final[Mapping[SectionsBy, str]] = {
    "cuts": "the cut's",
    "counters": "what the runtime's counters cost, or do not see",
}
UNTOLD: Final = "sections do not add up"
_BYTES: Final = {"fp32": 4, "bf16": 2, "int8": 1}  # of a number, where maps are kept in the precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """One limit of the machine: the best of the kernels tried. Units: per second, FLOP or bytes."""

    kind: LimitKind
    per_s: float
    kernel: str
    tried: tuple[tuple[str, float], ...]  # name and rate of each, best first


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionFigures:
    """One section beside the machine's limits; None where a limit was not measured."""

    name: str
    runtime: str
    note: str
    ms: float
    share: float  # of the sections together
    gflop_per_s: float
    gb_per_s: float
    of_peak: float | None
    of_bandwidth: float | None
    limit_ms: float | None

    @property
    def bound(self) -> str:
        """Which limit is the nearer one."""
        if self.of_peak is None or self.of_bandwidth is None:
            return "unknown"
        return "arithmetic" if self.of_peak >= self.of_bandwidth else "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A case's sections and whole beside the machine's limits."""

    sections: tuple[SectionFigures, ...]
    by: SectionsBy
    whole_ms: float
    gflop_per_s: float  # of the whole
    of_peak: float | None

    @property
    def together_ms(self) -> float:
        """The sections' sum: over the whole by what cuts cost, under it by what smaller networks gain, or no counter sees."""
        return sum(section.ms for section in self.sections)

    @property
    def adds_up(self) -> bool:
        """Whether the sections come near enough to the whole to tell where its time goes."""
        return 1 / _MOST_APART <= self.together_ms / self.whole_ms <= _MOST_APART

    @property
    def bars(self) -> list[tuple[str, float]]:
        """What is drawn: the sections, or the whole alone where they do not add up to it. Units: ms."""
        if not self.adds_up:
            return [(UNTOLD, self.whole_ms)]
        return [(section.name, section.ms) for section in self.sections]

    @property
    def limit_ms(self) -> float | None:
        """The time that the sections' limits add up to."""
        limits = [section.limit_ms for section in self.sections if section.limit_ms is not None]
        return sum(limits) if len(limits) == len(self.sections) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session found of limits: the machine's by threads, breakdowns and failures by a case's key."""

    machine: Mapping[int, MachineLimits] = field(default_factory=dict)
    breakdowns: Mapping[str, Breakdown] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(
        default_factory=dict
    )  # of machine's limits under their fact's name

    def attribution(self, key: str) -> Attribution | None:
        """Return a case's figures; None where it was not cut into sections."""
        found = self.breakdowns.get(key)
        return None if found is None else attributed(found, peaks(self.machine.get(found.threads)))


NOTHING: Final = Limits()


def of_session(store: Store, session: int) -> Limits:
    """Return what a session of a store found of limits."""
    facts = store.facts(session)
    prefix = breakdown_fact("")
    cut = {name.removeprefix(prefix): fact for name, fact in facts.items() if name.startswith(prefix)}
    by_threads = facts.get(LIMITS_FACT, {})
    failures = {key: _failure(fact) for key, fact in cut.items() if "failure" in fact}
    failures |= {
        f"{LIMITS_FACT} {threads}": _failure(fact)
        for threads, fact in by_threads.items()
        if "failure" in fact
    }
    return Limits(
        machine={
            int(threads): msgspec.convert(fact["found"], MachineLimits)
            for threads, fact in by_threads.items()
            if "found" in fact
        },
        breakdowns={
            key: msgspec.convert(fact["found"], Breakdown) for key, fact in cut.items() if "found" in fact
        },
        failures=failures,
    )


def _failure(fact: Mapping[str, Any]) -> Failure:
    return msgspec.convert(fact["failure"], Failure)


def peaks(limits: MachineLimits | None) -> dict[str, Peak]:
    """Return the machine's limits by kind: of the kernels tried the one with the best median."""
    found: dict[str, Peak] = {}
    for kind in _KINDS:
        tried = [
            (kernel.name, _rate(kernel))
            for kernel in (limits.kernels if limits else ())
            if kernel.kind == kind
        ]
        ordered = sorted(tried, key=lambda each: each[1], reverse=True)
        if ordered:
            found[kind] = Peak(kind=kind, per_s=ordered[0][1], kernel=ordered[0][0], tried=tuple(ordered))
    return found


def _rate(kernel: Kernel) -> float:
    return kernel.work * 1e9 / median(kernel.run_ns)


def attributed(found: Breakdown, limits: Mapping[str, Peak]) -> Attribution:
    """Return the figures of a breakdown beside the machine's peaks."""
    peak, memory = limits.get(found.precision), limits.get("memory")
    size = _BYTES.get(found.precision, _FP32_BYTES) / _FP32_BYTES
    together_ns = sum(median(section.run_ns) for section in found.sections)
    sections = tuple(_figures(section, together_ns, size, peak, memory) for section in found.sections)
    whole_ns = median(found.whole_ns)
    per_s = sum(section.flop for section in found.sections) * 1e9 / whole_ns
    return Attribution(
        sections=sections,
        by=found.by,
        whole_ms=whole_ns / NS_PER_MS,
        gflop_per_s=per_s / 1e9,
        of_peak=per_s / peak.per_s if peak else None,
    )


def _figures(
    section: Section, together_ns: float, size: float, peak: Peak | None, memory: Peak | None
) -> SectionFigures:
    taken_s = median(section.run_ns) / 1e9
    flop_per_s, bytes_per_s = section.flop / taken_s, section.moved_bytes * size / taken_s
    limits = [flop_per_s / peak.per_s if peak else None, bytes_per_s / memory.per_s if memory else None]
    known = [limit for limit in limits if limit is not None]
    return SectionFigures(
        name=section.name,
        runtime=section.runtime,
        note=section.note,
        ms=taken_s * 1e3,
        share=taken_s * 1e9 / together_ns,
        gflop_per_s=flop_per_s / 1e9,
        gb_per_s=bytes_per_s / 1e9,
        of_peak=limits[0],
        of_bandwidth=limits[1],
        limit_ms=taken_s * 1e3 * max(known) if len(known) == len(limits) else None,
    )


def machine_lines(limits: MachineLimits) -> Iterator[str]:
    """Say what the machine can do, one limit a line, with the kernels that were tried: each by its best shape."""
    for kind, peak in peaks(limits).items():
        unit = "GB/s" if kind == "memory" else "GFLOP/s"
        heading = kind if kind == "memory" else f"{kind} peak"
        best: dict[str, str] = {}  # names tell the shape behind a comma
        for name, rate in peak.tried:
            best.setdefault(name.partition(",")[0], f"{name} {rate / 1e9:.3g}")
        others = "; ".join(list(best.values())[1:])
        more = f"; {others}" if others else ""
        yield f"{heading} {peak.per_s / 1e9:.3g} {unit} ({peak.kernel}{more})"
    cache = "unknown" if limits.cache_bytes is None else f"{limits.cache_bytes / (1 << 20):.0f} MiB"
    yield f"{counted(limits.threads, 'thread')}; buffers of {limits.buffer_bytes >> 20} MiB each, largest cache {cache}"
    for name, reason in limits.failed.items():
        yield f"not measured: {name} ({reason})"


def session_lines(limits: Limits) -> Iterator[str]:
    """Say what a session found of the machine's limits, for each number of threads, failures too."""
    for each in limits.machine.values():
        yield from machine_lines(each)
    for name, failure in limits.failures.items():
        if name.startswith(f"{LIMITS_FACT} "):
            yield f"not measured: {name} threads ({failure.kind} while {failure.stage}: {failure.message})"


def in_short(found: Attribution, precision: str) -> str:
    """Say where the time goes in one line."""
    shares = (
        ", ".join(f"{section.name} {section.share:.0%}" for section in found.sections)
        if found.adds_up
        else f"not told by its sections, which come to {found.together_ms / found.whole_ms:.1f} × the whole"
    )
    peak = "" if found.of_peak is None else f"; {found.of_peak:.0%} of the {precision} peak"
    limit = "" if found.limit_ms is None else f", {milliseconds(found.limit_ms)} ms at the machine's limits"
    return f"{shares}{peak}{limit}"


def section_lines(found: Attribution) -> Iterator[str]:
    """Say where the time goes, one section a line, then what the sections make together."""
    for section in found.sections:
        note = f" ({section.note})" if section.note else ""
        share = f", {section.share:.0%}" if found.adds_up else ""
        yield (
            f"{section.name} {milliseconds(section.ms)} ms{share}: {section.gflop_per_s:.3g} GFLOP/s "
            f"({_of(section.of_peak)} of the peak), {section.gb_per_s:.3g} GB/s ({_of(section.of_bandwidth)} of memory's); "
            f"bound by {section.bound}, in {section.runtime}{note}"
        )
    ratio = found.together_ms / found.whole_ms
    yield (
        f"together {milliseconds(found.together_ms)} ms, {ratio:.2f} of the whole's "
        f"{milliseconds(found.whole_ms)} ms in the same minutes: the difference is {_DIFFERENCE[found.by]}"
        + ("" if found.adds_up else ", too much for shares to mean anything")
    )
    if found.limit_ms is not None:
        yield f"at the machine's limits {milliseconds(found.limit_ms)} ms"


def names(found: Iterable[Attribution]) -> list[str]:
    """Return the names of all sections, in the order in which they run."""
    return list(dict.fromkeys(section.name for each in found for section in each.sections))


def _of(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"
