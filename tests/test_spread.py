"""What the pairs of a session say of the noise of each: limma's estimator, by SciPy's functions."""

from __future__ import annotations

import math
from itertools import combinations
from random import Random
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from unetbench.spread import CALM_NOISE, NOTHING, Logs, Noise, of_all


def _pairs(cases: int, blocks: int = 8, unlike: float = 0.0, seed: int = 0) -> list[list[float]]:
    """Logs of all pairs of so many cases, each case with a noise of its own where they are unlike."""
    random = Random(seed)
    noises = [0.05 * math.exp(random.gauss(0.0, unlike)) for _ in range(cases)]
    logs = [[random.gauss(0.0, noise) for _ in range(blocks)] for noise in noises]
    return [[b - a for a, b in zip(*both, strict=True)] for both in combinations(logs, 2)]


def test_it_is_smyths_estimator_on_a_wider_spread() -> None:
    # Some have lost blocks.
    pairs = [each[: 8 - place % 3] for place, each in enumerate(_pairs(12, unlike=0.8))]
    found = of_all(pairs, 12)
    halves = np.array([(len(each) - 1) / 2 for each in pairs])
    logs = np.log([variance(each) for each in pairs]) - special.digamma(halves) + np.log(halves)
    wider = 13 / 11 * (1 + math.sqrt(2 / 11))
    unlike = wider * logs.var(ddof=1) - special.polygamma(1, halves).mean()
    freedom = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - unlike, 1e-3, 1e4)
    assert found.freedom == pytest.approx(freedom, rel=1e-6)
    middle = math.exp(logs.mean() + special.digamma(freedom / 2) - math.log(freedom / 2))
    assert found.variance == pytest.approx(middle, rel=1e-6)
    assert found.pooled == pytest.approx(11 * 2 * halves.mean())


def test_pairs_that_are_equally_noisy_tell_of_each_other() -> None:
    alike, unlike = of_all(_pairs(12), 12), of_all(_pairs(12, unlike=1.5), 12)
    assert alike.freedom > 10 > 4 > unlike.freedom
    assert math.sqrt(alike.variance) == pytest.approx(0.05 * math.sqrt(2), rel=0.2)


def test_few_blocks_are_worth_more_beside_others() -> None:
    pairs = _pairs(12)
    noise = of_all(pairs, 12)
    widths = [(Logs(each).half_width(1e-5), Logs(each).half_width(1e-5, noise)) for each in pairs]
    assert fmean(beside for _, beside in widths) < 0.7 * fmean(alone for alone, _ in widths)


@given(
    st.floats(1e-8, 1.0), st.integers(5, 19), st.floats(1e-8, 1.0), st.floats(0.0, 1e4), st.floats(0.0, 1e3)
)
def test_a_pair_is_never_held_for_less_noisy_than_it_was_seen(
    own: float, freedom: int, common: float, worth: float, pooled: float
) -> None:
    square, in_all = Noise(common, worth, pooled).beside(own, freedom)
    assert square >= own
    assert freedom <= in_all <= max(freedom, min(2 * freedom, pooled))


def test_a_pair_alone_is_judged_by_itself() -> None:
    (pair,) = _pairs(2)
    assert of_all([pair], 2) == NOTHING
    logs = Logs(pair)
    assert NOTHING.beside(0.5, 7) == (0.5, 7)
    expected = stats.t.isf(0.005, 7) * stats.sem(logs.values)
    assert logs.half_width(0.01) == pytest.approx(expected, rel=1e-6)


def test_blocks_that_do_not_vary_make_others_no_surer() -> None:
    assert of_all([*_pairs(4)[:3], [0.1] * 8, [0.2] * 8, [0.3] * 8], 4).freedom < 1.0


def test_what_more_blocks_would_tell_is_of_the_same_noise() -> None:
    logs = Logs(_pairs(2)[0], moved=0.0)
    half = logs.half_width_of(20, NOTHING, 0.01)
    error = CALM_NOISE * math.sqrt(variance(logs.values) / 20)
    assert half == pytest.approx(stats.t.isf(0.005, 19) * error, rel=1e-6)
    noise = Noise(variance(logs.values), freedom=10.0, pooled=200.0)
    beside = logs.half_width_of(20, noise, 0.01, 0.4)
    assert beside == pytest.approx((stats.t.isf(0.005, 29) + stats.t.isf(0.2, 29)) * error, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_pairs_is_nothing_to_it(seed: int) -> None:
    pairs = _pairs(6, unlike=0.5)
    shuffled = Random(seed).sample(pairs, len(pairs))
    found, again = of_all(pairs, 6), of_all(shuffled, 6)
    assert (found.variance, found.freedom) == pytest.approx((again.variance, again.freedom))
