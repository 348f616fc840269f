"""Constraints and results to a ranked choice: who meets them, who is best, what each constraint costs.

Quality first, then speed. Figures that differ by less than they mean are the same: among networks within half a
point of published accuracy of the best the faster one is chosen, an exact or near answer before an
approximate one. It measures nothing, reads no file and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from unetbench.quality import Quality
from unetbench.reporting.row import Row
from unetbench.reporting.standing import Standings

_WEIGHT_BYTES = 4  # of a parameter in a checkpoint, where no weights are in the files of a runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The time that a constraint is held against. Units: milliseconds."""

    value_ms: float
    high_ms: float | None = None  # upper end of its interval; None where there is none
    doubt: str = ""  # why it is not known well


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One measured case, with what a choice hangs on."""

    row: Row
    latency: Latency
    quality: Quality | None
    said: Standings  # of its session
    session: str  # its store and session, as they are named to the user

    @property
    def network(self) -> str:
        return self.row.network

    @property
    def memory_mb(self) -> float:
        """The most that its process held for it: one that is ended while it loads runs nothing."""
        return max(self.row.peak_mb or 0.0, self.row.peak_load_mb or 0.0)

    @property
    def size_mb(self) -> float:
        """The files that its runtime loads; where these are less than the weights alone, with the weights."""
        weights = self.row.parameters_m or 0.0  # bytes, in millions, at one each: fewer are in no format here
        files = self.row.artifact_mb or 0.0
        return files if files >= weights else files + weights * _WEIGHT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What a case must meet: at most a limit, or a yes."""

    option: str  # as the user gives it
    met: Callable[[Candidate], bool]
    value: Callable[[Candidate], float] | None = None  # how far a case is from it: less is better
    limit: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A constraint that cannot be met, with the case that comes nearest."""

    constraint: Constraint
    alone: bool  # by itself; else only together with the others
    best: Candidate | None  # None where no case meets the others either
    # It is of the case that fails the fewest constraints: another may come nearer to this one.
    fewest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The choice: ranked cases that meet everything, or why there are none."""

    wanted: tuple[Constraint, ...]
    same: float  # the difference of quality that means nothing
    ranked: tuple[Candidate, ...]
    tied: tuple[Candidate, ...] = ()  # with the first: as good, and not told apart in speed
    costs: tuple[tuple[Constraint, Candidate], ...] = ()  # the choice without that constraint
    shortfalls: tuple[Shortfall, ...] = ()
    considered: int = 0


def constraints(
    max_latency_ms: float | None = None,
    max_memory_mb: float | None = None,
    max_size_mb: float | None = None,
    exact_only: bool = False,
    encoders: Sequence[str] = (),
) -> tuple[Constraint, ...]:
    """Return the constraints that were given."""
    found = [
        _limit("--max-latency", lambda c: c.latency.value_ms, max_latency_ms, "ms"),
        _limit("--max-memory", lambda c: c.memory_mb, max_memory_mb, "MB"),
        _limit("--max-size", lambda c: c.size_mb, max_size_mb, "MB"),
    ]
    if exact_only:
        found.append(
            Constraint(
                option="--exact-only",
                met=lambda c: c.row.measured_class == "exact",
                value=lambda c: c.row.relative_error or 0.0,
            )
        )
    if encoders:
        option = " ".join(f"--encoder {pattern!r}" for pattern in encoders)
        found.append(Constraint(option=option, met=lambda c: _named(c.row, encoders)))
    return tuple(constraint for constraint in found if constraint is not None)


def advice(candidates: Sequence[Candidate], wanted: Sequence[Constraint], *, same: float) -> Advice:
    """Return the choice among measured cases.

    `same` is the difference of quality that means nothing.
    """
    ranked = ranking(_meeting(candidates, wanted), same=same)
    if not ranked:
        return Advice(
            wanted=tuple(wanted),
            same=same,
            ranked=(),
            shortfalls=_shortfalls(candidates, wanted),
            considered=len(candidates),
        )
    first = ranked[0]
    return Advice(
        wanted=tuple(wanted),
        same=same,
        ranked=ranked,
        tied=tuple(
            each for each in ranked[1:] if _as_good(first, each, same) and told_apart(first, each) is False
        ),
        costs=_costs(candidates, wanted, first, same),
        considered=len(candidates),
    )


