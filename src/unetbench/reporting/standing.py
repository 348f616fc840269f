"""What paired blocks say of the rows of one session: times, ranks, and each against the reference.

Ranks come from verdicts only: a row is behind those that are faster beyond doubt, and ties are ties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType

from unetbench import quiet as quietness
from unetbench import verdicts
from unetbench.levels import levels
from unetbench.records import REFERENCE, Case, Result, Session
from unetbench.samples import Sample, together
from unetbench.store import Store

Pairs = Mapping[tuple[str, str], verdicts.Pair]  # by the keys of both
Aboves = Mapping[int, quietness.Above | None]  # by threads: how far above the level on record; None: too far


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One case among the others of its session."""

    steady: verdicts.Steady
    best_rank: int | None = None  # None before the first look
    worst_rank: int | None = None
    against_reference: verdicts.Pair | None = None

    @property
    def rank(self) -> str:
        """The place, or the places that it may have: 3, or 2–4."""
        if self.best_rank is None:
            return ""
        same = self.best_rank == self.worst_rank
        return str(self.best_rank) if same else f"{self.best_rank}–{self.worst_rank}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """All cases of a session that have blocks, by key, and how many of the pairs are decided."""

    cases: Mapping[str, Standing]
    pairs: Pairs = field(default_factory=dict)
    stated: int = 0
    decided: int = 0

    def between(self, first: str, second: str) -> verdicts.Pair | None:
        """Return the second's time over the first's, by key; None where no blocks pair the two."""
        return _between(first, second, self.pairs)

    def told_apart(self, first: str, second: str) -> bool | None:
        """Return whether one of two cases, by key, is faster beyond doubt; None where no look at both says anything."""
        pair = self.between(first, second)
        return None if pair is None or pair.low is None else pair.verdict in ("faster", "slower")


NONE = Standings(cases={})


def standings(
    results: Sequence[Result], looks: verdicts.Looks, *, above: Aboves = MappingProxyType({})
) -> Standings:
    """Return what blocks say of one session's results; cases without usable blocks are not in it.

    Every pair of the table is stated, so α is divided by their number. Of cases that were measured too far above
    the level on record nothing is decided.
    """
    far = {result.key: above.get(result.case.threads, quietness.AT_RECORD) for result in results}
    samples = sampled(results, above)
    if not looks or not samples:
        return NONE
    steady = {key: verdicts.steady(sample, looks) for key, sample in samples.items()}
    times = {
        key: time if far[key] is not None else replace(time, low_ms=None, high_ms=None)
        for key, time in steady.items()
        if time is not None
    }
    compared = {key: samples[key] for key, time in times.items() if not time.unsteady}
    # All that had blocks count, those too that left early or gave no time: whoever is left was chosen among them.
    stated = verdicts.pairs_stated(sum(bool(result.blocks) for result in results))
    pairs = {
        key: pair if all(far[each] is not None for each in key) else too_loud(pair)
        for key, pair in _pairs(compared, stated, looks)
    }
    case_of = {result.key: result.case for result in results}
    key_of = {case_of[key]: key for key in times}
    found = {
        key: Standing(
            steady=time,
            against_reference=_between(key, key_of.get(_reference(case_of[key]), ""), pairs),
        )
        for key, time in times.items()
    }
    return Standings(
        cases=_ranked(found, pairs),
        pairs=pairs,
        stated=stated,
        decided=sum(pair.verdict != "not decided" for pair in pairs.values()),
    )


def sampled(results: Sequence[Result], above: Aboves) -> dict[str, Sample]:
    """Return by key the blocks of each result of one session that has a time.

    What failed later counts among those beside them as before: what a look has said stays said.
    """
    turned = [result for result in results if result.blocks]
    found: dict[str, Sample] = {}
    for threads in {result.case.threads for result in turned}:
        blocks = {result.key: result.turns for result in turned if result.case.threads == threads}
        found |= together(blocks, above.get(threads) or quietness.AT_RECORD)
    return {result.key: found[result.key] for result in turned if result.failure is None}


def _pairs(
    samples: Mapping[str, Sample], stated: int, looks: verdicts.Looks
) -> Iterator[tuple[tuple[str, str], verdicts.Pair]]:
    for a, b in combinations(samples, 2):
        yield (a, b), verdicts.pair(samples[a], samples[b], pairs=stated, looks=looks)


def too_loud(pair: verdicts.Pair) -> verdicts.Pair:
    """Return what is left of a pair that was measured too far above the level on record: no verdict, no interval."""
    return replace(pair, low=None, high=None, detectable=None, verdict="not decided", state="not quiet")


def _between(first: str, second: str, pairs: Pairs) -> verdicts.Pair | None:
    """The pair is there in one order or the other."""
    if (first, second) in pairs:
        return pairs[first, second]
    return swapped(pairs[second, first]) if (second, first) in pairs else None


def of_session(store: Store, session: Session, results: Sequence[Result]) -> tuple[Standings, Aboves]:
    """Return what a stored session's blocks say, and how far above the record they were made."""
    above = {threads: known.above for threads, known in levels(store, session, results).items()}
    return standings(results, verdicts.LOOKS_OF.get(session.preset, ()), above=above), above


def swapped(pair: verdicts.Pair) -> verdicts.Pair:
    """Return the same comparison told of the other case."""
    words: dict[verdicts.Word, verdicts.Word] = {"faster": "slower", "slower": "faster"}
    return replace(
        pair,
        ratio=_inverse(pair.ratio),
        low=_inverse(pair.high),
        high=_inverse(pair.low),
        ungated=_inverse(pair.ungated),
        verdict=words.get(pair.verdict, pair.verdict),
    )


def _ranked(found: dict[str, Standing], pairs: Pairs) -> dict[str, Standing]:
    keys = {key for pair in pairs for key in pair}  # those not looked at yet may be anywhere among them
    looked = {key for pair, said in pairs.items() if said.low is not None for key in pair}
    ahead, behind = dict.fromkeys(looked, 0), dict.fromkeys(looked, 0)
    for (a, b), said in pairs.items():
        faster, slower = (a, b) if said.verdict == "faster" else (b, a)
        if said.verdict in ("faster", "slower"):
            ahead[slower] += 1
            behind[faster] += 1
    return {
        key: replace(each, best_rank=1 + ahead[key], worst_rank=len(keys) - behind[key])
        if key in looked
        else each
        for key, each in found.items()
    }


def _reference(case: Case) -> Case:
    return replace(case, recipe=REFERENCE)


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1.0 / value
