"""Blocks brought to the quiet level by what their canaries read: for machines that are hardly ever quiet.

Where the gate of `quiet` leaves too few runs, all runs are used and the neighbours' part is taken off: in logs,
a case's time grows by a slope for each canary, which its own turns tell, block by block. How unsure the
slopes are is part of the answer: each block's value is a pseudo-value of the jack-knife over blocks.
Source: Tukey, Bias and confidence in not quite large samples, Ann. Math. Stat. 29 (1958), 614.
Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from unetbench import quiet
from unetbench.records import Turn

_LOUDEST = (math.log(1.5), math.log(3.0))  # of the canaries in cache and in memory: beyond, no line holds
_STILL = 0.01  # canaries that move by less than 1 % have no slope worth following
# A line is believed so many times as far as canaries moved within blocks, from the 10 to the 90 % quantile. What moved by
# less than a tenth may be the canary's own noise, which tells nothing of neighbours.
_REACH, _OWN_NOISE = 2.0, math.log(1.1)
_LEAST_TURNS = 5  # of a block
# Calm turns are those within 5 % of the 10 % quantile, by each canary; their middle is where the line is read. The
# quantile itself lies below what was ever calm by the canary's own noise: a line drawn to there overshoots.
_QUANTILE, _CALM = 0.1, math.log(1.05)

Point = tuple[float, float, float]  # log loudness in cache and in memory, log time


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over a block's turns, each less the block's mean: slopes come from within blocks alone."""

    n: int = 0
    cache: float = 0.0
    both: float = 0.0
    memory: float = 0.0
    cache_time: float = 0.0
    memory_time: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n, self.cache + other.cache, self.both + other.both, self.memory + other.memory,
            self.cache_time + other.cache_time, self.memory_time + other.memory_time,
        )  # fmt: skip

    def slopes(self) -> tuple[float, float]:
        """Return the least-squares slopes; none is negative, since neighbours speed nothing up."""
        least = self.n * _STILL**2
        cache_alone = max(0.0, self.cache_time / self.cache) if self.cache > least else 0.0
        memory_alone = max(0.0, self.memory_time / self.memory) if self.memory > least else 0.0
        square = self.cache * self.memory - self.both**2
        if min(self.cache, self.memory) > least and square > _STILL * self.cache * self.memory:
            cache = (self.memory * self.cache_time - self.both * self.memory_time) / square
            memory = (self.cache * self.memory_time - self.both * self.cache_time) / square
            if min(cache, memory) >= 0.0:
                return cache, memory
        if cache_alone * self.cache_time >= memory_alone * self.memory_time:
            return cache_alone, 0.0
        return 0.0, memory_alone


def pseudo_values(
    blocks: Mapping[int, Sequence[Turn]], level: quiet.Level, above: quiet.Above = quiet.AT_RECORD
) -> dict[int, float]:
    """Return each block's log time at the quiet level, in log nanoseconds, where it has enough turns.

    `above` is how far the session's level lies above that on record. In memory the line is read so much lower;
    in cache not, where a slower clock looks the same: what a case feels of that is the reader's to allow for.

    Their mean is the jack-knifed estimate, and their spread holds that of the slopes. Nothing comes out where the
    canaries' way to there is much longer than they moved within blocks: a slope is known only where they move.
    """
    points = {
        number: kept
        for number, turns in blocks.items()
        if len(kept := [point for turn in turns if (point := _point(turn, level))]) >= _LEAST_TURNS
    }
    if len(points) < 2:
        return {}
    moments = {number: _moments(kept) for number, kept in points.items()}
    count = len(points)
    every = [point for kept in points.values() for point in kept]
    calm = _calm([point[0] for point in every]), _calm([point[1] for point in every]) - above[1]
    if not all(_is_known(points.values(), kernel, calm[kernel]) for kernel in (0, 1)):
        return {}
    whole = _at_calm(points, moments, calm)
    found = {}
    for number in points:
        others = {each: kept for each, kept in points.items() if each != number}
        found[number] = count * whole - (count - 1) * _at_calm(others, moments, calm)
    return found


def _point(turn: Turn, level: quiet.Level) -> Point | None:
    if not turn.run_ns or quiet.waited(turn):
        return None
    before, after = (
        [math.log(now / calm) for now, calm in zip(readings, levels, strict=True)]
        for readings, levels in ((turn.before_ns, level[:2]), (turn.after_ns, level[2:]))
    )
    cache, memory = (fmean(pair) for pair in zip(before, after, strict=True))
    if cache > _LOUDEST[0] or memory > _LOUDEST[1]:
        return None
    return cache, memory, math.log(median(turn.run_ns))


def _moments(points: Sequence[Point]) -> Moments:
    middle = [fmean(of) for of in zip(*points, strict=True)]
    centred = [[value - mean for value, mean in zip(point, middle, strict=True)] for point in points]
    return Moments(
        len(points),
        *(sum(point[a] * point[b] for point in centred) for a, b in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2))),
    )


def _at_calm(
    points: Mapping[int, Sequence[Point]], moments: Mapping[int, Moments], calm: tuple[float, float]
) -> float:
    """The mean over blocks of the log time where the canaries are calm."""
    cache_slope, memory_slope = sum((moments[number] for number in points), Moments()).slopes()
    return fmean(
        median(
            time - cache_slope * (cache - calm[0]) - memory_slope * (memory - calm[1])
            for cache, memory, time in kept
        )
        for kept in points.values()
    )


def _is_known(blocks: Collection[Sequence[Point]], kernel: int, calm: float) -> bool:
    """Whether what a canary tells reaches from the blocks down to the calm level.

    Slopes come from within blocks. Neighbours that stay for whole blocks move the middles of those and nothing
    within, and what they cost a case cannot be told.
    """
    middles = [median(point[kernel] for point in points) for points in blocks]
    within = [
        point[kernel] - middle for points, middle in zip(blocks, middles, strict=True) for point in points
    ]
    moved = quiet.quantile(within, 1 - _QUANTILE) - quiet.quantile(within, _QUANTILE)
    reach = _REACH * moved if moved > _OWN_NOISE else quiet.NEAR
    return fmean(middles) - calm <= max(quiet.NEAR, reach)


def _calm(loudness: Sequence[float]) -> float:
    quietest = sorted(loudness)[int(_QUANTILE * len(loudness))]
    return median(each for each in loudness if each <= quietest + _CALM)
