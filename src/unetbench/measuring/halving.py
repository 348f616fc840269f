"""Successive halving: which recipes of a network go on to more blocks, so that few have all of them.

Every candidate is measured alone; of each measured class the faster half takes turns in paired blocks, and
at each rung the faster half of those stays. The fastest exact form is found whatever int8 does; a less exact form that is
clearly slower than a more exact one is nobody's choice, and leaves. Verdicts among those that stay are valid: α is divided over all pairs that had a block.
Source: Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, exp, inf, log
from statistics import fmean, median

from unetbench.records import MEASURED_CLASSES, REFERENCE, Case, Result, Turn
from unetbench.stats import disturbed, summary

RUNGS = (1, 2, 4)  # blocks after which the slower half leaves
_LEAST = 2  # of a class stay, of those that are not outdone: a winner is one only beside another
CLOSE_ALONE = 1.10  # of the fastest: one process alone says no more on a shared machine
_CLOSE = 1.03  # in paired blocks
# Less exact and so many times as slow as a form more exact, alone and in paired blocks, is clearly slower.
_OUTDONE_ALONE, _OUTDONE = 1.25, 1.10


def contenders(results: Iterable[Result]) -> tuple[Case, ...]:
    """Return the cases that are worth blocks, by what they took alone, and every reference.

    A time that other processes disturbed says nothing: its case goes on. Where rewrites found nothing to do, two recipes
    are the same network in the same runtime: one of them goes on.
    """
    whole = _distinct([result for result in results if result.failure is None and result.alone])
    networks: dict[str, dict[str, dict[Case, float]]] = {}
    for result in whole:
        measured = result.alone[-1]
        if result.case.recipe != REFERENCE and not disturbed(measured.waiting_share):
            by_class = networks.setdefault(result.case.network_key(), {})
            times = by_class.setdefault(result.parity.measured_class, {})
            times[result.case] = summary(measured.run_ns).median_ms
    staying = {
        case for by_class in networks.values() for case in _staying(by_class, CLOSE_ALONE, _OUTDONE_ALONE)
    }
    staying |= {result.case for result in whole if disturbed(result.alone[-1].waiting_share)}
    return tuple(r.case for r in whole if r.case.recipe == REFERENCE or r.case in staying)


def _distinct(results: Sequence[Result]) -> list[Result]:
    """Leave out who computes the same as another with fewer rewrites."""
    first: dict[object, Case] = {}
    for result in sorted(results, key=lambda each: len(each.case.recipe.rewrites)):
        recipe, reports = result.case.recipe, result.alone[-1].rewrites
        done = recipe.rewrites
        if len(reports) == len(done):
            done = tuple(each for each, report in zip(done, reports, strict=True) if report.fired)
        first.setdefault(
            (result.case.network_key(), result.case.threads, recipe.runtimes, recipe.precision, done),
            result.case,
        )
    kept = set(first.values())
    return [result for result in results if result.case in kept]


def leaving(
    blocks: Mapping[Case, Mapping[int, Sequence[Turn]]], results: Mapping[Case, Result]
) -> tuple[Case, ...]:
    """Return who of a group has no more blocks after a rung, by the blocks of that group alone."""
    by_class: dict[str, dict[Case, float]] = {}
    for case, made in blocks.items():
        if case.recipe != REFERENCE and made and results[case].failure is None:
            measured_class = results[case].parity.measured_class
            by_class.setdefault(measured_class, {})[case] = _typical_ns(made)
    staying = _staying(by_class, _CLOSE, _OUTDONE)
    return tuple(case for times in by_class.values() for case in times if case not in staying)


def _staying(by_class: Mapping[str, Mapping[Case, float]], close: float, outdone: float) -> set[Case]:
    """Return who of one network stays: of each class the faster ones, unless a more exact form outdoes them."""
    staying: set[Case] = set()
    best = inf  # of the classes more exact
    for measured_class in MEASURED_CLASSES:
        times = by_class.get(measured_class, {})
        worth = {case: time for case, time in times.items() if time <= outdone * best}
        staying |= _faster(worth, close) if worth else set()
        best = min(best, *times.values()) if times else best
    return staying


def _faster(times: Mapping[Case, float], close: float) -> set[Case]:
    ordered = sorted(times, key=times.__getitem__)
    kept = max(_LEAST, ceil(len(ordered) / 2))
    best = times[ordered[0]]
    return {case for place, case in enumerate(ordered) if place < kept or times[case] <= close * best}


def _typical_ns(blocks: Mapping[int, Sequence[Turn]]) -> float:
    medians = [median([ns for turn in turns for ns in turn.run_ns]) for turns in blocks.values()]
    return exp(fmean(map(log, medians)))