def ranking(candidates: Iterable[Candidate], *, same: float) -> tuple[Candidate, ...]:
    """Return cases by quality in bands that mean the same, the best first; within a band by answer and speed."""
    left = sorted(candidates, key=lambda each: (each.quality is None, -_value(each)))
    ranked: list[Candidate] = []
    while left:
        band = [each for each in left if _as_good(left[0], each, same)]
        ranked += sorted(
            band, key=lambda each: (each.row.measured_class == "approximate", each.latency.value_ms)
        )
        left = [each for each in left if each not in band]
    return tuple(ranked)


def told_apart(first: Candidate, other: Candidate) -> bool | None:
    """Return whether paired blocks tell the speed of two cases apart; None where they say nothing of both."""
    if first.session != other.session:
        return None
    return first.said.told_apart(first.row.case, other.row.case)


def doubt(candidate: Candidate, limit: float | None) -> str:
    """Return why it is not certain that a case meets a limit of its time; nothing where it is."""
    if candidate.latency.doubt:
        return candidate.latency.doubt
    high = candidate.latency.high_ms
    if limit is not None and high is not None and high > limit:
        return f"its interval ends at {high:.4g} ms, beyond the limit"
    return ""


def _named(row: Row, patterns: Sequence[str]) -> bool:
    """Whether a row's encoder, with its tag or without, is among those meant: as a search takes patterns."""
    return any(fnmatchcase(name, p) for name in (row.encoder, row.bare_encoder) for p in patterns)


def _limit(
    option: str, value: Callable[[Candidate], float], limit: float | None, unit: str
) -> Constraint | None:
    if limit is None:
        return None
    most = limit
    return Constraint(option=option, met=lambda c: value(c) <= most, value=value, limit=most, unit=unit)


def _meeting(candidates: Iterable[Candidate], wanted: Sequence[Constraint]) -> list[Candidate]:
    return [each for each in candidates if all(constraint.met(each) for constraint in wanted)]


def _costs(
    candidates: Sequence[Candidate], wanted: Sequence[Constraint], first: Candidate, same: float
) -> tuple[tuple[Constraint, Candidate], ...]:
    """The choice without each constraint; the same one where that costs nothing."""
    found = []
    for constraint in wanted:
        others = [each for each in wanted if each is not constraint]
        found.append((constraint, ranking(_meeting(candidates, others), same=same)[0]))
    return tuple(found)


def _shortfalls(candidates: Sequence[Candidate], wanted: Sequence[Constraint]) -> tuple[Shortfall, ...]:
    """The constraints that nothing meets; where each can be met alone, those that the others make impossible."""
    alone = [each for each in wanted if not any(map(each.met, candidates))]
    found = []
    for constraint in alone or wanted:
        others = [each for each in wanted if each is not constraint]
        near = candidates if alone else _meeting(candidates, others)
        best = min(near, key=constraint.value, default=None) if constraint.value else None
        if alone or near:
            found.append(Shortfall(constraint=constraint, alone=bool(alone), best=best))
    if not found and candidates:  # no constraint is the one too many: told by the case that fails the fewest
        nearest = min(candidates, key=lambda each: sum(not one.met(each) for one in wanted))
        found = [
            Shortfall(constraint=one, alone=False, best=nearest, fewest=True)
            for one in wanted
            if not one.met(nearest)
        ]
    return tuple(found)


def _as_good(best: Candidate, other: Candidate, same: float) -> bool:
    if best.quality is None or other.quality is None:
        return best.quality is other.quality
    return abs(best.quality.value - other.quality.value) <= same


def _value(candidate: Candidate) -> float:
    return 0.0 if candidate.quality is None else candidate.quality.value
