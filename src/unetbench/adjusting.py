"""Blocks brought to the quiet level by what their canaries read: for machines that are hardly ever quiet.

Where the gate of `quiet` leaves too few runs, louder turns are used too and the neighbours' part is taken off: in logs,
a case's time grows by a slope for each canary. One pair of slopes is that of all cases of the session; a case's
own replaces it as far as its blocks show beyond their noise that it feels neighbours otherwise. How unsure all
this is is part of the answer: each block's value is a pseudo-value of the jack-knife over blocks.
Sources: Tukey, Bias and confidence in not quite large samples, Ann. Math. Stat. 29 (1958), 614; Efron and
Morris, Stein's estimation rule and its competitors, J. Am. Stat. Assoc. 68 (1973), 117. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from unetbench import quiet
from unetbench.records import ROUNDS, Turn

_LOUDEST = (math.log(1.5), math.log(3.0))  # of the canaries in cache and in memory: beyond, no line holds
_STILL = 0.01  # canaries that move by less than 1 % have no slope worth following
# A line is believed so many times as far as canaries moved within blocks, from the 10 to the 90 % quantile. What moved by
# less than a tenth may be the canary's own noise, which tells nothing of neighbours.
_REACH, _OWN_NOISE = 2.0, math.log(1.1)
_LEAST_TURNS = 5  # of a block
_LEAST_FREEDOM = 10  # of the turns of a case, less its blocks and slopes: with fewer its noise is not known
_LEAST_NOISE = 1e-6  # variance of a turn's log time: a tenth of a percent
# Calm turns are those within 5 % of the 10 % quantile, by each canary; their middle is where the line is read. The
# quantile itself lies below what was ever calm by the canary's own noise: a line drawn to there overshoots.
_QUANTILE, _CALM = 0.1, math.log(1.05)
# Found in sessions that were measured twice (docs/measuring.md, benchmarks/selftest/taken_off.py): slopes of cases differ
# by about so much, in cache and in memory.
_UNLIKE = (0.10, 0.03)
# And the next session finds slopes that differ by so many times what the blocks of one say.
_BETWEEN_SESSIONS = 2.0

_PRODUCTS = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))  # of a point's parts, in the order of Moments

Point = tuple[float, float, float]  # log nanoseconds of the canaries in cache and in memory, and of a run
Points = Mapping[int, Sequence[Point]]  # of each block its turns
Slopes = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over a block's turns, each less the block's mean: slopes come from within blocks alone."""

    n: float = 0.0
    cache: float = 0.0
    both: float = 0.0
    memory: float = 0.0
    cache_time: float = 0.0
    memory_time: float = 0.0
    time: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n, self.cache + other.cache, self.both + other.both, self.memory + other.memory,
            self.cache_time + other.cache_time, self.memory_time + other.memory_time, self.time + other.time,
        )  # fmt: skip

    def weighed(self, weight: float) -> Moments:
        """Return the same, counting so many times."""
        return Moments(
            weight * self.n, weight * self.cache, weight * self.both, weight * self.memory,
            weight * self.cache_time, weight * self.memory_time, weight * self.time,
        )  # fmt: skip

    def noise(self, freedom: float) -> float:
        """Return the variance of a turn's log time that no line on the canaries tells, by its degrees of freedom."""
        cache, memory = self.slopes(bounded=False)
        told = cache * self.cache_time + memory * self.memory_time
        return max(_LEAST_NOISE, (self.time - told) / freedom)

    def slopes(self, *, bounded: bool = True) -> Slopes:
        """Return the least-squares slopes; none is negative where bounded, since neighbours speed nothing up.

        Bounds hide how unsure a slope is: who asks for that asks without.
        """
        least = self.n * _STILL**2
        cache_alone = self.cache_time / self.cache if self.cache > least else 0.0
        memory_alone = self.memory_time / self.memory if self.memory > least else 0.0
        square = self.cache * self.memory - self.both**2
        if min(self.cache, self.memory) > least and square > _STILL * self.cache * self.memory:
            cache = (self.memory * self.cache_time - self.both * self.memory_time) / square
            memory = (self.cache * self.memory_time - self.both * self.cache_time) / square
            if min(cache, memory) >= 0.0 or not bounded:
                return cache, memory
        if bounded:
            cache_alone, memory_alone = max(0.0, cache_alone), max(0.0, memory_alone)
        if cache_alone * self.cache_time >= memory_alone * self.memory_time:
            return cache_alone, 0.0
        return 0.0, memory_alone


