"""Student's t distribution, standard library only: SciPy's import takes longer than a whole report.

SciPy is the tests' oracle.
"""

from __future__ import annotations

import math
from functools import cache

_TERMS = 300  # of the continued fraction; it converges in a few dozen
_TINY = 1e-300
_CONVERGED = 1e-15


def two_sided_p(t: float, df: float) -> float:
    """Return the probability of a value further from zero than `t`."""
    square = t * t
    if square < 1.0:  # near zero the other tail keeps the digits
        return 1.0 - _incomplete_beta(0.5, df / 2.0, square / (df + square))
    return _incomplete_beta(df / 2.0, 0.5, df / (df + square))


@cache
def quantile(alpha: float, df: float) -> float:
    """Return the t that is exceeded, on either side together, with that probability: 3.499 for 0.01 and 7.

    Raises: ValueError outside 0 < alpha < 1 or below one degree of freedom.
    """
    if not 0.0 < alpha < 1.0 or df < 1.0:
        raise ValueError(f"no quantile for α = {alpha} with {df} degrees of freedom")
    low, high = 0.0, 1.0
    while two_sided_p(high, df) > alpha:
        low, high = high, high * 2.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if two_sided_p(middle, df) > alpha:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _TERMS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away(1.0 + step * d)
            c = _away(1.0 + step / c)
            value *= c * d
        if abs(c * d - 1.0) < _CONVERGED:
            break
    return value


def _away(value: float) -> float:
    """Keep a divisor away from zero."""
    return value if abs(value) > _TINY else _TINY
