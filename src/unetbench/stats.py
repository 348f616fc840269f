"""Raw nanoseconds to summaries. Standard library only; prints nothing, keeps nothing.

Verdicts need the blocks of the full protocol (docs/measuring.md); from one block there are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

NS_PER_MS = 1e6
GAUGES = ("frequency_khz",)  # of the kernel's counters: they tell a state, the others count


QUIET_SHARE = 0.05  # of the timed runs with somebody waiting for a CPU; quiet cases had up to 0.03


def waiting_share(
    before: Mapping[str, int | None], after: Mapping[str, int | None], wall_ns: int
) -> float | None:
    """Return the share of a time in which some process waited for a CPU; None where it is unknown.

    Units: the counters' `cpu_pressure_us` in microseconds.
    """
    start, end = before.get("cpu_pressure_us"), after.get("cpu_pressure_us")
    if start is None or end is None or wall_ns <= 0:
        return None
    return (end - start) * 1000 / wall_ns


def disturbed(share: float | None) -> bool:
    """Return whether runs with that waiting share say little of the case; unknown is not known to."""
    return share is not None and share > QUIET_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The middle of a sample and how far it spreads. Units: milliseconds."""

    median_ms: float
    low_ms: float  # 25 % quantile
    high_ms: float  # 75 % quantile
    runs: int


def summary(samples_ns: Sequence[int]) -> Summary:
    """Return median and quartiles of one block's runs.

    Quartiles describe the runs seen; they are no confidence interval, since neighbouring runs
    on a shared machine are far from independent.
    Raises: ValueError for an empty sample.
    """
    if not samples_ns:
        raise ValueError("no runs to summarise")
    low, middle, high = (
        quantiles(samples_ns, n=4, method="inclusive") if len(samples_ns) > 1 else [samples_ns[0]] * 3
    )
    return Summary(
        median_ms=middle / NS_PER_MS,
        low_ms=low / NS_PER_MS,
        high_ms=high / NS_PER_MS,
        runs=len(samples_ns),
    )


def moved(before: Mapping[str, int | None], after: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return how far each of the kernel's counters moved; a gauge, as it stands afterwards.

    None where it was not shown both times, or went back: what an ended thread had counted is gone.
    """
    found: dict[str, int | None] = {}
    for name, end in after.items():
        start = before.get(name)
        if name in GAUGES:
            found[name] = end
        else:
            found[name] = None if start is None or end is None or end < start else end - start
    return found
