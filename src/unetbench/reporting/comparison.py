"""Two stores, or two recipes within one: a verdict for each case, with its interval. Reads, never measures.

Blocks of one session are paired. Those of two sessions are not, so each brings its own spread; and where
the machines differ only ratios to each session's own reference may be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unetbench import quiet, spread, verdicts
from unetbench.amounts import counted
from unetbench.errors import BadInput
from unetbench.levels import levels, same_canary
from unetbench.records import REFERENCE, RGB, Case, Recipe, Result, Session
from unetbench.reporting.standing import sampled, too_loud
from unetbench.samples import LEAST_BLOCKS, Sample
from unetbench.store import reading

_NO_REFERENCE = f"machines or their settings differ, and {REFERENCE} has no steady blocks in both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One network, before and after. Ratios are the second's time over the first's."""

    name: str
    pair: verdicts.Pair
    relative: bool  # ratios to each session's own reference, not times
    reason: str = ""  # why there is no verdict
    lost: bool = False  # the second failed where the first has a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison: a session and its results."""

    session: Session
    results: tuple[Result, ...]
    levels: Mapping[int, quiet.Levels] = field(default_factory=dict)  # how quiet it was, by threads

    def above(self, case: Case) -> quiet.Above | None:
        """How far above the record a case was measured; None: too far, so that nothing is stated of it."""
        known = self.levels.get(case.threads)
        return quiet.AT_RECORD if known is None else known.above

    def conditions(self, name: str) -> str:
        """Say in a line where and when it was measured."""
        session, machine = self.session, self.session.machine
        threads = "/".join(map(str, sorted({result.case.threads for result in self.results})))
        return (
            f"{name}: session {session.identifier}, preset {session.preset}, {session.started_utc[:16]}, {machine.cpu}, "
            f"{counted(machine.cores, 'core')} granted, {counted(threads, 'thread')}"
        )

    def result(self, case: Case) -> Result | None:
        """Return what became of a case; None where it is not there."""
        return next((result for result in self.results if result.case == case), None)

    @property
    def looks(self) -> verdicts.Looks:
        return verdicts.LOOKS_OF.get(self.session.preset, ())

    @property
    def timed(self) -> tuple[Case, ...]:
        """The cases that have blocks, steady or not, and have not failed."""
        return tuple(result.case for result in self.results if result.blocks and not result.failed)

    @property
    def samples(self) -> dict[Case, Sample]:
        """The blocks of each case that is steady."""
        above = {result.case.threads: self.above(result.case) for result in self.results}
        by_key = sampled(self.results, above)
        found = {result.case: by_key[result.key] for result in self.results if result.key in by_key}
        times = {case: verdicts.steady(sample, self.looks) for case, sample in found.items()}
        return {case: sample for case, sample in found.items() if (time := times[case]) and not time.unsteady}


def compared(first: str, second: str, store: Path) -> tuple[list[Compared], list[str]]:
    """Compare two recipes within a store, or two stores, each a file or file@session; with the conditions of each.

    Raises: BadInput, StoreError.
    """
    if _is_recipe(first) and _is_recipe(second):
        one = side(str(store))
        return list(recipes(one, Recipe.parse(first), Recipe.parse(second))), [one.conditions(str(store))]
    before, after = side(first), side(second)
    return list(stores(before, after)), [before.conditions(first), after.conditions(second)]


def side(text: str) -> Side:
    """Read a store's latest session, or the one named after an @.

    Raises: BadInput, StoreError.
    """
    name, at, number = text.rpartition("@")
    if not at or not number.isdecimal():
        name, number = text, ""
    path = Path(name)
    path = path / "results" / "results.sqlite" if path.is_dir() else path
    with reading(path) as store:
        sessions = {each.identifier: each for each in store.sessions()}
        chosen = int(number) if number else max(sessions, default=0)
        if chosen not in sessions:
            raise BadInput(
                f"unknown session {chosen}: {str(path)!r} holds {', '.join(map(str, sessions)) or 'none'}."
            )
        results = store.results(chosen)
        return Side(
            session=sessions[chosen], results=results, levels=levels(store, sessions[chosen], results)
        )