@dataclass(frozen=True, slots=True)
class Common:
    """What the cases of one session tell together: where their canaries are calm, and the slopes of all."""

    cases: int
    calm: tuple[float, float]
    moments: Mapping[int, Moments]  # by round

    def slopes(self, without: int | None) -> Slopes:
        """Return the slopes of all rounds but one."""
        return _total(self.moments, without).slopes()


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Each block's log time at the quiet level, in log nanoseconds, and how far the case may be unlike the others."""

    values: Mapping[int, float]
    unlike: float = 0.0
    # Whether the line reaches so far. Values that are not known state nothing; what quiet runs state they may contradict.
    known: bool = True


NOTHING = Adjusted({})


def points(blocks: Mapping[int, Sequence[Turn]], level: quiet.Level) -> Points:
    """Return what the turns of a case tell, of the blocks with enough of them.

    A case that slows the canary after it has a mark there of its own, which is taken off: the typical step from
    the canary before a turn to that after it, since neighbours come and go alike before and after.
    """
    counting = {number: [turn for turn in each if _counts(turn, level)] for number, each in blocks.items()}
    every = [turn for each in counting.values() for turn in each]
    if not every:
        return {}
    mark = [median(math.log(turn.after_ns[k] / turn.before_ns[k]) for turn in every) for k in (0, 1)]
    return {
        number: [_point(turn, mark) for turn in each]
        for number, each in counting.items()
        if len(each) >= _LEAST_TURNS
    }


def common(cases: Iterable[Points]) -> Common | None:
    """Return what the cases of one session tell together, of which have turns enough; None where none has."""
    freedoms = [(case, sum(map(len, case.values())) - len(case) - 2) for case in cases]
    telling = [(case, freedom) for case, freedom in freedoms if freedom >= _LEAST_FREEDOM]
    if not telling:
        return None
    moments: dict[int, Moments] = {}
    for case, freedom in telling:
        by_block = {number: _moments(kept) for number, kept in case.items()}
        # One case that stalls at times would drown what the others tell.
        weight = 1.0 / _total(by_block).noise(freedom)
        for number, of in by_block.items():
            moments[number % ROUNDS] = moments.get(number % ROUNDS, Moments()) + of.weighed(weight)
    every = [point for case, _ in telling for kept in case.values() for point in kept]
    return Common(len(telling), (_calm([p[0] for p in every]), _calm([p[1] for p in every])), moments)


def adjusted(case: Points, beside: Common, above: quiet.Above = quiet.AT_RECORD) -> Adjusted:
    """Return a case's blocks at the quiet level, where they tell it; `beside` is of all cases, this one among them.

    `above` is how far the session's level lies above that on record. In memory the line is read so much lower;
    in cache not, where a slower clock looks the same: what a case feels of that is the reader's to allow for.

    The mean of the values is the jack-knifed estimate, and their spread holds that of the slopes. They are not known
    where the canaries' way to the level is much longer than they moved within blocks: a slope is known only where
    they move.
    """
    if len(case) < 2:
        return NOTHING
    calm = beside.calm[0], beside.calm[1] - above[1]

    def shared(without: int | None) -> Slopes:
        return beside.slopes(None if without is None else without % ROUNDS)

    values = _pseudo_values(case, shared, calm)
    known = _is_known(case.values(), calm)
    if beside.cases == 1:
        return Adjusted(values, known=known)
    moments = {number: _moments(kept) for number, kept in case.items()}

    def own(without: int | None) -> Slopes:
        return _total(moments, without).slopes(bounded=False)

    beyond = {number: value - values[number] for number, value in _pseudo_values(case, own, calm).items()}
    unlike = math.hypot(*(each * _way(case.values(), k, calm[k]) for k, each in enumerate(_UNLIKE)))
    share = _believed(list(beyond.values()), unlike)
    mixed = {number: value + share * beyond[number] for number, value in values.items()}
    return Adjusted(mixed, unlike=(1.0 - share) * unlike, known=known)


