"""How far logs spread over blocks: as one pair shows it, and as all pairs of its session do.

Few blocks hardly tell how noisy a pair is, and a t interval of few blocks, at the small α that many pairs leave to each,
pays dearly for that. What makes blocks differ is mostly the machine, so that pairs are about equally noisy: how nearly so
is what their variances say, and by as much each is known better (Smyth, Linear models and empirical Bayes methods, Stat.
Appl. Genet. Mol. Biol. 3 (2004), 3: the moderated t). Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from unetbench import student_t

# Canaries feel the neighbours less than perfectly and no line is exact: of what adjusting moved a time or a ratio, so
# much may be wrong. And the calm level is known from the same turns: its noise, common to all blocks, adds a fifth to what
# their spread shows. Both by simulation, benchmarks/selftest/coverage.py.
MOVED_WRONGLY, CALM_NOISE = 0.2, 1.2
_LEAST_VARIANCE = 1e-10  # of a block's log: a thousandth of a percent
_LARGE = 6.0  # from which on the series of digamma and trigamma are exact enough
_MOST = 1e4  # degrees of freedom: more are as good as all


@dataclass(frozen=True, slots=True)
class Noise:
    """What the pairs of a session say together of the variance of one."""

    variance: float = 0.0
    freedom: float = 0.0  # how many degrees of freedom that is worth, beside a pair's own
    pooled: float = 0.0  # that all of them have together

    def beside(self, own: float, freedom: int) -> tuple[float, float]:
        """Return a pair's variance with what the others say of it, and its degrees of freedom.

        It is never less than the pair's own, since a case may be louder than others; and they count for no more than its own
        blocks do, since what is rare may not have been seen yet.
        """
        more = min(self.freedom, freedom, self.pooled - freedom)
        if more <= 0.0:
            return own, freedom
        return max(own, (more * self.variance + freedom * own) / (more + freedom)), more + freedom


NOTHING = Noise()


@dataclass(frozen=True, slots=True)
class Logs:
    """What blocks say of a time or a ratio, in logs."""

    values: Sequence[float]
    moved: float | None = None  # by bringing louder turns to the quiet level; None where they are quiet runs
    cache: float = 0.0  # how far their session's canary in cache lies above the record
    unlike: float = 0.0  # by how much more or less neighbours may cost a case than was taken off

    @property
    def error(self) -> float:
        """The standard error of their mean, by themselves."""
        return self._error(NOTHING)[0]

    @property
    def doubt(self) -> float:
        """How wrong their mean may be however many they are: no line is exact, and cases are not alike.

        Of what slows the canary in cache, a clock or neighbours there, a case feels between nothing and all of
        it, which no session can tell.
        """
        return MOVED_WRONGLY * abs(self.moved or 0.0) + self.unlike + self.cache

    def half_width(self, alpha: float, noise: Noise = NOTHING) -> float:
        """Half of the interval, the t interval over blocks and the doubt, that errs with that probability."""
        error, freedom = self._error(noise)
        return student_t.quantile(alpha, freedom) * error + self.doubt

    def half_width_of(self, blocks: int, noise: Noise, *alphas: float) -> float:
        """Return the same of so many blocks as noisy as these, for the sum of several quantiles."""
        error, _ = self._error(noise)
        _, freedom = noise.beside(0.0, blocks - 1)
        quantiles = sum(student_t.quantile(alpha, freedom) for alpha in alphas)
        return quantiles * error * math.sqrt(len(self.values) / blocks) + self.doubt

    def _error(self, noise: Noise) -> tuple[float, float]:
        """The standard error of their mean, and its degrees of freedom."""
        square, freedom = noise.beside(variance(self.values), len(self.values) - 1)
        wider = 1.0 if self.moved is None else CALM_NOISE
        return wider * math.sqrt(square / len(self.values)), freedom


def of_all(pairs: Sequence[Sequence[float]], units: int) -> Noise:
    """Return what the logs of pairs say together that are made of so many units, cases or groups of them, whose noise is apart.

    How unlike their variances are beyond chance, by the spread of the variances' logs, says how much one is worth for
    another. Pairs share their units, which hides some of that spread, and few units say it roughly: it is taken as
    wider by both.
    """
    if units < 3 or len(pairs) < 3:
        return NOTHING
    freedoms = [len(logs) - 1 for logs in pairs]
    squares = [max(_LEAST_VARIANCE, variance(logs)) for logs in pairs]
    logs = [
        math.log(square) - _digamma(freedom / 2) + math.log(freedom / 2)
        for square, freedom in zip(squares, freedoms, strict=True)
    ]
    hidden, unsure = (units + 1) / (units - 1), 1.0 + math.sqrt(2.0 / (units - 1))
    unlike = hidden * unsure * variance(logs) - fmean(_trigamma(freedom / 2) for freedom in freedoms)
    freedom = 2.0 * _inverse_trigamma(unlike)
    common = math.exp(fmean(logs) + _digamma(freedom / 2) - math.log(freedom / 2))
    return Noise(common, freedom, pooled=(units - 1) * fmean(freedoms))


def _digamma(x: float) -> float:
    below = 0.0
    while x < _LARGE:
        below += 1.0 / x
        x += 1.0
    square = 1.0 / (x * x)
    return (
        math.log(x)
        - 0.5 / x
        - square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
        - below
    )


def _trigamma(x: float) -> float:
    below = 0.0
    while x < _LARGE:
        below += 1.0 / (x * x)
        x += 1.0
    square = 1.0 / (x * x)
    return (
        1.0 / x
        + square / 2
        + square / x * (1 / 6 - square * (1 / 30 - square * (1 / 42 - square / 30)))
        + below
    )


def _inverse_trigamma(value: float) -> float:
    """Where trigamma, which falls, has a value; half of `_MOST` where it is lower still."""
    low, high = 1e-3, _MOST / 2
    if value <= _trigamma(high):
        return high
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _trigamma(middle) > value else (low, middle)
    return low