def lines(told: Sequence[Compared]) -> Iterator[str]:
    """Give a line for each comparison, the interval beside the ratio, and what it holds for."""
    width = max(len(each.name) for each in told)
    yield "Times of the second over the first, with intervals that hold together at 99 %:"
    for each in told:
        pair = each.pair
        what = (
            "of its ratio to torch_eager/fp32, since the machines or their settings differ"
            if each.relative
            else "of the time"
        )
        if pair.ratio is None:
            yield f"{each.name:{width}}  no estimate: {each.reason}"
            continue
        words = {
            "faster": "slower",
            "slower": "faster",
        }  # a pair tells of the first, a reader asks of the second
        between = f" ({pair.low:.3f} to {pair.high:.3f})" if pair.low and pair.high else ""
        why = f": {each.reason}" if each.reason else ""
        verdict = words.get(pair.verdict, pair.verdict)
        yield f"{each.name:{width}}  {pair.ratio:.3f} ×{between} {what}: the second is {verdict}{why}"


def recipes(side: Side, first: Recipe, second: Recipe) -> Iterator[Compared]:
    """Compare two recipes on each network that has both, by paired blocks.

    Raises: BadInput where no network has both, or the session has no blocks.
    """
    _refuse_quick(side)
    samples = side.samples
    both = [
        (case, other)
        for case in samples
        if case.recipe == first and (other := replace(case, recipe=second)) in samples
    ]
    untold = [
        _untold(_place(case), steady=case in samples, result=side.result(replace(case, recipe=second)))
        for case in side.timed
        if case.recipe == first and not {case, replace(case, recipe=second)} <= samples.keys()
    ]
    if not both and not any(each.lost for each in untold):
        there = ", ".join(sorted({str(case.recipe) for case in samples})) or "none"
        raise BadInput(
            f"no network has paired blocks of both {first} and {second}: recipes with blocks here are {there}."
        )
    for case, other in both:
        pair = verdicts.pair(samples[case], samples[other], pairs=len(both), looks=side.looks)
        if side.above(case) is None:
            pair = too_loud(pair)
        yield Compared(name=_place(case), pair=pair, relative=False, reason=_why(pair))
    yield from untold


def stores(first: Side, second: Side) -> Iterator[Compared]:
    """Compare each case that both have: times on one machine, else ratios to the reference; then say what became of
    those that the first has alone.

    Raises: BadInput where they have no case in common, or a session has no blocks.
    """
    for side in (first, second):
        _refuse_quick(side)
    # What was loud is not known alike by another canary.
    differing = first.session.machine.differs_from(second.session.machine) or not same_canary(
        first.session, second.session
    )
    if not differing:
        # What was quiet in one store may have been loud in the other: both are brought to the quieter.
        first, second = (
            replace(one, levels={n: own.beside(other.levels.get(n, own)) for n, own in one.levels.items()})
            for one, other in ((first, second), (second, first))
        )
    a, b = first.samples, second.samples
    cases = [case for case in a if case in b and not (differing and case.recipe == REFERENCE)]
    untold = [
        _untold(f"{_place(case)} {case.recipe}", steady=case in a, result=second.result(case))
        for case in first.timed
        if case not in a or case not in b
    ]
    if not cases and not any(each.lost for each in untold):
        raise BadInput(
            f"session {first.session.identifier} and session {second.session.identifier} have no case with "
            "paired blocks in common that may be compared: measure the same suite in both."
        )
    for case in cases:
        if differing:
            logs = _to_reference(a, case, first.looks), _to_reference(b, case, second.looks)
        else:
            logs = verdicts.quiet_logs(a[case], first.looks), verdicts.quiet_logs(b[case], second.looks)
        ends = len(first.looks) * len(second.looks)
        pair = _unpaired(logs[0], logs[1], pairs=len(cases), looks=ends)
        if None in (first.above(case), second.above(case)):
            pair = too_loud(pair)
        yield Compared(
            name=f"{_place(case)} {case.recipe}",
            pair=pair,
            relative=bool(differing),
            reason=_why(pair) if not differing or _have_reference(case, a, b) else _NO_REFERENCE,
        )
    yield from untold


