"""What neighbours add is taken off, as far as canaries tell it, and no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from benchmarks.selftest.simulated import Machine, Simulated, blocks
from hypothesis import given
from hypothesis import strategies as st

from unetbench import adjusting, quiet
from unetbench.records import ROUNDS, Turn
from unetbench.samples import Sample, together
from unetbench.verdicts import DIFFERENT, Pair, log_ratios, pair, steady

CANARIES = (1e6, 0.5e6)
BUSY = (
    (0.0, 0.05),
    (0.5, 0.3),
)  # middle and spread of what each canary feels, in logs: hardly a turn is quiet


def _blocks(
    seed: int,
    *,
    middle_ms: float = 100.0,
    slopes: tuple[float, float] = (0.5, 0.1),
    count: int = 12,
    noise: float = 0.002,
) -> dict[int, list[Turn]]:
    random = Random(seed)
    made: dict[int, list[Turn]] = {}
    for number in range(1, count + 1):
        process = random.gauss(0.0, 0.003)
        for _ in range(8):
            felt = [max(0.0, random.gauss(*each)) for each in BUSY]
            log = process + sum(slope * each for slope, each in zip(slopes, felt, strict=True))
            canaries = tuple(round(ns * math.exp(each)) for ns, each in zip(CANARIES, felt, strict=True))
            runs = tuple(round(middle_ms * 1e6 * math.exp(log + random.gauss(0.0, noise))) for _ in range(3))
            turn = Turn(order=0, before_ns=canaries, after_ns=canaries, run_ns=runs)  # type: ignore[arg-type]
            made.setdefault(number, []).append(turn)
    return made


def _level(blocks: dict[int, list[Turn]]) -> quiet.Level:
    level = quiet.level(turn for turns in blocks.values() for turn in turns)
    assert level is not None
    return level


def _alone(blocks: dict[int, list[Turn]], level: quiet.Level | None = None) -> Mapping[int, float]:
    """What a case's blocks say with no other beside."""
    points = adjusting.points(blocks, level or _level(blocks))
    common = adjusting.common([points])
    assert common is not None
    adjusted = adjusting.adjusted(points, common)
    assert adjusted.unlike == 0.0
    return adjusted.values if adjusted.known else {}


def _pair(
    first: dict[int, list[Turn]], second: dict[int, list[Turn]], above: quiet.Above = (0.0, 0.0)
) -> Pair:
    return pair(*together({1: first, 2: second}, above).values())


@given(cache=st.floats(0.0, 1.5), memory=st.floats(0.0, 0.3), seed=st.integers(0, 20))
def test_known_slopes_are_taken_off(cache: float, memory: float, seed: int) -> None:
    blocks = _blocks(seed, slopes=(cache, memory))
    values = _alone(blocks)
    mean_ms = math.exp(sum(values.values()) / len(values)) / 1e6
    # Calm is what the quietest turns were, not silence: that much of the neighbours stays.
    assert mean_ms == pytest.approx(100.0, rel=0.015 + 0.03 * cache + 0.25 * memory)


def test_silent_canaries_change_nothing() -> None:
    turn = Turn(order=0, before_ns=(1000, 1000), after_ns=(1000, 1000), run_ns=(5, 6, 7))
    blocks = {number: [turn] * 6 for number in (1, 2, 3)}
    values = _alone(blocks)
    assert values == pytest.approx(dict.fromkeys((1, 2, 3), math.log(6)))


def test_neighbours_speed_nothing_up() -> None:
    """Times that fall where canaries rise are chance: no slope is negative."""
    moments = adjusting.Moments(n=100, cache=1.0, both=0.2, memory=1.0, cache_time=-0.5, memory_time=-0.1)
    assert moments.slopes() == (0.0, 0.0)
    assert min(adjusting.Moments(100, 1.0, 0.2, 1.0, -0.5, 0.4).slopes()) == 0.0


@pytest.mark.parametrize("kind", ["waited", "too loud", "too few"])
def test_what_says_nothing_is_left_out(kind: str) -> None:
    blocks = _blocks(1, count=3)
    level = _level(blocks)
    if kind == "too few":
        blocks[3] = blocks[3][:4]
    else:
        counters: dict[str, int | None] = {"cpu_pressure_us": 10**9} if kind == "waited" else {}
        loud = (round(CANARIES[0] * 2), 1) if kind == "too loud" else blocks[3][0].before_ns
        blocks[3] = [
            Turn(order=0, before_ns=loud, after_ns=loud, run_ns=turn.run_ns, counters=counters)
            for turn in blocks[3]
        ]
    assert set(_alone(blocks, level)) == {1, 2}


