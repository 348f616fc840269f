"""Tail percentiles of a case from all its runs, and how many independent runs those are worth.

Standard library only. No run is left out here: a tail is what the neighbours make of it too. Where the runs are
too few for a percentile, none is stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log

CONFIDENCE = 0.95  # of an upper bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A percentile of the runs, with an upper bound for it. Units: milliseconds."""

    value_ms: float | None  # None where the runs are too few to say
    upper_ms: float | None
    slowest_ms: float
    runs: int
    effective: float  # independent runs that they are worth
    needed: int


def needed(share: float) -> int:
    """Return how many independent runs bound a percentile from above: only then one of them is likely beyond it.

    Source: Wilks, Annals of Mathematical Statistics 12, 1941: the largest of n is above it but for share^n.
    """
    return ceil(log(1 - CONFIDENCE) / log(share))


def tail(processes: Sequence[Sequence[int]], share: float) -> Tail:
    """Return a percentile, given as a share, of runs in order, those of each process together.

    Units: nanoseconds in. Raises: ValueError without a run.
    """
    values = sorted(ns for runs in processes for ns in runs)
    if not values:
        raise ValueError("no runs to take a percentile of")
    at = values[min(len(values) - 1, ceil(share * len(values)) - 1)]
    effective = effective_runs([[ns > at for ns in runs] for runs in processes])
    enough = needed(share)
    value = upper = None
    if effective >= enough:
        level = _upper_level(int(effective), share)
        value, upper = at / 1e6, values[min(len(values), ceil(level * len(values))) - 1] / 1e6
    return Tail(
        value_ms=value,
        upper_ms=upper,
        slowest_ms=values[-1] / 1e6,
        runs=len(values),
        effective=effective,
        needed=enough,
    )


def effective_runs(beyond: Sequence[Sequence[bool]]) -> float:
    """Return how many independent runs a series is worth, by whether each is beyond a time.

    What a process shares among its runs is correlation at every lag, so runs of few processes are worth little.
    Source: Geyer, Statistical Science 7, 1992: the initial positive sequence.
    """
    count = sum(map(len, beyond))
    middle = sum(map(sum, beyond)) / count
    spread = middle * (1 - middle)
    if spread == 0.0:
        return float(count)
    time = 1.0
    lag = 1
    while (
        pair := _correlation(beyond, lag, middle, spread) + _correlation(beyond, lag + 1, middle, spread)
    ) > 0:
        time += 2 * pair
        lag += 2
    return min(float(count), count / time)


def _correlation(beyond: Sequence[Sequence[bool]], lag: int, middle: float, spread: float) -> float:
    products = [
        (runs[at] - middle) * (runs[at + lag] - middle) for runs in beyond for at in range(len(runs) - lag)
    ]
    # Over all runs, not over those that have such a neighbour: long lags then fade out, as they should.
    return sum(products) / (spread * sum(map(len, beyond))) if products else 0.0


def _upper_level(count: int, share: float) -> float:
    """The level whose order statistic is above the percentile with `CONFIDENCE`."""
    below = 0.0
    for rank in range(count):
        ways = lgamma(count + 1) - lgamma(rank + 1) - lgamma(count - rank + 1)
        below += exp(ways + rank * log(share) + (count - rank) * log(1 - share))
        if below >= CONFIDENCE:
            return (rank + 1) / count
    return 1.0