def slower_than(compared: Sequence[Compared], share: float) -> tuple[Compared, ...]:
    """Return what became slower by at least that share, beyond doubt: the whole interval says so."""
    return tuple(
        each
        for each in compared
        if not _void(each.pair) and each.pair.low is not None and each.pair.low >= 1.0 + share
    )


def _have_reference(case: Case, *sides: Mapping[Case, Sample]) -> bool:
    return all(replace(case, recipe=REFERENCE) in samples for samples in sides)


def _untold(name: str, *, steady: bool, result: Result | None) -> Compared:
    """A case with blocks in the first that cannot be compared; `steady`: it has a time there. Where it failed in the
    second that is worse than slower."""
    if result is not None and (failure := result.failure) is not None:
        why = f"the second has none: {failure.kind} while {failure.stage}: {failure.message}"
    elif not steady:
        why = "the first has no steady time of it"
    elif result is None:
        why = "it was not measured for the second"
    elif not result.blocks:
        why = "the second has no paired blocks of it, as where a budget ended or a search left it behind"
    else:
        why = "the second has no steady time of it"
    lost = result is not None and result.failed
    return Compared(name=name, pair=verdicts.Pair(), relative=False, reason=why, lost=lost)


def worse(compared: Sequence[Compared], share: float) -> list[str]:
    """Return a line for each that became slower by at least that share, or has no time any more."""
    slower = [f"slower by {share:.1%} or more: {each.name}" for each in slower_than(compared, share)]
    return [*slower, *(f"no time any more: {each.name}" for each in compared if each.lost)]


def undecided(compared: Sequence[Compared], share: float) -> list[str]:
    """Return a line that says of how many it is not known whether they became slower by that share."""
    slower = slower_than(compared, share)
    count = sum(not (each.lost or each in slower or _no_slower(each.pair, share)) for each in compared)
    return [f"not known whether slower by {share:.1%} or more: {count} of {len(compared)}"] if count else []


def _no_slower(pair: verdicts.Pair, share: float) -> bool:
    return not _void(pair) and pair.high is not None and pair.high < 1.0 + share


def _void(pair: verdicts.Pair) -> bool:
    return pair.state in ("load-dependent", "not quiet")


def _to_reference(samples: Mapping[Case, Sample], case: Case, looks: verdicts.Looks) -> spread.Logs:
    reference = samples.get(replace(case, recipe=REFERENCE))
    return verdicts.log_ratios(reference, samples[case], looks) if reference else spread.Logs(())


def _unpaired(first: spread.Logs, second: spread.Logs, *, pairs: int, looks: int) -> verdicts.Pair:
    """`looks`: at how many combinations of looks the two may have stopped, all of which share α."""
    if min(len(first.values), len(second.values)) < LEAST_BLOCKS:
        return verdicts.Pair()
    return verdicts.unpaired(first, second, alpha=verdicts.ALPHA / looks / pairs)


def _why(pair: verdicts.Pair) -> str:
    if pair.state:
        return pair.state
    if pair.low is None:
        return "too few usable blocks: run the standard preset longer"
    return "" if pair.verdict != "not decided" else _widened(pair)


def _widened(pair: verdicts.Pair) -> str:
    assert pair.low is not None and pair.high is not None
    return f"the interval is ±{math.expm1(math.log(pair.high / pair.low) / 2):.1%} wide"


def _refuse_quick(side: Side) -> None:
    if not side.looks:
        raise BadInput(
            f"session {side.session.identifier} was measured with preset {side.session.preset}, which states "
            "no verdicts: measure with --preset standard."
        )


def _is_recipe(text: str) -> bool:
    if Path(text.rpartition("@")[0] or text).exists():
        return False
    try:
        Recipe.parse(text)
    except BadInput:
        return False
    return not text.endswith((".sqlite", ".db"))


def _place(case: Case) -> str:
    weights = "" if case.network.weights == "random" else f" ({case.network.weights})"
    channels = "" if case.network.in_channels == RGB else f", {counted(case.network.in_channels, 'channel')}"
    return f"{case.network.name}{weights} {case.height_px}x{case.width_px}{channels}"
