"""Student's t against SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unetbench import student_t


@settings(max_examples=400)
@given(st.floats(1e-9, 0.9), st.integers(1, 400))
def test_quantiles_are_scipys(alpha: float, df: int) -> None:
    assert student_t.quantile(alpha, df) == pytest.approx(stats.t.isf(alpha / 2, df), rel=1e-6)


@settings(max_examples=400)
@given(st.floats(0.0, 60.0), st.floats(1.0, 400.0))
def test_probabilities_are_scipys(t: float, df: float) -> None:
    assert student_t.two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-8, abs=1e-280)


@pytest.mark.parametrize(("alpha", "df"), [(0.0, 5), (1.0, 5), (-1.0, 5), (0.01, 0.5)])
def test_what_has_no_quantile_is_refused(alpha: float, df: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_t.quantile(alpha, df)
