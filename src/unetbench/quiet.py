"""Which runs were made on the machine without its neighbours? Judged by canaries and by the
kernel's CPU pressure.

The gate never looks at a case's own time. Standard library only; prints nothing, keeps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from unetbench.records import Turn
from unetbench.stats import disturbed, waiting_share

# The gate is that of the simulations (benchmarks/selftest/coverage.py); what was tried: docs/measuring.md.
FACTOR = 1.10  # a run is quiet where both its canaries are within this of the quiet level
QUIET_QUANTILE = 0.10  # of a case's own canaries in the session: its quiet level
RECORD_FACTOR = 1.05  # a session within this of the level on record was as quiet as the machine can be
# What is farther is brought to the record, as far as simulations have shown that to be true: in cache, where a
# slower clock shows, and in memory, where neighbours do.
_REACH = (math.log(1.1), math.log(1.5))

FACT = "quiet level"  # the name under which a session's are stored: {"2": [...]}, by threads

Level = tuple[float, ...]  # nanoseconds in cache and in memory before a turn, then after it
# By how much, in logs, a quiet level in cache and in memory lies above that on record.
Above = tuple[float, float]
AT_RECORD: Above = (0.0, 0.0)
NEAR = math.log(RECORD_FACTOR)


@dataclass(frozen=True, slots=True)
class Levels:
    """How quiet a session was at its quietest, beside the lowest on record."""

    own: Level
    record: Level

    @property
    def above(self) -> Above | None:
        """How far the session lies above the record, before and after turns taken together.

        Nothing where both kernels are within `RECORD_FACTOR`; None where it is farther than bringing times
        down is proved for.
        """
        cache, memory = (
            max(0.0, fmean(math.log(self.own[place] / self.record[place]) for place in places))
            for places in ((0, 2), (1, 3))
        )
        if max(cache, memory) <= NEAR:
            return AT_RECORD
        if cache > _REACH[0] or memory > _REACH[1]:
            return None
        return cache, memory

    def beside(self, other: Levels) -> Levels:
        """Return the same beside the record of both, for two stores of one machine."""
        return replace(self, record=lowest((self.record, other.record)))


def level(turns: Iterable[Turn]) -> Level | None:
    """Return the quiet level of some turns' canaries; None without turns.

    Before and after have levels of their own: a case that leaves the caches cold slows every canary
    after it, and a level of both together would then reject the turns after which it slowed them least.
    """
    readings = [_readings(turn) for turn in turns]
    if not readings:
        return None
    return tuple(quantile(values, QUIET_QUANTILE) for values in zip(*readings, strict=True))


def is_quiet(turn: Turn, quiet: Level, factor: float = FACTOR) -> bool:
    """Return whether both canaries, before and after, are within `factor` of the quiet level."""
    return loudness(turn, quiet) <= factor


def loudness(turn: Turn, quiet: Level) -> float:
    """Return the largest of a turn's canaries over their quiet level: 1 is quiet, 2 is twice as slow.

    Infinite where processes waited for a CPU meanwhile: one that takes a core for a millisecond makes
    the threads of a case wait for each other, and may let a canary pass.
    """
    if waited(turn):
        return math.inf
    return max(now / level for now, level in zip(_readings(turn), quiet, strict=True))


def quiet_runs(turns: Iterable[Turn], quiet: Level, factor: float = FACTOR) -> list[int]:
    """Return the nanoseconds of the runs of quiet turns."""
    return [ns for turn in turns if is_quiet(turn, quiet, factor) for ns in turn.run_ns]


def quiet_share(turns: Sequence[Turn], quiet: Level) -> float:
    """Return the share of turns that were quiet."""
    return sum(is_quiet(turn, quiet) for turn in turns) / len(turns) if turns else 0.0


def lowest(levels: Iterable[Level]) -> Level:
    """Return the lowest level of each kernel, of at least one."""
    return tuple(min(kernel) for kernel in zip(*levels, strict=True))


def block_medians(
    blocks: Mapping[int, Sequence[Turn]], quiet: Level, *, least_runs: int, factor: float = FACTOR
) -> dict[int, float]:
    """Return each block's median of its quiet runs, in nanoseconds, where it has enough of them."""
    found = {}
    for number, turns in blocks.items():
        runs = quiet_runs(turns, quiet, factor)
        if len(runs) >= least_runs:
            found[number] = float(median(runs))
    return found


def waited(turn: Turn) -> bool:
    """Return whether processes waited for a CPU during a turn's runs."""
    before = {"cpu_pressure_us": 0}
    after = {"cpu_pressure_us": turn.counters.get("cpu_pressure_us")}
    return disturbed(waiting_share(before, after, sum(turn.warmup_ns) + sum(turn.run_ns)))


def _readings(turn: Turn) -> tuple[int, ...]:
    return (*turn.before_ns, *turn.after_ns)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of them lies below, between neighbours on a line."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