def test_a_machine_that_is_never_quiet_still_tells_large_differences() -> None:
    first, second = together({1: _blocks(1), 2: _blocks(2, middle_ms=115.0)}).values()
    said = pair(first, second)
    assert said.adjusted
    assert said.verdict == "faster"
    assert said.low is not None and said.high is not None
    assert said.low < 1.15 < said.high
    doubt = log_ratios(first, second).doubt
    assert doubt > 0.0
    assert said.detectable is not None
    assert said.detectable > math.expm1(math.log1p(DIFFERENT) + doubt)
    time = steady(second)
    assert time is not None
    assert time.adjusted
    assert time.low_ms is not None and time.high_ms is not None
    assert time.low_ms < 115.0 < time.high_ms


def _width(said: Pair) -> float:
    assert said.low is not None and said.high is not None
    return math.log(said.high / said.low)


def test_cases_that_feel_neighbours_alike_share_their_slopes() -> None:
    """Slopes from a few noisy turns are mostly noise: what is common to all cases is known better."""
    made = {seed: _blocks(seed, noise=0.15) for seed in range(6)}
    samples = together(made)
    narrower = wider = 0.0
    for first, second in combinations(made, 2):
        shared, own = pair(samples[first], samples[second]), pair(Sample(made[first]), Sample(made[second]))
        assert shared.low is not None and shared.high is not None
        assert shared.low < 1.0 < shared.high
        narrower, wider = narrower + _width(shared), wider + _width(own)
    assert narrower < 0.8 * wider


def test_a_case_that_feels_neighbours_otherwise_keeps_its_own_slopes() -> None:
    for slopes in ((0.5, 0.4), (1.0, 0.1), (0.0, 0.0)):
        first, second = together({1: _blocks(1), 2: _blocks(2, middle_ms=110.0, slopes=slopes)}).values()
        said = pair(first, second)
        assert said.ratio == pytest.approx(1.1, rel=0.02)
        assert said.low is not None and said.high is not None
        assert said.low < 1.1 < said.high


def test_the_mark_that_a_case_leaves_on_the_canary_after_it_is_no_neighbour() -> None:
    first, second = _blocks(1, noise=0.01), _blocks(2, noise=0.01)
    marked = {
        number: [replace(turn, after_ns=tuple(round(1.08 * ns) for ns in turn.after_ns)) for turn in turns]
        for number, turns in second.items()
    }
    plain, other = _pair(first, second), _pair(first, marked)  # type: ignore[arg-type]
    assert plain.ratio == pytest.approx(other.ratio, rel=1e-3)


def test_what_a_look_says_knows_nothing_of_later_rounds() -> None:
    """Not of the others' blocks either: what was said stays said while they go on."""
    made = {seed: _blocks(seed, count=20, noise=0.05) for seed in (1, 2, 3)}
    early = {seed: {number: blocks[number] for number in range(1, 9)} for seed, blocks in made.items()}
    first, second, _ = together(early).values()
    again = together({1: early[1], 2: early[2], 3: made[3]})
    assert pair(first, second) == pair(again[1], again[2])
    assert steady(first) == steady(again[1])


def test_rounds_of_different_groups_are_one() -> None:
    """Their block numbers begin after 0, 1000, 2000 …"""
    made = {seed: _blocks(seed, noise=0.05) for seed in (1, 2)}
    apart = {1: made[1], 2: {number + ROUNDS: turns for number, turns in made[2].items()}}
    assert _pair(made[1], made[2]) == _pair(apart[1], apart[2])


def test_a_case_that_stalls_does_not_drown_what_the_others_tell() -> None:
    made = {seed: _blocks(seed, noise=0.02) for seed in range(3)}
    plain = _pair(made[0], made[1])
    beside = together({**made, 9: _blocks(9, noise=1.5)})
    assert pair(beside[0], beside[1]).ratio == pytest.approx(plain.ratio, rel=5e-3)


def test_a_case_with_few_turns_has_no_say() -> None:
    """How noisy it is, and so what it weighs, is not known."""
    made = {seed: _blocks(seed, noise=0.05) for seed in range(3)}
    few = {1: _blocks(7, noise=0.0, slopes=(1.5, 0.5))[1]}
    plain, beside = together(made), together({**made, 9: few})
    assert pair(plain[0], plain[1]) == pair(beside[0], beside[1])


