"""Summaries against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetbench.stats import moved, summary


@given(st.lists(st.integers(1, 10**11), min_size=1, max_size=50))
def test_median_and_quartiles_are_numpys(samples: list[int]) -> None:
    found = summary(samples)
    expected = np.quantile(np.array(samples, float) / 1e6, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([found.low_ms, found.median_ms, found.high_ms], expected, rtol=1e-9)
    assert found.runs == len(samples)


def test_nothing_has_no_summary() -> None:
    with pytest.raises(ValueError, match="no runs"):
        summary([])


def test_a_counter_that_was_not_shown_both_times_or_went_back_is_unknown() -> None:
    before = {"steal_ticks": 1, "cpu_pressure_us": None, "migrations": 9, "frequency_khz": 3_000_000}
    after = {"steal_ticks": 4, "cpu_pressure_us": 7, "migrations": 5, "new": 1, "frequency_khz": 2_400_000}
    assert moved(before, after) == {
        "steal_ticks": 3, "cpu_pressure_us": None, "migrations": None, "new": None, "frequency_khz": 2_400_000,
    }, "a gauge is as it stands"  # fmt: skip
