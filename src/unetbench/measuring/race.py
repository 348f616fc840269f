"""Blocks for whole groups of cases until every pair is settled, all looks are made or the time is up.

Groups take blocks in rounds, so that the blocks of one round are near in time and may be paired. A group
leaves only at a look, when each pair that it takes part in is settled. It starts no process itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from unetbench import quiet, verdicts
from unetbench.keys import digest
from unetbench.measuring.preset import Preset
from unetbench.records import REFERENCE, Block, Case, Result, Turn
from unetbench.samples import ROUNDS, Sample
from unetbench.stats import summary

_MEMORY_SHARE = 0.6  # of the memory granted, for all processes of a block
# Before a block was made, from what the cases took alone (measured on 2 cores):
_START_S = 4.5  # processes start at once
_WARM_UP_S = 2.5
# Times as long a block takes where quiet turns are rare, at most: its turns are capped. Few groups with a look tell
# more than many without (a sweep of 25 minutes that knew no such factor admitted four, and none came to its first look).
_NOISY = 1.4
_RUNS = 36  # of each case: nine turns of a warm-up and three

Group = tuple[Case, ...]
Turned = Mapping[Case, Mapping[int, Sequence[Turn]]]


def groups(results: Iterable[Result], memory_bytes: int) -> tuple[Group, ...]:
    """Return the cases that are measured alive together: one network and input, the reference with them.

    One that failed later stays in its group, which keeps its name; the race is told that it is lost. Where their
    peaks need more than the memory allows a group is split, each part with the reference.
    """
    peaks: dict[Case, int] = {}
    by_network: dict[str, list[Case]] = {}
    for result in results:
        if result.alone:
            peaks[result.case] = result.alone[-1].peak_load_bytes
            by_network.setdefault(result.case.network_key(), []).append(result.case)
    return tuple(
        part for cases in by_network.values() for part in _parts(cases, peaks, memory_bytes * _MEMORY_SHARE)
    )


def _parts(cases: Sequence[Case], peaks: Mapping[Case, int], room: float) -> list[Group]:
    reference = tuple(case for case in cases if case.recipe == REFERENCE)
    parts: list[Group] = []
    part = reference
    for case in cases:
        if case in reference:
            continue
        if len(part) > len(reference) and sum(peaks[each] for each in (*part, case)) > room:
            parts.append(part)
            part = reference
        part = (*part, case)
    return [*parts, part]


def group_key(group: Group) -> str:
    """Return the stored name of a group: other cases beside them make other blocks."""
    return digest(("group", *sorted(case.key() for case in group)))


def offsets(race_groups: Iterable[Group], blocks: Iterable[Block]) -> dict[Group, int]:
    """Return what the block numbers of each group begin after: as before, or where no other's are."""
    known = {block.group: (block.number - 1) // ROUNDS * ROUNDS for block in blocks}
    free = max(known.values(), default=-ROUNDS) + ROUNDS
    found = {}
    for group in race_groups:
        key = group_key(group)
        if key not in known:
            known[key] = free
            free += ROUNDS
        found[group] = known[key]
    return found


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
    besides: int = 0  # cases of the session that have blocks and are in no group: a report states them too
    cut_short: bool = False  # the time was up before all was settled
    _waiting: list[Group] = field(default_factory=list)
    _racing: list[Group] = field(default_factory=list)
    _out: set[Group] = field(default_factory=set)
    _lost: set[Case] = field(default_factory=set)
    _spent_s: dict[Group, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waiting = sorted(
            self.groups, key=lambda group: (not self.blocks(group), self._fastest_s(group))
        )

    def next_group(self) -> tuple[Group, int] | None:
        """Return the group whose turn it is and its block's number; None when the race is over."""
        running = self._running()
        if len(set(running.values())) == 1:  # the round is over
            running = self._retire(running)
        while not running and self._admit():
            running = self._retire(self._running())  # some may have been settled by an earlier run
        if not running:
            self.cut_short = bool(self._waiting)
            return None
        fewest = min(running.values())
        candidates = [group for group, count in running.items() if count == fewest]
        group = random.Random(f"{self.seed}/{fewest}/{len(candidates)}").choice(candidates)
        if self.deadline is not None and self.clock() + self.expected_s(group) > self.deadline:
            self.cut_short = True
            return None
        return group, self.offsets[group] + fewest + 1

    def staying(self, group: Group) -> Group:
        """Return the cases of a group that have its next block."""
        return tuple(case for case in group if case not in self._lost)

    def _running(self) -> dict[Group, int]:
        last = self.preset.looks[-1][0]
        made = {group: self.blocks(group) for group in self._racing if group not in self._out}
        return {group: count for group, count in made.items() if count < last}

    def _admit(self) -> bool:
        """Let those race that can reach the first look in time, the fastest alone before others.

        What they are chosen by is no part of what they are judged by, so the verdicts stay valid.
        Return whether there were any.
        """
        left_s = float("inf") if self.deadline is None else self.deadline - self.clock()
        before = len(self._racing)
        self._waiting = [group for group in self._waiting if group not in self._out]
        while self._waiting:
            group = self._waiting[0]
            blocks = max(1, self.preset.looks[0][0] - self.blocks(group))
            needed = blocks * self.expected_s(group) * self._pace()
            if needed > left_s and self._racing:
                break
            left_s -= needed
            self._racing.append(self._waiting.pop(0))
        return len(self._racing) > before

    def _pace(self) -> float:
        """Return how many times as long as expected blocks take: what those made so far tell."""
        took_s = sum(sum(spent) for spent in self._spent_s.values())
        plain_s = sum(len(spent) * self._plain_s(group) for group, spent in self._spent_s.items())
        return took_s / plain_s if plain_s else _NOISY

    def took(self, group: Group, seconds: float) -> None:
        """Remember how long a block took."""
        self._spent_s.setdefault(group, []).append(seconds)

    def lost(self, case: Case) -> None:
        """Leave a case out of the blocks to come: it has failed."""
        self._lost.add(case)
        self._out |= {group for group in self.groups if self._lost >= set(group)}

    def blocks(self, group: Group) -> int:
        """Return how many blocks a group has."""
        first = self.offsets[group]
        numbers = [n - first for case in group for n in self.turned.get(case, ()) if 0 < n - first < ROUNDS]
        return max(numbers, default=0)

    def left_s(self) -> float:
        """Return how long the race is likely to go on, at most: fewer blocks where pairs settle early."""
        last = self.preset.looks[-1][0]
        going = [group for group in (*self._racing, *self._waiting) if group not in self._out]
        needed = sum((last - self.blocks(group)) * self.expected_s(group) for group in going)
        return needed if self.deadline is None else max(0.0, min(needed, self.deadline - self.clock()))

    def expected_s(self, group: Group) -> float:
        """Return how long a block of a group is likely to take."""
        spent = self._spent_s.get(group)
        return sum(spent) / len(spent) if spent else self._plain_s(group)

    def _plain_s(self, group: Group) -> float:
        """The same of a quiet machine, from what its cases took alone."""
        seconds = _START_S
        for case in group:
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

    def _retire(self, made: Mapping[Group, int]) -> dict[Group, int]:
        """Let go the groups that are at a look and whose pairs are all settled; return the others."""
        looks = {blocks for blocks, _ in self.preset.looks}
        at_look = {group for group, count in made.items() if count in looks}
        if not at_look:
            return dict(made)
        above = self.above()
        if above is None:
            return dict(made)  # nothing can be stated, so that nothing is settled
        samples = {
            case: Sample(self.turned[case], above)
            for case in dict.fromkeys(case for group in self._racing for case in group)
            if self.turned.get(case) and case not in self._lost
        }
        # Those that wait may still join the table, and those that left with blocks are in it: what is settled now must
        # stay so.
        everyone = {case for group in self.groups for case in group}
        lost = {case for case in self._lost if not self.turned.get(case)}
        stated = verdicts.pairs_stated(len(everyone - lost) + self.besides)
        gone = set(samples) - {case for group in self._running() for case in group}
        unsettled: set[Case] = set()
        for a, b in combinations(samples, 2):
            if a in gone or b in gone:
                continue  # no more blocks can pair with those of a group that has left
            found = verdicts.pair(samples[a], samples[b], pairs=stated, looks=self.preset.looks)
            if not found.settled:
                unsettled |= {a, b}
        self._out |= {group for group in at_look if not unsettled & set(group)}
        return self._running()
