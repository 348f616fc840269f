"""What paired blocks say of the rows of one session: times, ranks, and each against the reference.

Ranks come from verdicts only: a row is behind those that are faster beyond doubt, and ties are ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from unetbench import verdicts
from unetbench.records import REFERENCE, Case, Result
from unetbench.samples import Sample


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


def standings(results: Sequence[Result], looks: verdicts.Looks) -> dict[str, Standing]:
    """Return by case key what blocks say; cases without usable blocks are not in it.

    Every pair of the table is stated, so α is divided by their number.
    """
    measured = [result for result in results if result.blocks and result.failure is None]
    samples = {
        result.key: Sample({number: m.turns for number, m in result.blocks.items()}) for result in measured
    }
    times = {key: verdicts.steady(sample, looks) for key, sample in samples.items()}
    keys = [key for key, time in times.items() if time is not None and not time.unsteady]
    stated = max(1, len(keys) * (len(keys) - 1) // 2)
    pairs = {
        (a, b): verdicts.pair(samples[a], samples[b], pairs=stated, looks=looks)
        for a, b in combinations(keys, 2)
    }
    cases = {result.key: result.case for result in measured}
    keys_of = {case: key for key, case in cases.items()}
    found = {}
    for key, time in times.items():
        if time is None:
            continue
        reference = keys_of.get(_reference(cases[key]))
        against = None
        if reference is not None and reference != key and key in keys and reference in keys:
            against = pairs.get((key, reference)) or swapped(pairs[reference, key])
        found[key] = Standing(steady=time, against_reference=against)
    return _ranked(found, pairs)


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


def _ranked(found: dict[str, Standing], pairs: dict[tuple[str, str], verdicts.Pair]) -> dict[str, Standing]:
    keys = {key for pair in pairs for key in pair} or set(found)
    ahead, behind = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    looked = {key for pair, said in pairs.items() if said.low is not None for key in pair}
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
