"""Who has the next block: rounds, fixed looks, a budget; with made-up blocks and a fake clock."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from benchmarks.selftest.simulated import Machine, Simulated, block

from tests.samples import BF16, COMPILED, EAGER, OTHER, case, measurement
from unetbench import verdicts
from unetbench.measuring.groups import Group, offsets
from unetbench.measuring.preset import RIGOROUS, STANDARD, Turns
from unetbench.measuring.race import Race
from unetbench.records import Case, Result, Turn
from unetbench.reporting.standing import standings
from unetbench.samples import Sample


def _result(of: Case, ms: float = 100.0) -> Result:
    return Result(case=of, session=1, measurements=(measurement(ms),))


def _race(race_groups: tuple[Group, ...], alone: dict[Case, Result] | None = None, **options: Any) -> Race:
    """A race in which nobody has had a block yet."""
    cases = dict.fromkeys(each for group in race_groups for each in group)
    facts: dict[str, Any] = {
        "groups": race_groups, "preset": STANDARD, "offsets": offsets(race_groups, (), ()),
        "turned": {each: {} for each in cases}, "alone": alone or {each: _result(each) for each in cases},
    }  # fmt: skip
    return Race(**facts | options)


def _raced(
    race_groups: tuple[Group, ...],
    ratios: dict[Case, float],
    *,
    deadline: float | None = None,
    block_s: float = 10.0,
    alone: dict[Case, Result] | None = None,
    machine: Machine | None = None,
    **options: Any,
) -> tuple[Race, dict[Case, dict[int, list[Turn]]]]:
    """Race to the end on a simulated machine."""
    now = [0.0]
    turned: dict[Case, dict[int, list[Turn]]] = {each: {} for group in race_groups for each in group}
    race = _race(race_groups, alone, turned=turned, deadline=deadline, clock=lambda: now[0], **options)
    random = Random(1)
    while step := race.next_group():
        group, number = step
        cases = race.staying(group)
        made = block(random, [Simulated(ratio=ratios[each]) for each in cases], machine or Machine())
        now[0] += block_s
        race.took(group, block_s)
        for each, turns in zip(cases, made, strict=True):
            turned[each][number] = turns
    return race, turned


def test_the_parts_of_a_split_group_have_numbers_of_their_own() -> None:
    parts = ((EAGER, COMPILED), (EAGER, BF16))
    _, turned = _raced(parts, {EAGER: 2.0, COMPILED: 1.5, BF16: 1.0})
    assert set(turned[COMPILED]) == set(range(1, 9))
    assert set(turned[BF16]) == set(range(1001, 1009))
    assert set(turned[EAGER]) == set(turned[COMPILED]) | set(turned[BF16])


def test_clear_cases_stop_at_the_first_look_and_contenders_go_on() -> None:
    pair = ((EAGER, COMPILED),)
    _, clear = _raced(pair, {EAGER: 2.0, COMPILED: 1.0})
    assert len(clear[EAGER]) == 8
    _, close = _raced(pair, {EAGER: 1.012, COMPILED: 1.0}, machine=Machine(process=0.02))
    assert len(close[EAGER]) == 20


def test_a_clear_loser_leaves_its_group_at_a_look_and_stays_away() -> None:
    group = (EAGER, COMPILED, BF16)
    ratios = {EAGER: 2.0, COMPILED: 1.012, BF16: 1.0}
    _, turned = _raced((group,), ratios, machine=Machine(process=0.02))
    assert len(turned[EAGER]) == 8, "the reference too: what it is asked for is known"
    assert len(turned[COMPILED]) == len(turned[BF16]) == 20
    after = {each: {n: turns for n, turns in turned[each].items() if n <= 10} for each in group}
    resumed = _race((group,), turned=after, round=11)
    assert resumed.next_group() == (group, 11)
    assert resumed.staying(group) == (COMPILED, BF16), "as before the interruption"


def test_a_round_is_never_taken_up_again() -> None:
    """What was made at another time is no match, whatever the canaries of that time were."""
    _, turned = _raced_two_groups(deadline=430.0, block_s=10.0)
    assert set(turned[OTHER[0]]) == set(range(1001, 1009))
    assert set(turned[EAGER]) == set(range(9, 17)), "let in when the others had left"
    assert not verdicts.pair(Sample(turned[OTHER[0]]), Sample(turned[EAGER])).blocks
    both = ((EAGER, COMPILED), OTHER)
    again = _race(both, turned={each: {1: [], 2: []} if each in both[0] else {} for each in turned}, round=3)
    steps = [again.next_group(), again.next_group()]
    assert set(steps) == {(both[0], 3), (both[1], 1003)}, "after an interruption all go on in a new one"


@pytest.mark.parametrize("made", [(5, 4), (1, 0)])
def test_those_that_began_together_go_on_until_they_share_all_rounds(made: tuple[int, int]) -> None:
    """A run that was killed within a round leaves some with one more."""
    both = ((EAGER, COMPILED), OTHER)
    turned: dict[Case, dict[int, list[Turn]]] = {each: {} for group in both for each in group}

    def add(group: Group, cases: Group, number: int) -> None:
        turns = block(Random(number), [Simulated(), Simulated()], Machine())
        for each, taken in zip(cases, turns, strict=True):
            turned[each][1000 * (group is OTHER) + number] = taken

    for group, count in zip(both, made, strict=True):
        for number in range(1, count + 1):
            add(group, group, number)
    race = _race(both, turned=turned, preset=RIGOROUS, round=made[0] + 1)
    while step := race.next_group():
        add(step[0], race.staying(step[0]), step[1] % 1000)
    rounds = [{number % 1000 for number in turned[cases[0]]} for cases in both]
    assert len(rounds[0]) == 21
    assert rounds[0] & rounds[1] == {*range(1, made[1] + 1), *range(made[0] + 1, 22)}
    assert len(rounds[0] & rounds[1]) == 20
    assert race.left_s() == 0.0


def test_a_reference_that_is_settled_beside_some_is_still_beside_others() -> None:
    parts = ((EAGER, COMPILED), (EAGER, BF16))
    turned: dict[Case, dict[int, list[Turn]]] = {each: {} for each in (EAGER, COMPILED, BF16)}
    for number in range(1, 9):
        made = block(Random(number), [Simulated(ratio=2.0), Simulated()], Machine())
        for each, turns in zip(parts[0], made, strict=True):
            turned[each][number] = turns
    race = _race(parts, turned=turned, round=9)
    assert race.next_group() == (parts[1], 1009)
    assert (race.staying(parts[0]), race.staying(parts[1])) == ((), parts[1])


def test_a_group_whose_last_case_fails_after_the_others_left_is_over() -> None:
    group = (EAGER, COMPILED, BF16)
    turned = {each: {number: [] for number in range(1, 9 + (each is COMPILED))} for each in group}
    race = _race((group, OTHER), turned={**turned, **{each: {} for each in OTHER}}, round=10)
    assert race.staying(group) == (COMPILED,)
    race.lost(COMPILED)
    for _ in range(3):
        step = race.next_group()
        assert step is not None
        assert step[0] == OTHER


def test_the_time_of_a_block_is_told_by_those_of_the_same_cases() -> None:
    group = (EAGER, COMPILED, BF16)
    race = _race((group,))
    race.took(group, 90.0)
    assert race.expected_s(group) == 90.0
    race.lost(EAGER)
    assert race.expected_s(group) == pytest.approx(90.0 * 36.7 / 52.8), "by what they took alone"


def test_where_nothing_can_be_stated_nothing_is_settled() -> None:
    _, turned = _raced(((EAGER, COMPILED),), {EAGER: 2.0, COMPILED: 1.0}, above=lambda: None)
    assert len(turned[EAGER]) == 20


def test_every_group_has_its_turn_before_any_has_two() -> None:
    both = ((EAGER, COMPILED), OTHER)
    turned: dict[Case, dict[int, list[Turn]]] = {each: {} for group in both for each in group}
    race = _race(both, turned=turned, clock=lambda: 0.0)
    order = []
    for _ in range(4):
        step = race.next_group()
        assert step is not None
        cases, number = step
        order.append(cases)
        for each in cases:
            turned[each][number] = []
    assert {order[0], order[1]} == {order[2], order[3]} == set(both)


def test_a_budget_is_kept_and_says_that_it_cut_the_race_short() -> None:
    race, turned = _raced(((EAGER, COMPILED),), {EAGER: 1.0, COMPILED: 1.0}, deadline=145.0)
    assert len(turned[EAGER]) == 14, "one more would end after the deadline"
    assert race.cut_short


def _raced_two_groups(*, deadline: float, block_s: float) -> tuple[Race, dict[Case, dict[int, list[Turn]]]]:
    """Race two networks of which the second looks faster when measured alone."""
    ms = {EAGER: 100.0, COMPILED: 90.0, OTHER[0]: 50.0, OTHER[1]: 80.0}
    ratios = {EAGER: 2.0, COMPILED: 1.5, OTHER[0]: 0.5, OTHER[1]: 0.8}
    alone = {each: _result(each, time) for each, time in ms.items()}
    return _raced(((EAGER, COMPILED), OTHER), ratios, deadline=deadline, block_s=block_s, alone=alone)


def test_where_the_time_is_short_the_fastest_alone_are_raced() -> None:
    race, turned = _raced_two_groups(deadline=400.0, block_s=40.0)
    assert len(turned[OTHER[0]]) == 8
    assert len(turned[EAGER]) == 2, "what is left is not enough for a look: estimates, to be gone on from"
    assert race.cut_short


def test_before_any_block_was_made_a_noisy_machine_is_allowed_for() -> None:
    """Four networks in a budget for two, by the plain time, would all end without a look."""
    _race, turned = _raced_two_groups(deadline=340.0, block_s=40.0)
    assert len(turned[OTHER[0]]) == 8, "the plain time would have let both begin"
    assert not turned[EAGER]


def test_time_that_is_left_goes_to_those_that_did_not_fit_at_first() -> None:
    race, turned = _raced_two_groups(deadline=430.0, block_s=10.0)
    assert len(turned[OTHER[0]]) == len(turned[EAGER]) == 8
    assert not race.cut_short


def test_who_waits_behind_one_that_has_all_its_blocks_is_not_passed_over_for_ever() -> None:
    """The same budget again is too short for eight blocks of the slow one, and the fast one needs none."""
    both = ((EAGER, COMPILED), OTHER)
    turned: dict[Case, dict[int, list[Turn]]] = {each: {} for group in both for each in group}
    for number in range(1, 9):
        made = block(Random(number), [Simulated(ratio=2.0), Simulated()], Machine())
        for each, turns in zip(both[0], made, strict=True):
            turned[each][number] = turns
    race = _race(both, turned=turned, round=9, deadline=100.0, clock=lambda: 0.0)
    assert race.next_group() == (OTHER, 1009), "estimates now, and a look by the same command again"


@pytest.mark.parametrize(
    ("deadline", "failing", "blocks"),
    [(85.0, False, (0, 8)), (95.0, False, (1, 8)), (95.0, True, (6, 3))],
    ids=["no time for both", "a block to spare", "the new one fails"],
)
def test_the_same_budget_again_is_for_those_without_a_look_first(
    deadline: float, failing: bool, blocks: tuple[int, int]
) -> None:
    """Those that no look has told apart yet would share every round, so that none of the others came to one."""
    looked, new = (EAGER, COMPILED), OTHER
    _, made = _raced((looked,), dict.fromkeys(looked, 1.0), deadline=85.0)
    now = 0.0
    turned = made | {each: {} for each in new}
    race = _race((looked, new), turned=turned, round=9, deadline=deadline, clock=lambda: now)
    race.took(looked, 10.0)
    steps = []
    while step := race.next_group():
        steps.append(step[0])
        race.took(step[0], 10.0)
        for each in step[0]:
            turned[each][step[1]] = made[EAGER][1]
        now += 10.0
        if failing and steps.count(new) == 3:
            for each in new:
                race.lost(each)
    assert (steps.count(looked), steps.count(new)) == blocks


def test_who_does_not_fit_is_passed_over_for_a_smaller_one_behind() -> None:
    """Its fastest case is the fastest of all, its reference takes half a minute."""
    ms = {EAGER: 100.0, COMPILED: 90.0, OTHER[0]: 30_000.0, OTHER[1]: 50.0}
    alone = {each: _result(each, time) for each, time in ms.items()}
    third = tuple(case("resnet50", str(each.recipe)) for each in OTHER)
    alone |= {each: _result(each, 60.0) for each in third}
    ratios = {EAGER: 2.0, COMPILED: 1.5, OTHER[0]: 2.0, OTHER[1]: 1.0, third[0]: 2.0, third[1]: 1.0}
    groups_ = ((EAGER, COMPILED), OTHER, third)
    race, turned = _raced(groups_, ratios, deadline=430.0, block_s=10.0, alone=alone)
    assert [len(turned[group[0]]) for group in groups_] == [8, 0, 8]
    assert race.cut_short


def test_time_for_more_blocks_of_one_is_not_lost_to_another_that_needs_more() -> None:
    now = 0.0
    race = _race(((EAGER, COMPILED), OTHER), deadline=1000.0, clock=lambda: now)
    steps = []
    while step := race.next_group():
        steps.append(step)
        race.took(step[0], 120.0 if step[0] == OTHER else 20.0)
        for each in step[0]:
            race.turned[each][step[1]] = []  # type: ignore[index]
        now = 900.0 if len(steps) == 2 else now + 20.0
    assert {group for group, _ in steps[:2]} == {(EAGER, COMPILED), OTHER}
    assert [group for group, _ in steps[2:]] == [(EAGER, COMPILED)] * 5
    assert race.cut_short


def test_a_case_that_is_lost_has_no_more_blocks_and_a_group_of_the_lost_none() -> None:
    race = _race(((EAGER, COMPILED),))
    race.lost(COMPILED)
    assert race.next_group() == ((EAGER, COMPILED), 1)
    assert race.staying((EAGER, COMPILED)) == (EAGER,)
    race.lost(EAGER)
    assert race.next_group() is None


def test_a_group_of_the_lost_takes_no_time_from_those_that_wait() -> None:
    """As after an interruption, where the fastest alone has crashed meanwhile."""
    both = ((EAGER, COMPILED), OTHER)
    alone = {each: _result(each, 10.0 if each in OTHER else 100.0) for group in both for each in group}
    race = _race(both, alone, deadline=60.0, clock=lambda: 0.0)
    for each in OTHER:
        race.lost(each)
    step = race.next_group()
    assert step is not None
    assert step[0] == (EAGER, COMPILED), (
        "it does not wholly fit, and begins all the same: the first always does"
    )


def test_a_pair_is_settled_by_the_confidence_that_the_report_will_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that left with blocks are in the table, and so are other cases of the session."""
    stated: list[int] = []
    count = verdicts.pairs_stated
    monkeypatch.setattr(verdicts, "pairs_stated", lambda cases: stated.append(cases) or count(cases))
    group = ((EAGER, COMPILED, BF16),)
    for besides, lost_with_blocks, expected in ((0, True, 3), (0, False, 2), (4, True, 7)):
        turned: dict[Case, dict[int, list[Turn]]] = {each: {} for each in group[0]}
        made = block(Random(1), [Simulated(), Simulated()], Machine())
        for number in range(1, 9):
            for each, turns in zip((EAGER, COMPILED), made, strict=True):
                turned[each][number] = turns
        if lost_with_blocks:
            turned[BF16][1] = made[0]
        race = _race(group, turned=turned, besides=besides)
        race.lost(BF16)
        race.next_group()
        assert stated.pop() == expected


