"""One case's blocks and what they say by themselves: quiet medians, warm-up, the line on the canaries.

Standard library only. What is computed is kept: a table compares each case with many others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, stdev

from unetbench import quiet, student_t
from unetbench.records import Turn

LEAST_RUNS = 5  # quiet runs that a block's median needs
LEAST_BLOCKS = 6  # usable blocks that an interval needs
_REGRESSION_LOG = math.log(1.3)  # louder turns tell nothing of the quiet machine
_STILL = 0.01  # canaries that move by less than 1 % have no slope worth following
_DRIFT = 0.005  # a leading part that differs by less is no warm-up worth dropping
_DRIFT_ALPHA = 0.001
ROUNDS = 1000  # a block's number modulo this is its round: the groups of a session count from 1, 1001, 2001 …


@dataclass(frozen=True, slots=True)
class Line:
    """Sums of log loudness and log time: a regression that a block can be taken out of."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def __add__(self, other: Line) -> Line:
        return Line(
            self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy
        )

    def __sub__(self, other: Line) -> Line:
        return self + Line(-other.n, -other.x, -other.y, -other.xx, -other.xy)

    def at(self, x: float) -> float:
        square = self.xx - self.x**2 / self.n
        if square < self.n * _STILL**2:
            return self.y / self.n  # the canaries hardly moved: there is nothing to correct
        slope = (self.xy - self.x * self.y / self.n) / square
        return self.y / self.n + slope * (x - self.x / self.n)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a case's blocks up to a look say, by block."""

    level: quiet.Level
    dropped: int
    unsteady: bool
    quiet_log: Mapping[int, float]
    every_log: Mapping[int, float]
    lines: Mapping[int, Line]
    quiet_x: float  # the log loudness of its quietest turns


@dataclass(slots=True)
class Sample:
    """A case's blocks: turns by block number. What is computed of them is kept for the next pair."""

    blocks: Mapping[int, Sequence[Turn]]
    _seen: dict[tuple[tuple[int, ...], int], Seen | None] = field(default_factory=dict)

    def seen(self, numbers: tuple[int, ...], dropped: int | None = None) -> Seen | None:
        """Return what those blocks say, without so many leading turns; as many as needed where None."""
        key = (numbers, -1 if dropped is None else dropped)
        if key not in self._seen:
            self._seen[key] = _seen({number: self.blocks[number] for number in numbers}, dropped)
        return self._seen[key]

    def by_round(self) -> dict[int, int]:
        """Return a block's number for each round; the first part's where a split group has several."""
        return {number % ROUNDS: number for number in sorted(self.blocks, reverse=True)}


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
    loud = {
        number: [(math.log(quiet.loudness(turn, level)), turn) for turn in turns]
        for number, turns in kept.items()
    }
    xs = sorted(x for turns in loud.values() for x, _ in turns)
    return Seen(
        level=level,
        dropped=dropped,
        unsteady=unsteady,
        quiet_log={number: math.log(ns) for number, ns in medians.items()},
        every_log={number: math.log(ns) for number, ns in every.items()},
        lines={number: _line(turns) for number, turns in loud.items()},
        quiet_x=xs[len(xs) // 10],
    )


def _line(turns: Sequence[tuple[float, Turn]]) -> Line:
    line = Line()
    for x, turn in turns:
        if x <= _REGRESSION_LOG and turn.run_ns:
            y = math.log(median(turn.run_ns))
            line += Line(1, x, y, x * x, x * y)
    return line


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
