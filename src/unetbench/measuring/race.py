"""Blocks for whole groups of cases until every pair is settled, all looks are made or the time is up.

Groups take blocks in rounds, so that the blocks of one round are near in time and may be paired: a round is never
taken up again, neither by those that are let in later nor after an interruption. A case leaves only at a look, when
each pair that it takes part in is settled. It starts no process itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from unetbench import quiet, verdicts
from unetbench.measuring.groups import Group
from unetbench.measuring.preset import Preset
from unetbench.records import ROUNDS, Case, Result, Turn
from unetbench.samples import together
from unetbench.stats import summary

# Before a block was made, from what the cases took alone (measured on 2 cores):
_START_S = 4.5  # processes start at once
_WARM_UP_S = 2.5
# Times as long a block takes where quiet turns are rare, at most: its turns are capped. Few groups with a look tell
# more than many without (a sweep of 25 minutes that knew no such factor admitted four, and none came to its first look).
_NOISY = 1.4
_RUNS = 36  # of each case: nine turns of a warm-up and three

Turned = Mapping[Case, Mapping[int, Sequence[Turn]]]


@dataclass(slots=True, kw_only=True)
class Race:
    """The state of a race; `next_group` says who is to have a block, `took` is told when it had one."""

    groups: Sequence[Group]
    preset: Preset
    offsets: Mapping[Group, int]  # what the numbers of a group's blocks begin after
    turned: Turned  # the turns of every case, by block; whoever makes blocks adds to it
    alone: Mapping[Case, Result]  # what the cases took by themselves
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    seed: int = 0
    # How far from the level on record this session is; None: too far, as long as it is.
    above: Callable[[], quiet.Above | None] = lambda: quiet.AT_RECORD
    round: int = 1  # the first that is free: no group of the session has a block of it
    besides: int = 0  # cases of the session that have blocks and are in no group: a report states them too
    cut_short: bool = False  # the time was up before all was settled
    _waiting: list[Group] = field(default_factory=list)
    _racing: list[Group] = field(default_factory=list)
    _out: set[Group] = field(default_factory=set)
    _lost: set[Case] = field(default_factory=set)
    _settled: set[tuple[Group, Case]] = field(default_factory=set)  # and in no block of that group to come
    _taken: set[Group] = field(default_factory=set)  # who has had a block of this round
    _spent_s: dict[Group, list[float]] = field(default_factory=dict)  # by the cases of the block

    def __post_init__(self) -> None:
        # Who has begun goes on before others begin, and who has had a look comes last.
        self._waiting = sorted(
            self.groups,
            key=lambda group: (not self._lacks(group), not self.blocks(group), self._fastest_s(group)),
        )

    def next_group(self) -> tuple[Group, int] | None:
        """Return the group whose turn it is and its block's number; None when the race is over."""
        running = self._in_time(self._running())
        if running and self._taken >= set(running):  # the round is over
            running = self._in_time(self._next_round(running))
        while not running and self._admit():
            # Some may have been settled by an earlier run.
            running = self._in_time(self._next_round(self._running(), anew=True))
        if not running or self.round >= ROUNDS:
            self.cut_short |= bool(running or self._waiting)
            return None
        candidates = [group for group in running if group not in self._taken]
        group = random.Random(f"{self.seed}/{self.round}/{len(candidates)}").choice(candidates)
        self._taken.add(group)
        return group, self.offsets[group] + self.round

    def _in_time(self, running: dict[Group, int]) -> dict[Group, int]:
        """Let those go on whose next block ends in time; the others are out, since time does not come back.

        Who has had a look waits as long as others need the time for their first.
        """
        if self.deadline is None:
            return running
        left_s = self.deadline - self.clock()
        late = {group for group in running if group not in self._taken and self.expected_s(group) > left_s}
        self._out |= late
        self.cut_short |= bool(late)
        going = {group: made for group, made in running.items() if group not in late}
        promised_s = sum(seconds for seconds in map(self._first_look_s, going) if seconds <= left_s)
        waiting = {
            group
            for group in going.keys() - self._taken
            if not self._lacks(group) and self.expected_s(group) + promised_s > left_s
        }
        return {group: made for group, made in going.items() if group not in waiting}

    def _next_round(self, made: Mapping[Group, int], *, anew: bool = False) -> dict[Group, int]:
        running = self._retire(made, anew=anew)
        self.round += bool(self._taken)
        self._taken.clear()
        return running

    def staying(self, group: Group) -> Group:
        """Return the cases of a group that have its next block: who left in an earlier run lacks its last one."""
        last = set(self._numbers(group)[-1:])
        return tuple(
            case
            for case in group
            if case not in self._lost
            and (group, case) not in self._settled
            and last <= self.blocks_of(group, case).keys()
        )

    def _running(self) -> dict[Group, int]:
        last = self.preset.looks[-1][0]
        made = {group: self._shared(group) for group in self._racing if group not in self._out}
        return {group: count for group, count in made.items() if count < last and self.staying(group)}

    def _shared(self, group: Group) -> int:
        """Return how many rounds a group shares with each of those that began with it.

        After an interruption within a round some have one more than others, and pairs count what both have.
        """
        own = self._numbers(group)
        beside = (self._numbers(other) for other in self._racing if other != group and other not in self._out)
        common = [len(set(own) & set(other)) for other in beside if self._together(own, other)]
        return min(common, default=len(own))

    def _together(self, first: list[int], second: list[int]) -> bool:
        """Whether the later one began before the earlier had its first look."""
        if not first or not second:
            return False
        earlier, later = sorted((first, second), key=lambda rounds: rounds[0])
        return sum(number < later[0] for number in earlier) < self.preset.looks[0][0]

    def _admit(self) -> bool:
        """Let those race that can reach the first look in time, the fastest alone before others; who cannot is passed over.

        Asked when nobody races any more: where none can reach it, the first has what time there is, which gives estimates
        and is gone on from. What they are chosen by is no part of what they are judged by, so the verdicts stay valid.
        Return whether there were any.
        """
        left_s = float("inf") if self.deadline is None else self.deadline - self.clock()
        before = len(self._racing)
        self._waiting = [group for group in self._waiting if group not in self._out]
        for group in list(self._waiting):
            needed = max(self._first_look_s(group), self.expected_s(group))
            if needed <= left_s:
                left_s -= needed
                self._waiting.remove(group)
                self._racing.append(group)
        if self._waiting and len(self._racing) == before:
            self._racing.append(self._waiting.pop(0))
        return len(self._racing) > before

    def _lacks(self, group: Group) -> int:
        """Return how many blocks a group lacks for its first look, whether it shares its own with others or not."""
        return max(0, self.preset.looks[0][0] - self.blocks(group))

    def _first_look_s(self, group: Group) -> float:
        return self._lacks(group) * self.expected_s(group)

    def _pace(self) -> float:
        """Return how many times as long as expected blocks take: what those made so far tell."""
        took_s = sum(sum(spent) for spent in self._spent_s.values())
        plain_s = sum(len(spent) * self._plain_s(cases) for cases, spent in self._spent_s.items())
        return took_s / plain_s if plain_s else _NOISY

    def took(self, group: Group, seconds: float) -> None:
        """Remember how long a block took; to be told before its turns are added."""
        self._spent_s.setdefault(self.staying(group), []).append(seconds)

    def lost(self, case: Case) -> None:
        """Leave a case out of the blocks to come: it has failed."""
        self._lost.add(case)
        self._out |= {group for group in self.groups if not self.staying(group)}

    def given_up(self, group: Group) -> None:
        """Leave a group out: what all its cases need cannot be had."""
        self._out.add(group)

    def blocks(self, group: Group) -> int:
        """Return how many blocks a group has."""
        return len(self._numbers(group))

    def _numbers(self, group: Group) -> list[int]:
        """The rounds that a group has had a block of, in order."""
        return sorted({number for case in group for number in self.blocks_of(group, case)})

    def blocks_of(self, group: Group, case: Case) -> dict[int, Sequence[Turn]]:
        """Return the turns of a case in the blocks of a group, by their round: the reference may be in other groups too."""
        first = self.offsets[group]
        turned = self.turned.get(case, {})
        return {number - first: turned[number] for number in turned if 0 < number - first < ROUNDS}

    def left_s(self) -> float:
        """Return how long the race is likely to go on, at most: fewer blocks where pairs settle early."""
        last = self.preset.looks[-1][0]
        going = [group for group in (*self._racing, *self._waiting) if group not in self._out]
        needed = sum(max(0, last - self._shared(group)) * self.expected_s(group) for group in going)
        return needed if self.deadline is None else max(0.0, min(needed, self.deadline - self.clock()))

    def expected_s(self, group: Group) -> float:
        """Return how long the next block of a group is likely to take."""
        cases = self.staying(group)
        spent = self._spent_s.get(cases)
        return sum(spent) / len(spent) if spent else self._plain_s(cases) * self._pace()

    def _plain_s(self, cases: Group) -> float:
        """The same of a quiet machine, from what the cases took alone."""
        seconds = _START_S
        for case in cases:
            measured = self.alone[case].alone[-1]
            run_s = self.alone_s(case)
            seconds += (
                (measured.prepare_s if measured.load_s is None else measured.load_s)
                + _WARM_UP_S
                + _RUNS * run_s
            )
        return seconds

    def alone_s(self, case: Case) -> float:
        """Return how long a run of a case took in a process alone."""
        return summary(self.alone[case].alone[-1].run_ns).median_ms / 1e3

    def _fastest_s(self, group: Group) -> float:
        return min(self.alone_s(case) for case in group)

    def _retire(self, made: Mapping[Group, int], *, anew: bool) -> dict[Group, int]:
        """Let go the cases of groups that have had a look whose pairs are all settled; return the groups that go on.

        That is asked where a group comes to a look, and `anew` of those that an earlier run left.
        """
        looks = [blocks for blocks, _ in self.preset.looks]
        if not any(count in looks or (anew and count >= looks[0]) for count in made.values()):
            return dict(made)
        looked = {group for group, count in made.items() if count >= looks[0]}
        above = self.above()
        if above is None:
            return dict(made)  # nothing can be stated, so that nothing is settled
        racing = dict.fromkeys(case for group in self._racing for case in group)
        beside = together({case: turns for case, turns in self.turned.items() if turns}, above)
        samples = {case: beside[case] for case in racing if case in beside and case not in self._lost}
        # Those that wait may still join the table, and those that left with blocks are in it: what is settled now must
        # stay so.
        everyone = {case for group in self.groups for case in group}
        lost = {case for case in self._lost if not self.turned.get(case)}
        stated = verdicts.pairs_stated(len(everyone - lost) + self.besides)
        gone = set(samples) - {case for group in self._running() for case in self.staying(group)}
        unsettled: set[Case] = set()
        for a, b in combinations(samples, 2):
            if a in gone or b in gone:
                continue  # no more blocks can pair with those of a case that has left
            found = verdicts.pair(samples[a], samples[b], pairs=stated, looks=self.preset.looks)
            if not found.settled:
                unsettled |= {a, b}
        self._settled |= {(group, case) for group in looked for case in group if case not in unsettled}
        self._out |= {group for group in looked if not self.staying(group)}
        return self._running()
