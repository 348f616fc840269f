"""Intervals and verdicts, on simulated machines and on blocks made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from benchmarks.selftest.simulated import Machine, Simulated, blocks
from scipy import stats

from unetbench.records import ROUNDS, Turn
from unetbench.samples import Sample, together
from unetbench.spread import CALM_NOISE, MOVED_WRONGLY, Logs
from unetbench.verdicts import LOOKS, Pair, look_at, pair, steady, unpaired

STILL = Machine(contention=0.0, run=0.0, canary=0.0)  # process to process only


def _sample(medians_ms: list[float], turns: int = 8, first: int = 1) -> Sample:
    """Blocks whose every run takes that long, under silent canaries."""
    return Sample(
        {
            first + number: [
                Turn(order=0, before_ns=(1000, 1000), after_ns=(1000, 1000), run_ns=(round(ms * 1e6),) * 3)
            ]
            * turns
            for number, ms in enumerate(medians_ms)
        }
    )


def _spread(middle: float, count: int, spread: float = 0.005) -> list[float]:
    return [middle * math.exp(spread * (-1) ** n * (1 + n % 3) / 2) for n in range(count)]


def test_the_interval_is_the_t_interval_over_blocks() -> None:
    a, b = _spread(100.0, 12), [100.0] * 12
    said = pair(_sample(a), _sample(b))
    logs = np.log(np.array(b) / np.array(a))
    low, high = stats.t.interval(0.999, 11, loc=logs.mean(), scale=stats.sem(logs))
    assert said.alpha == 0.001
    assert (said.low, said.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-6)


def test_what_was_measured_beside_two_cases_tells_of_their_noise_and_later_rounds_change_nothing() -> None:
    made = blocks(Random(1), [Simulated()] * 6, Machine(), LOOKS[1][0])
    early = [{number: turns for number, turns in each.items() if number <= 8} for each in made]
    alone = pair(Sample(early[0]), Sample(early[1]))
    beside = together(dict(enumerate(early)))
    said = pair(beside[0], beside[1])
    assert said.ratio == alone.ratio
    assert said.high is not None and said.low is not None and alone.high is not None and alone.low is not None
    assert said.high / said.low < alone.high / alone.low
    # The first two leave at the look, the others go on; a network that is let in later has rounds of its own.
    late = [{ROUNDS + number: turns for number, turns in each.items() if number > 8} for each in made[:3]]
    later = together(dict(enumerate([*early[:2], *made[2:], *late])))
    assert pair(later[0], later[1]) == said
    # And what those who left have shown counts on.
    stayed = together(dict(enumerate([*early[:4], *made[4:]])))
    two = together(dict(enumerate(made[4:])))
    in_company, by_two = pair(stayed[4], stayed[5]), pair(two[0], two[1])
    assert (
        in_company.high is not None
        and in_company.low is not None
        and by_two.high is not None
        and by_two.low is not None
    )
    assert in_company.high / in_company.low < by_two.high / by_two.low


def test_pairs_across_networks_tell_nothing_of_those_within_one() -> None:
    """Six networks of two cases, of which each block is slow or fast as a whole: one pair within a network is exact."""
    random = Random(3)
    networks = []
    for network in range(6):
        slow = [math.exp(random.gauss(0.0, 0.2)) for _ in range(8)]
        first, second = (
            [100.0 * each * math.exp(random.gauss(0.0, 0.001)) for each in slow] for _ in range(2)
        )
        offset = network * ROUNDS + 1
        networks.append((_sample(first, first=offset), _sample(second, first=offset)))
    samples = together(
        {(n, k): sample.blocks for n, both in enumerate(networks) for k, sample in enumerate(both)}
    )
    within, across = pair(samples[0, 0], samples[0, 1]), pair(samples[0, 0], samples[1, 0])
    assert (
        within.high is not None
        and within.low is not None
        and across.high is not None
        and across.low is not None
    )
    assert within.high / within.low < 1.02
    assert across.high / across.low > 1.3


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (1.10, "faster"),
        (0.9, "slower"),
        (1.0, "the same"),
        (1.005, "the same"),
        (1.011, "the same"),
        (1.015, "faster"),
    ],
)
def test_verdicts_are_of_the_first_against_the_second(ratio: float, verdict: str) -> None:
    said = pair(_sample(_spread(100.0, 20, 0.003)), _sample([100.0 * ratio] * 20))
    assert said.verdict == verdict
    assert said.low is not None
    assert said.high is not None
    assert said.low < ratio < said.high


def test_a_look_is_at_a_fixed_number_of_blocks() -> None:
    assert [look_at(n) for n in (7, 8, 11, 12, 19, 20, 25)] == [
        None, LOOKS[0], LOOKS[0], LOOKS[1], LOOKS[2], LOOKS[3], LOOKS[3],
    ]  # fmt: skip
    medians = _spread(100.0, 11)
    at_eight = pair(_sample(medians[:8]), _sample([110.0] * 8))
    assert pair(_sample(medians), _sample([110.0] * 11)) == at_eight, "blocks after a look wait for the next"


def test_before_the_first_look_there_is_an_estimate_and_no_verdict() -> None:
    said = pair(_sample(_spread(100.0, 7)), _sample([200.0] * 7))
    assert said.ratio == pytest.approx(2.0, rel=0.01)
    assert (said.low, said.verdict, said.alpha) == (None, "not decided", None)
    assert not said.settled


def test_alpha_is_divided_among_the_pairs_stated() -> None:
    alone, of_ten = (pair(_sample(_spread(100.0, 20)), _sample([103.0] * 20), pairs=n) for n in (1, 10))
    assert of_ten.alpha == pytest.approx(alone.alpha / 10)
    assert of_ten.high / of_ten.low > alone.high / alone.low


def test_the_other_way_round_is_the_other_verdict() -> None:
    a, b = _sample(_spread(100.0, 20)), _sample(_spread(110.0, 20, 0.003))
    there, back = pair(a, b), pair(b, a)
    assert (there.verdict, back.verdict) == ("faster", "slower")
    assert there.low == pytest.approx(1 / back.high)


def test_cases_of_two_groups_are_paired_by_round() -> None:
    part = pair(_sample(_spread(100.0, 8)), _sample([120.0] * 8, first=1001))
    assert part.verdict == "faster"
    assert part.blocks == 8


def test_what_could_not_be_decided_says_so_after_the_last_look() -> None:
    said = pair(_sample(_spread(100.0, 20, 0.05)), _sample([101.0] * 20))
    assert (said.verdict, said.state) == ("not decided", "precision not reached")
    assert said.detectable is not None
    assert said.detectable > 0.03


def test_the_difference_that_is_told_as_found_is_found_four_times_in_five() -> None:
    """Told by blocks that are alike, tried on others as noisy that differ by just so much."""
    machine = Machine(process=0.02, contention=0.0)
    last = LOOKS[-1][0]

    def said(ratio: float, seed: int) -> Pair:
        made = blocks(Random(seed), [Simulated(ratio=ratio), Simulated()], machine, last)
        return pair(*together(dict(enumerate(made))).values())

    told = [said(1.0, seed).detectable or 0.0 for seed in range(20)]
    smallest = sum(told) / len(told)
    found = sum(said(1 + smallest, 1000 + seed).verdict == "slower" for seed in range(100))
    assert 65 <= found <= 95


def test_neighbours_are_gated_away_and_the_ungated_ratio_stands_beside() -> None:
    random = Random(1)
    machine = Machine(contention=0.5)
    first, second = blocks(random, [Simulated(), Simulated(sensitivity=3.0)], machine, 20)
    said = pair(*together({1: first, 2: second}).values())
    assert said.ratio == pytest.approx(1.0, abs=0.04)
    assert said.ungated is not None
    assert abs(said.ungated - 1.0) > 2 * abs(said.ratio - 1.0)


def test_a_case_that_neighbours_slow_more_is_load_dependent_or_decided_rightly() -> None:
    false = 0
    for seed in range(30):
        first, second = blocks(Random(seed), [Simulated(), Simulated(sensitivity=1.5)], Machine(), 20)
        false += pair(*together({1: first, 2: second}).values()).verdict in ("faster", "slower")
    assert false == 0


def test_same_against_same_is_never_faster_and_three_percent_is_found() -> None:
    """A short form of benchmarks/selftest/coverage.py."""
    false = found = 0
    for seed in range(40):
        same = blocks(Random(seed), [Simulated(), Simulated()], Machine(), 20)
        slower = blocks(Random(seed), [Simulated(), Simulated(ratio=1.03)], Machine(), 20)
        false += pair(*together(dict(enumerate(same))).values()).verdict in ("faster", "slower")
        found += pair(*together(dict(enumerate(slower))).values()).verdict == "faster"
    assert false == 0
    assert found >= 30


def test_a_time_has_an_interval_over_blocks() -> None:
    random = Random(3)
    (case,) = blocks(random, [Simulated()], STILL, 20)
    time = steady(Sample(case))
    assert time is not None
    assert time.low_ms is not None
    assert time.high_ms is not None
    assert time.low_ms < 100.0 < time.high_ms
    assert (time.blocks, time.dropped_turns, time.unsteady) == (20, 0, False)


def _slowed(seed: int, factor: Callable[[int], float]) -> Sample:
    """Blocks without neighbours whose turns are slower by a factor of their place."""
    (case,) = blocks(Random(seed), [Simulated()], Machine(contention=0.0), 20)
    return Sample(
        {
            number: [
                replace(turn, run_ns=tuple(round(ns * factor(place)) for ns in turn.run_ns))
                for place, turn in enumerate(turns)
            ]
            for number, turns in case.items()
        }
    )


def test_leading_turns_that_still_warm_up_are_dropped() -> None:
    time = steady(_slowed(4, lambda place: 1.10 if place < 2 else 1.0))
    assert time is not None
    assert time.dropped_turns >= 2
    assert not time.unsteady
    assert time.median_ms == pytest.approx(100.0, rel=0.01)


def test_a_time_that_does_not_settle_is_unsteady() -> None:
    time = steady(_slowed(5, lambda place: 1 + 0.03 * place))
    assert time is not None
    assert time.unsteady


def test_two_sessions_are_compared_as_welch_does() -> None:
    a, b = [0.0, 0.01, -0.01, 0.02, 0.0, 0.01], [0.1, 0.12, 0.09, 0.1, 0.11, 0.1, 0.09]
    said = unpaired(Logs(a), Logs(b), alpha=0.01)
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.99)
    assert (said.low, said.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)), rel=1e-6)


def test_two_sessions_of_a_loud_machine_are_compared_with_its_doubts() -> None:
    a, b = [0.0, 0.01, -0.01, 0.02, 0.0, 0.01], [0.1, 0.12, 0.09, 0.1, 0.11, 0.1, 0.09]
    quiet, loud = unpaired(Logs(a), Logs(b), alpha=0.01), unpaired(Logs(a), Logs(b, -0.05), alpha=0.01)
    assert loud.adjusted
    assert loud.ratio == quiet.ratio
    assert quiet.high is not None and loud.high is not None and quiet.ratio is not None
    # The doubt of a move of 5 % and the calm level's noise, which alone widens by less than a fifth.
    half, wider = math.log(quiet.high / quiet.ratio), math.log(loud.high / quiet.ratio) - MOVED_WRONGLY * 0.05
    assert half < wider < CALM_NOISE * half


def test_without_blocks_there_is_nothing_to_say() -> None:
    assert pair(Sample({}), _sample([100.0] * 8)) == Pair()
    assert steady(Sample({})) is None


def test_blocks_that_were_not_quiet_are_too_few_for_a_verdict() -> None:
    loud = [
        Turn(
            order=0,
            before_ns=(1000, 1000),
            after_ns=(1000, 1000),
            run_ns=(100,),
            counters={"cpu_pressure_us": 10},
        )
    ]
    sample = Sample({**_sample([100.0] * 5).blocks, **dict.fromkeys((6, 7, 8), loud * 8)})
    said = pair(sample, _sample([200.0] * 8))
    assert (said.verdict, said.state, said.blocks) == ("not decided", "too few quiet blocks", 5)
    assert not said.settled
