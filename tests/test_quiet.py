"""The canary gate: blind to the case's time, by the case's own quiet level."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetbench import quiet
from unetbench.records import Turn


def _turn(loud: float = 1.0, run_ns: int = 100) -> Turn:
    reading = (round(1000 * loud), round(2000 * loud))
    return Turn(order=0, before_ns=reading, after_ns=reading, run_ns=(run_ns,) * 3)


LEVEL = (1000.0, 2000.0, 1000.0, 2000.0)


@pytest.mark.parametrize(("loud", "is_quiet"), [(1.0, True), (1.09, True), (1.11, False), (3.0, False)])
@pytest.mark.parametrize("where", ["before_ns", "after_ns"])
@pytest.mark.parametrize("kernel", [0, 1])
def test_one_loud_canary_of_four_is_enough(loud: float, is_quiet: bool, where: str, kernel: int) -> None:
    reading = [1000, 2000]
    reading[kernel] = round(reading[kernel] * loud)
    assert quiet.is_quiet(replace(_turn(), **{where: tuple(reading)}), LEVEL) is is_quiet


@given(st.lists(st.tuples(st.floats(0.9, 2.0), st.integers(1, 10**9)), min_size=1, max_size=30))
def test_the_gate_never_looks_at_the_cases_own_time(turns: list[tuple[float, int]]) -> None:
    made = [_turn(loud, ns) for loud, ns in turns]
    other = [replace(turn, run_ns=(7, 7, 7)) for turn in made]
    level = quiet.level(made)
    assert level == quiet.level(other)
    assert level is not None
    assert [quiet.is_quiet(turn, level) for turn in made] == [quiet.is_quiet(turn, level) for turn in other]


def test_the_level_is_the_tenth_percentile_of_all_canaries() -> None:
    turns = [_turn(1.0 + index / 10) for index in range(11)]
    assert quiet.level(turns) == (1100.0, 2200.0, 1100.0, 2200.0)
    assert quiet.level([]) is None


def test_a_block_with_too_few_quiet_runs_has_no_median() -> None:
    blocks = {1: [_turn()] * 2, 2: [_turn(), _turn(2.0)], 3: [_turn(run_ns=50)] * 2 + [_turn(2.0, 900)]}
    assert quiet.block_medians(blocks, LEVEL, least_runs=5) == {1: 100.0, 3: 50.0}


@pytest.mark.parametrize(
    ("cache", "memory", "above"),
    [
        (1.04, 1.04, (0.0, 0.0)),  # as quiet as the machine can be
        (0.8, 0.7, (0.0, 0.0)),  # it is the record
        (1.07, 1.0, (math.log(1.07), 0.0)),
        (1.0, 1.4, (0.0, math.log(1.4))),
        (1.02, 1.4, (math.log(1.02), math.log(1.4))),
        (1.11, 1.0, None),
        (1.0, 1.6, None),
    ],
)
def test_how_far_a_session_lies_above_the_record(
    cache: float, memory: float, above: quiet.Above | None
) -> None:
    own = (1000.0 * cache, 2000.0 * memory) * 2
    found = quiet.Levels(own, LEVEL).above
    assert found == (above if above is None else pytest.approx(above))


def test_two_stores_of_one_machine_share_the_lower_record() -> None:
    first, second = (quiet.Levels(level, level) for level in (LEVEL, (1000.0, 2800.0, 1000.0, 2800.0)))
    assert second.above == quiet.AT_RECORD
    assert first.beside(second).above == quiet.AT_RECORD
    assert second.beside(first).above == pytest.approx((0.0, math.log(1.4)))


def test_the_lowest_level_is_that_of_each_kernel() -> None:
    assert quiet.lowest([(3.0, 1.0), (2.0, 4.0)]) == (2.0, 1.0)


def test_a_case_that_slows_every_canary_after_it_has_its_own_level_there() -> None:
    slowed = [replace(_turn(1.0 + index / 100), after_ns=(1500, 3000)) for index in range(5)]
    level = quiet.level(slowed)
    assert level is not None
    assert all(quiet.is_quiet(turn, level) for turn in slowed)


@pytest.mark.parametrize(("pressure_us", "quiet_turn"), [(None, True), (0, True), (10, True), (30, False)])
def test_a_turn_in_which_processes_waited_for_a_cpu_is_loud(
    pressure_us: int | None, quiet_turn: bool
) -> None:
    turn = replace(_turn(run_ns=150_000), warmup_ns=(50_000,), counters={"cpu_pressure_us": pressure_us})
    assert quiet.is_quiet(turn, LEVEL) is quiet_turn
