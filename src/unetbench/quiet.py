"""Which runs were made on the machine without its neighbours? Judged by canaries alone.

The gate never looks at a case's own time. Standard library only; prints nothing, keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from unetbench.records import Turn

# Chosen by benchmarks/selftest/gate.py on other data than what proves them (docs/measuring.md).
FACTOR = 1.10  # a run is quiet where both its canaries are within this of the quiet level
QUIET_QUANTILE = 0.10  # of a case's own canaries in the session: its quiet level
RECORD_FACTOR = 1.05  # a session is not quiet where even its quiet level exceeds the record by more
OWN_FACTOR = 1.02  # a case whose level differs more from the null runtime's disturbs its own canary

Level = tuple[float, float]  # nanoseconds in cache, in memory


def level(turns: Iterable[Turn]) -> Level | None:
    """Return the quiet level of some turns' canaries, before and after; None without turns."""
    readings = [reading for turn in turns for reading in (turn.before_ns, turn.after_ns)]
    if not readings:
        return None
    cache, memory = (
        _quantile([reading[kernel] for reading in readings], QUIET_QUANTILE) for kernel in (0, 1)
    )
    return cache, memory


def is_quiet(turn: Turn, quiet: Level, factor: float = FACTOR) -> bool:
    """Return whether both canaries, before and after, are within `factor` of the quiet level."""
    return loudness(turn, quiet) <= factor


def loudness(turn: Turn, quiet: Level) -> float:
    """Return the largest of a turn's canaries over their quiet level: 1 is quiet, 2 is twice as slow."""
    return max(
        reading[kernel] / quiet[kernel] for reading in (turn.before_ns, turn.after_ns) for kernel in (0, 1)
    )


def quiet_runs(turns: Iterable[Turn], quiet: Level, factor: float = FACTOR) -> list[int]:
    """Return the nanoseconds of the runs of quiet turns."""
    return [ns for turn in turns if is_quiet(turn, quiet, factor) for ns in turn.run_ns]


def quiet_share(turns: Sequence[Turn], quiet: Level) -> float:
    """Return the share of turns that were quiet."""
    return sum(is_quiet(turn, quiet) for turn in turns) / len(turns) if turns else 0.0


def above_record(level: Level, record: Level) -> bool:
    """Return whether a session's level says that the machine was never quiet in it."""
    return any(now > RECORD_FACTOR * best for now, best in zip(level, record, strict=True))


def lowest(levels: Iterable[Level]) -> Level | None:
    """Return the lowest level of each kernel."""
    levels = tuple(levels)
    if not levels:
        return None
    return min(each[0] for each in levels), min(each[1] for each in levels)


def disturbs_its_canary(own: Level, null: Level) -> bool:
    """Return whether a case's canaries read otherwise than those around the null runtime."""
    return any(abs(a / b - 1.0) > OWN_FACTOR - 1.0 for a, b in zip(own, null, strict=True))


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


def _quantile(values: Sequence[int], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