def _believed(beyond: Sequence[float], unlike: float) -> float:
    """How much of what a case's own slopes say beside the common ones is no noise: all of it is 1."""
    error = _BETWEEN_SESSIONS * stdev(beyond) / math.sqrt(len(beyond))
    true = max(unlike**2, fmean(beyond) ** 2 - error**2)
    seen = true + error**2
    return true / seen if seen else 1.0


def _pseudo_values(
    case: Points, slopes: Callable[[int | None], Slopes], calm: tuple[float, float]
) -> dict[int, float]:
    count = len(case)
    whole = _at_calm(case.values(), slopes(None), calm)
    found = {}
    for number in case:
        others = [kept for each, kept in case.items() if each != number]
        found[number] = count * whole - (count - 1) * _at_calm(others, slopes(number), calm)
    return found


def _counts(turn: Turn, level: quiet.Level) -> bool:
    """Whether a turn has a time, and canaries that a line may hold for."""
    if not turn.run_ns or quiet.waited(turn):
        return False
    return all(
        fmean((math.log(turn.before_ns[k] / level[k]), math.log(turn.after_ns[k] / level[2 + k])))
        <= _LOUDEST[k]
        for k in (0, 1)
    )


def _point(turn: Turn, mark: Sequence[float]) -> Point:
    cache, memory = (
        fmean((math.log(turn.before_ns[k]), math.log(turn.after_ns[k]) - mark[k])) for k in (0, 1)
    )
    return cache, memory, math.log(median(turn.run_ns))


def _moments(points: Sequence[Point]) -> Moments:
    middle = [fmean(of) for of in zip(*points, strict=True)]
    centred = [[value - mean for value, mean in zip(point, middle, strict=True)] for point in points]
    return Moments(
        len(points),
        *(sum(point[a] * point[b] for point in centred) for a, b in _PRODUCTS),
    )


def _total(moments: Mapping[int, Moments], without: int | None = None) -> Moments:
    return sum((of for number, of in moments.items() if number != without), Moments())


def _at_calm(blocks: Collection[Sequence[Point]], slopes: Slopes, calm: tuple[float, float]) -> float:
    """The mean over blocks of the log time where the canaries are calm."""
    return fmean(
        median(
            time - slopes[0] * (cache - calm[0]) - slopes[1] * (memory - calm[1])
            for cache, memory, time in kept
        )
        for kept in blocks
    )


def _is_known(blocks: Collection[Sequence[Point]], calm: tuple[float, float]) -> bool:
    """Whether what the canaries tell reaches from the blocks down to the calm level.

    Slopes come from within blocks. Neighbours that stay for whole blocks move the middles of those and nothing
    within, and what they cost a case cannot be told. Of the canary in memory only that counts which does not go
    along with the one in cache.
    """
    within = [
        [value - middle for value, middle in zip(point, middles, strict=True)]
        for points in blocks
        for middles in [[median(of) for of in zip(*points, strict=True)]]
        for point in points
    ]
    square = math.fsum(cache**2 for cache, _, _ in within)
    along = math.fsum(cache * memory for cache, memory, _ in within) / square if square else 0.0
    in_cache, in_memory = (_way(blocks, kernel, calm[kernel]) for kernel in (0, 1))
    cache_reach = _reach([cache for cache, _, _ in within])
    memory_reach = _reach([memory - along * cache for cache, memory, _ in within])
    return in_cache <= cache_reach and in_memory - along * in_cache <= memory_reach


def _reach(moved: Sequence[float]) -> float:
    range_ = quiet.quantile(moved, 1 - _QUANTILE) - quiet.quantile(moved, _QUANTILE)
    return max(quiet.NEAR, _REACH * range_ if range_ > _OWN_NOISE else 0.0)


def _way(blocks: Collection[Sequence[Point]], kernel: int, calm: float) -> float:
    """How far the middles of blocks lie above the calm level."""
    return fmean(median(point[kernel] for point in points) for points in blocks) - calm


def _calm(loudness: Sequence[float]) -> float:
    quietest = sorted(loudness)[int(_QUANTILE * len(loudness))]
    return median(each for each in loudness if each <= quietest + _CALM)
