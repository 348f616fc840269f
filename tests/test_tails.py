"""Tail percentiles: as many independent runs as they are worth, none stated from too few."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unetbench.tails import _upper_level, effective_runs, needed, tail

MS = 1_000_000


def test_so_many_independent_runs_are_needed() -> None:
    assert [needed(share) for share in (0.5, 0.9, 0.95, 0.99)] == [5, 29, 59, 299]


def test_ten_runs_tell_no_95th_percentile() -> None:
    found = tail([[MS * run for run in range(1, 11)]], 0.95)
    assert (found.value_ms, found.upper_ms, found.slowest_ms, found.runs) == (None, None, 10.0, 10)


def test_independent_runs_are_worth_their_number() -> None:
    chance = random.Random(1)
    runs = [[round(MS * chance.lognormvariate(3, 0.2)) for _ in range(30)] for _ in range(20)]
    found = tail(runs, 0.95)
    assert found.effective > 300
    assert found.value_ms is not None
    assert found.upper_ms is not None
    assert found.value_ms == pytest.approx(27.9, rel=0.06)  # exp(3 + 1.645 × 0.2)
    assert found.upper_ms > found.value_ms


def test_runs_of_slow_processes_are_worth_little() -> None:
    """One process in ten is twice as slow: twenty processes, not six hundred runs."""
    chance = random.Random(2)
    runs = [[round(MS * (40 if number % 10 == 0 else 20) * chance.uniform(0.99, 1.01)) for _ in range(30)] for number in range(20)]  # fmt: skip
    found = tail(runs, 0.9)
    assert found.effective < 60


@given(st.integers(59, 2000), st.sampled_from([0.9, 0.95]))
def test_the_upper_bound_is_that_of_the_binomial(count: int, share: float) -> None:
    level = _upper_level(count, share)
    rank = round(level * count)
    assert stats.binom.cdf(rank - 1, count, share) >= 0.95 - 1e-9
    assert stats.binom.cdf(rank - 2, count, share) < 0.95 + 1e-9


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=6))
def test_never_more_than_there_are(beyond: list[list[bool]]) -> None:
    assert 0.0 < effective_runs(beyond) <= sum(map(len, beyond))


def test_an_upper_bound_holds_as_often_as_it_says() -> None:
    """Of 400 series with processes that differ, the bound lies below the true percentile in at most some 5 %."""
    chance = random.Random(3)
    true_ms = 20 * 1.1165  # of the 90th percentile: exp(z × √(0.05² + 0.07²)), z = 1.2816
    missed = told = 0
    for _ in range(400):
        runs = []
        for _ in range(20):
            own = chance.gauss(0, 0.05)
            runs.append([round(MS * 20 * 2.718281828 ** (own + chance.gauss(0, 0.07))) for _ in range(24)])
        found = tail(runs, 0.9)
        if found.upper_ms is not None:
            told += 1
            missed += found.upper_ms < true_ms
    assert told > 300
    assert missed / told < 0.09


def test_no_runs_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="no runs"):
        tail([[]], 0.95)