@given(beyond=st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=20), unlike=st.floats(0.0, 0.2))
def test_own_slopes_are_believed_as_far_as_they_are_no_noise(beyond: list[float], unlike: float) -> None:
    share = adjusting._believed(beyond, unlike)
    assert 0.0 <= share <= 1.0
    assert adjusting._believed([0.5 * each for each in beyond], unlike) >= share - 1e-9
    assert adjusting._believed(beyond, unlike + 0.1) >= share


def test_a_session_above_the_record_is_brought_down_to_it() -> None:
    """Neighbours that never leave, and what two cases feel of them: their ratio is that of the record."""
    above = (0.0, 0.3)
    level = tuple(ns * math.exp(far) for ns, far in zip(CANARIES, above, strict=True)) * 2
    record = tuple(CANARIES) * 2
    assert quiet.Levels(level, record).above == pytest.approx(above)
    first, second = _blocks(1, slopes=(0.0, 0.1)), _blocks(2, slopes=(0.0, 0.3))
    here, there = _pair(first, second), _pair(first, second, above)
    assert here.ratio is not None and there.ratio is not None
    assert math.log(here.ratio / there.ratio) == pytest.approx(0.3 * 0.2, rel=0.1)
    assert there.adjusted


def test_of_a_slower_clock_nothing_or_all_is_felt() -> None:
    """No session can tell which, so the interval holds both."""
    first, second = _blocks(1), _blocks(2)
    far = 0.07
    here, there = (
        log_ratios(*together({1: first, 2: second}, above).values()) for above in ((0.0, 0.0), (far, 0.0))
    )
    assert there.values == here.values, "nothing is taken off for it"
    assert there.doubt == pytest.approx(here.doubt + far)


def test_of_neighbours_that_stay_for_whole_blocks_nothing_is_known() -> None:
    """Within a block nothing moves: no slope tells what they cost, and none is made up."""
    blocks = _blocks(1, slopes=(0.0, 0.0))
    staying = {
        number: [replace(turn, before_ns=loud, after_ns=loud) for turn in turns]
        for number, turns in blocks.items()
        for loud in [(round(CANARIES[0]), round(CANARIES[1] * (1.0 if number % 2 else 1.5)))]
    }
    assert _alone(staying) == {}
    near = {
        number: [
            replace(turn, before_ns=(1_000_000, 500_000), after_ns=(1_000_000, 500_000)) for turn in turns
        ]
        for number, turns in blocks.items()
    }
    assert set(_alone(near)) == set(blocks)


def test_canaries_that_move_together_tell_how_far_both_reach() -> None:
    """Neighbours that both feel alike: that in memory moves by its own noise alone, and its way is the other's."""
    made = _blocks(1)
    both = {
        number: [
            replace(turn, before_ns=loud, after_ns=loud)
            for turn in turns
            for loud in [(turn.before_ns[0], round(CANARIES[1] * turn.before_ns[0] / CANARIES[0]))]
        ]
        for number, turns in made.items()
    }
    assert set(_alone(both)) == set(made)


def test_quiet_runs_are_load_dependent_where_neighbours_stay_and_cases_differ() -> None:
    """What lies beyond the reach of the line states nothing, and still says that the gate's ratio is not to be trusted."""
    quiet_ones = Machine(stays=0.4, turns=12)
    cases = [Simulated(), Simulated(memory_sensitivity=0.4)]
    found = []
    for seed in range(10):
        first, second = blocks(Random(seed), cases, quiet_ones, 20)
        found.append(_pair(first, second))
    assert not any(said.adjusted for said in found)
    assert sum(said.state == "load-dependent" for said in found) > 3


def test_above_the_record_quiet_runs_are_not_enough() -> None:
    turn = Turn(order=0, before_ns=(1000, 1000), after_ns=(1000, 1000), run_ns=(100, 100, 100))
    blocks = {number: [turn] * 8 for number in range(1, 9)}
    assert _pair(blocks, blocks).ratio == 1.0
    said = _pair(blocks, blocks, (0.0, 0.1))
    assert said.ratio is None, "where canaries never move nothing tells what the case would take"
    assert said.state == "too few quiet blocks"
    one = {1: [turn] * 8}
    assert steady(Sample(one)) is not None
    assert steady(Sample(one, (0.0, 0.1))) is None, "one block tells no slope"
    assert _pair(one, one, (0.0, 0.1)).ratio is None


def test_where_quiet_runs_are_enough_they_alone_count() -> None:
    blocks = {
        number: [Turn(order=0, before_ns=(1000, 1000), after_ns=(1000, 1000), run_ns=(100, 100, 100))] * 8
        for number in range(1, 9)
    }
    assert not _pair(blocks, blocks).adjusted