def test_what_the_race_lets_go_the_report_states() -> None:
    """Each pair whose cases have both left before the last look: settled by the same samples, noise and confidence."""
    third = case("resnet50"), case("resnet50", "torch_compile/fp32")
    two, three = ((EAGER, COMPILED, BF16), OTHER), ((EAGER, COMPILED, BF16), OTHER, third)
    ratios = {
        EAGER: 2.0,
        COMPILED: 1.012,
        BF16: 1.0,
        OTHER[0]: 3.0,
        OTHER[1]: 1.5,
        third[0]: 5.0,
        third[1]: 4.0,
    }
    for race_groups in (two, three):
        _, turned = _raced(race_groups, ratios, machine=Machine(process=0.02))
        results = [
            replace(_result(of), key=of.key(), measurements=(
                measurement(), *(measurement(turns=tuple(turns), block=number) for number, turns in turned[of].items()),
            ))
            for group in race_groups for of in group
        ]  # fmt: skip
        pairs = standings(results, STANDARD.looks).pairs
        left = {of.key() for of, blocks in turned.items() if len(blocks) < STANDARD.looks[-1][0]}
        early = [pair for (a, b), pair in pairs.items() if {a, b} <= left]
        assert len(early) >= 3
        assert all(pair.settled for pair in early)


def test_rigorous_looks_once_and_every_pair_of_a_table_is_stated() -> None:
    assert RIGOROUS.looks == ((20, 0.01),)
    assert [verdicts.pairs_stated(n) for n in (1, 2, 3, 12)] == [1, 1, 3, 66]


def test_short_runs_have_more_turns_since_those_cost_little() -> None:
    turns = Turns()
    assert turns.fitted([0.2, 0.08]).at_most == turns.at_most
    assert turns.fitted([0.005, 0.003]).at_most == 40
    assert turns.at_most < turns.fitted([0.05, 0.02]).at_most < 40
