"""One case's blocks and what they say by themselves: quiet medians, warm-up, values brought to the quiet level.

Standard library only. What is computed is kept: a table compares each case with many others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, stdev
from typing import TypeVar

from unetbench import adjusting, quiet, student_t
from unetbench.records import ROUNDS, Turn
from unetbench.spread import Noise

LEAST_RUNS = 5  # quiet runs that a block's median needs
LEAST_BLOCKS = 6  # usable blocks that an interval needs
_DRIFT = 0.005  # a leading part that differs by less is no warm-up worth dropping
_DRIFT_ALPHA = 0.001
_Rounds = frozenset[int]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a case's blocks up to a look say, by block."""

    level: quiet.Level
    dropped: int
    unsteady: bool
    quiet_log: Mapping[int, float]
    every_log: Mapping[int, float]


@dataclass(slots=True)
class Sample:
    """A case's blocks: turns by block number. What is computed of them is kept for the next pair."""

    blocks: Mapping[int, Sequence[Turn]]
    above: quiet.Above = quiet.AT_RECORD  # how far their session's quiet level lies above that on record
    # All that were measured with it, itself among them; None: it alone.
    beside: Beside | None = field(default=None, repr=False, compare=False)
    _seen: dict[tuple[tuple[int, ...], int], Seen | None] = field(default_factory=dict)
    _adjusted: dict[tuple[tuple[int, ...], int], adjusting.Adjusted] = field(default_factory=dict)

    def seen(self, numbers: tuple[int, ...], dropped: int | None = None) -> Seen | None:
        """Return what those blocks say, without so many leading turns; as many as needed where None."""
        key = (numbers, -1 if dropped is None else dropped)
        if key not in self._seen:
            self._seen[key] = _seen({number: self.blocks[number] for number in numbers}, dropped)
        return self._seen[key]

    def adjusted(self, numbers: tuple[int, ...], seen: Seen) -> adjusting.Adjusted:
        """Return those blocks' log times brought to the quiet level by their canaries (`adjusting`).

        What was measured with them counts as far as the same rounds.
        """
        key = (numbers, seen.dropped)
        if key not in self._adjusted:
            points = self.points(numbers, seen)
            beside = self.beside or Beside([self])
            common = beside.common(frozenset(number % ROUNDS for number in numbers))
            self._adjusted[key] = (
                adjusting.adjusted(points, common, self.above) if common else adjusting.NOTHING
            )
        return self._adjusted[key]

    def points(self, numbers: tuple[int, ...], seen: Seen) -> adjusting.Points:
        """Return what the turns of those blocks tell of times and canaries."""
        kept = {number: self.blocks[number][seen.dropped :] for number in numbers}
        return adjusting.points(kept, seen.level)

    def by_round(self) -> dict[int, int]:
        """Return a block's number for each round; the first part's where a split group has several."""
        first = {number % ROUNDS: number for number in sorted(self.blocks, reverse=True)}
        return dict(sorted(first.items()))


@dataclass(slots=True)
class Beside:
    """The samples of one session that were measured with as many threads."""

    samples: Sequence[Sample]
    _common: dict[_Rounds, adjusting.Common | None] = field(default_factory=dict)
    _noise: dict[tuple[_Rounds, bool], Noise] = field(default_factory=dict)

    def common(self, rounds: _Rounds) -> adjusting.Common | None:
        """Return what all of them tell of the canaries in those rounds."""
        if rounds not in self._common:
            self._common[rounds] = adjusting.common(self._points(rounds))
        return self._common[rounds]

    def noise(self, kind: tuple[_Rounds, bool], find: Callable[[], Noise]) -> Noise:
        """Return what all pairs say of their noise in those rounds, within a network or across two, found once."""
        if kind not in self._noise:
            self._noise[kind] = find()
        return self._noise[kind]

    def _points(self, rounds: _Rounds) -> Iterator[adjusting.Points]:
        for sample in self.samples:
            numbers = tuple(sorted(number for number in sample.blocks if number % ROUNDS in rounds))
            if seen := sample.seen(numbers):
                yield sample.points(numbers, seen)


def together(
    blocks: Mapping[_Key, Mapping[int, Sequence[Turn]]], above: quiet.Above = quiet.AT_RECORD
) -> dict[_Key, Sample]:
    """Return the samples of one session that were measured with as many threads, by the same keys."""
    beside = Beside([Sample(each, above) for each in blocks.values()])
    for sample in beside.samples:
        sample.beside = beside
    return dict(zip(blocks, beside.samples, strict=True))


def _seen(blocks: Mapping[int, Sequence[Turn]], dropped: int | None) -> Seen | None:
    unsteady = False
    if dropped is None:
        dropped, unsteady = _leading(blocks)
    kept = {number: turns[dropped:] for number, turns in blocks.items()}
    level = quiet.level(turn for turns in kept.values() for turn in turns)
    if level is None:
        return None
    medians = quiet.block_medians(kept, level, least_runs=LEAST_RUNS)
    every = quiet.block_medians(kept, level, least_runs=1, factor=math.inf)
    return Seen(
        level=level,
        dropped=dropped,
        unsteady=unsteady,
        quiet_log={number: math.log(ns) for number, ns in medians.items()},
        every_log={number: math.log(ns) for number, ns in every.items()},
    )


def _leading(blocks: Mapping[int, Sequence[Turn]]) -> tuple[int, bool]:
    """How many leading turns of every block still warm up, at most half; and whether that does not end.

    Blocks are independent, so the difference between a block's early and late turns is tested over
    blocks: autocorrelation within a block does not matter.
    """
    half = min((len(turns) for turns in blocks.values()), default=0) // 2
    if len(blocks) < LEAST_BLOCKS or half < 2:
        return 0, False
    level = quiet.level(turn for turns in blocks.values() for turn in turns)
    assert level is not None
    for dropped in range(0, half + 1, max(1, half // 4)):
        if not _drifts([turns[dropped:] for turns in blocks.values()], level):
            return dropped, False
    return half, True


def _drifts(blocks: Sequence[Sequence[Turn]], level: quiet.Level) -> bool:
    differences = []
    for turns in blocks:
        early = quiet.quiet_runs(turns[: len(turns) // 3], level)
        late = quiet.quiet_runs(turns[len(turns) // 3 :], level)
        if early and late:
            differences.append(math.log(median(early) / median(late)))
    if len(differences) < LEAST_BLOCKS or (spread := stdev(differences)) == 0.0:
        return False
    middle = fmean(differences)
    p = student_t.two_sided_p(middle / spread * math.sqrt(len(differences)), len(differences) - 1)
    return abs(middle) > _DRIFT and p < _DRIFT_ALPHA
