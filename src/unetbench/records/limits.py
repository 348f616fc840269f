"""What is found of limits: how fast the machine itself is, and where a case's time goes. Standard library only.

Raw nanoseconds, as everywhere: what they say together is derived by a report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

LIMITS_FACT = "limits"  # the name under which a session's are stored: {threads: MachineLimits}

LimitKind = Literal["fp32", "bf16", "int8", "memory"]
SectionsBy = Literal["cuts", "counters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that was tried for one of the machine's limits."""

    kind: LimitKind
    name: str
    work: int  # of a run: FLOP, a multiply-add counted as 2; for memory, bytes read and written
    run_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLimits:
    """What the machine can do at best with that many threads, by the kernels tried in a fresh process."""

    threads: int
    kernels: tuple[Kernel, ...]
    buffer_bytes: int  # each of those that memory was measured with
    cache_bytes: int | None  # the largest cache that the kernel tells of; None: unknown
    failed: dict[str, str] = field(default_factory=dict)  # kernels that did not run, with the reason
    counters_before: dict[str, int | None] = field(default_factory=dict)
    counters_after: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of a network: what it computes, and how long it took."""

    name: str
    runtime: str
    flop: int  # of a run, a multiply-add counted as 2
    moved_bytes: int  # that its convolutions and products read and write in fp32, weights included
    run_ns: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where a case's time goes: its sections and the whole, timed in turn in one process.

    Sections are told by the runtime's own counters as the whole runs, or by cuts: each was converted and timed as a
    network of its own.
    """

    precision: str
    threads: int
    whole_ns: tuple[int, ...]
    sections: tuple[Section, ...]
    by: SectionsBy = "cuts"
    counters_before: dict[str, int | None] = field(default_factory=dict)
    counters_after: dict[str, int | None] = field(default_factory=dict)


def breakdown_fact(key: str) -> str:
    """Return the name under which a session keeps a case's breakdown, or the failure in its place."""
    return f"breakdown {key}"
