"""What `advise` measures within a budget: successive halving over encoders, then over their recipes.

First every encoder under one recipe, alone; the better half of those that may meet the limit then under one recipe of
each runtime and precision; the best of these in paired blocks, with halving. What is chosen by is no part of
what is stated, and what was measured stays in the store: the same command goes on from there.
Source: Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from unetbench.measuring import halving, session
from unetbench.measuring.observer import Observer
from unetbench.measuring.preset import TUNE, Preset
from unetbench.measuring.schedule import has_result
from unetbench.quality import Quality
from unetbench.records import REFERENCE, Case, Machine, Recipe, Result
from unetbench.stats import disturbed, summary
from unetbench.store import reading
from unetbench.suite import Suite

ALONE = replace(TUNE, looks=(), block_inputs=1)  # the same session as the blocks that follow
_FIRST_SHARE, _SECOND_SHARE = 0.35, 0.75  # of the budget, at the end of the first two rungs
# Over the first recipe tried, in the published ablations: int8 with AMX, and exact forms. What is slower than so many times
# the limit cannot be made fast enough.
_MOST_GAIN, _MOST_EXACT_GAIN = 12.0, 2.0
_FINALISTS = 2  # networks in paired blocks: 8 blocks of one take minutes
# Which runtime tries an encoder first: the fastest in fp32 over eight networks in the published ablation.
_FIRST = ("openvino", "onnxruntime", "torch_compile", "mnn", "ncnn", "torch_eager")

Measure = Callable[[Sequence[Case], Preset, float], Sequence[Result]]  # within so many seconds


def search(
    wish: Search,
    plan: session.Plan,
    observer: Callable[..., Observer],
    budget_s: float,
    known: Mapping[Case, Result],
) -> tuple[Result, ...]:
    """Measure what a wish needs, each rung as the plan says, and return the results of the last one.

    What is `known` needs no process alone any more. Blocks are made anew: cases are compared within one session.
    Raises: as `session.run`.
    """

    ended = False

    def measure(cases: Sequence[Case], preset: Preset, seconds: float) -> Sequence[Result]:
        nonlocal ended
        there = [] if preset.looks else [known[case] for case in cases if case in known]
        missing = [case for case in cases if preset.looks or case not in known]
        last = ended = bool(preset.looks)
        rung = replace(
            plan, cases=missing, preset=preset, budget_s=seconds, halving=last, keeps_work=not last
        )
        return [*there, *(session.run(rung, observer) if missing else ())]

    found = wish.run(measure, budget_s)
    if not ended:  # there is nobody left for whom it was kept
        session.forget_work(plan.store)
    return found


def known_results(stores: Iterable[Path], here: Machine, images: str) -> dict[Case, Result]:
    """Return what stores hold of this machine, these versions and photographs (a digest) by processes alone.

    The latest of each case; what failed or was disturbed is tried again.

    Raises: StoreError for a store that is there and cannot be read.
    """
    found: dict[Case, Result] = {}
    for path in filter(Path.is_file, stores):
        with reading(path) as store:
            for each in store.sessions():
                as_here = each.machine.versions == here.versions and not each.machine.differs_from(here)
                if as_here and each.images == images:
                    results = store.results(each.identifier)
                    found |= {r.case: r for r in results if r.failure is None and has_result(r)}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to search, and what a better encoder is."""

    encoders: Sequence[str]
    recipes: Sequence[Recipe]
    axes: Suite  # the input, the classes and the weights
    threads: int
    quality: Callable[[str], Quality | None]  # by network
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None
    exact_only: bool = False

    def run(
        self, measure: Measure, budget_s: float, clock: Callable[[], float] = time.monotonic
    ) -> tuple[Result, ...]:
        """Measure within the budget and return the results of the last rung that had any."""
        began = clock()
        kinds = [
            each for each in one_of_each(self.recipes) if not self.exact_only or each.precision == "fp32"
        ]
        rungs: list[tuple[float, Preset, Callable[[Sequence[Result]], Sequence[Case]]]] = [
            (_FIRST_SHARE, ALONE, lambda _: self.cases(self.best_first(self.encoders), kinds[:1])),
            (_SECOND_SHARE, ALONE, lambda known: self.cases(self.better_half(known), kinds)),
            (1.0, TUNE, self.finalists),
        ]
        known: list[Result] = []
        for share, preset, choose in rungs:
            cases = choose(known)
            left_s = share * budget_s - (clock() - began)
            if cases and left_s > 0:
                known = list(measure(cases, preset, left_s)) or known
        return tuple(known)

    def cases(self, encoders: Sequence[str], recipes: Sequence[Recipe]) -> Sequence[Case]:
        """Return encoders × recipes, every encoder's first recipe before any second one."""
        if not encoders:
            return ()
        names = tuple(map(str, recipes))
        return replace(self.axes, encoders=tuple(encoders), recipes=names).cases(self.threads)

    def best_first(self, encoders: Iterable[str]) -> list[str]:
        """Return encoders by quality; one of unknown quality comes last."""
        return sorted(encoders, key=self._value, reverse=True)

    def _value(self, encoder: str) -> float:
        found = self.quality(f"{encoder}/{self.axes.decoders[0]}")
        return found.value if found else float("-inf")

    def better_half(self, results: Sequence[Result]) -> list[str]:
        """Return the encoders to go on with: of those that may come within the limit the half with the best quality."""
        limit_ms = (
            float("inf")
            if self.max_latency_ms is None
            else self.max_latency_ms * (_MOST_EXACT_GAIN if self.exact_only else _MOST_GAIN)
        )
        whole = [r for r in results if r.failure is None and r.alone]
        # A time that others disturbed says nothing; where all were, it is what there is.
        sure = [r for r in whole if not disturbed(r.alone[-1].waiting_share)] or whole
        times = {r.case.network.encoder: _median_ms(r) for r in sure}
        unknown = [r.case.network.encoder for r in whole if r.case.network.encoder not in times]
        near = [encoder for encoder, ms in times.items() if ms <= limit_ms]
        near = near or sorted(times, key=times.__getitem__)[:_FINALISTS]
        going = [*near, *unknown]
        return self.best_first(going)[: max(_FINALISTS, ceil(len(going) / 2))]

    def finalists(self, results: Sequence[Result]) -> list[Case]:
        """Return the cases that have paired blocks: of the best encoders within the limits, those that meet them."""
        whole = [r for r in results if r.failure is None and r.alone and r.case.recipe != REFERENCE]
        meeting = [r for r in whole if self._meets(r)]
        if meeting or self.max_latency_ms is None:
            encoders = self.best_first(dict.fromkeys(r.case.network.encoder for r in meeting or whole))
        else:  # the nearest: by how much it fails is what is asked
            encoders = list(dict.fromkeys(r.case.network.encoder for r in sorted(whole, key=_median_ms)))
        meeting = meeting or whole
        chosen = encoders[:_FINALISTS]
        return [r.case for r in meeting if r.case.network.encoder in chosen]

    def _meets(self, result: Result) -> bool:
        """Whether a case is within the limits by what it took alone; weights outside its files are no reason here."""
        measured = result.alone[-1]
        # One process alone says about how fast, and nothing where others disturbed it; blocks say more.
        about_ms = 0.0 if disturbed(measured.waiting_share) else _median_ms(result) / halving.CLOSE_ALONE
        held = [
            (about_ms, self.max_latency_ms),
            (max(measured.peak_load_bytes, measured.peak_run_bytes) / 1e6, self.max_memory_mb),
            ((measured.artifact_bytes or 0) / 1e6, self.max_size_mb),
        ]
        exact = not self.exact_only or result.parity.measured_class == "exact"
        return exact and all(limit is None or value <= limit for value, limit in held)


def one_of_each(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return one recipe of each runtime and precision, that with which encoders are tried first in front."""
    found: dict[tuple[str, str], Recipe] = {}
    for recipe in recipes:
        if recipe.decoder_runtime is None and recipe != REFERENCE and len(recipe.rewrites) > 1:
            found.setdefault((recipe.runtime.name, recipe.precision), recipe)
    for recipe in recipes:  # runtimes of which none has several rewrites
        if recipe.decoder_runtime is None:
            found.setdefault((recipe.runtime.name, recipe.precision), recipe)
    order = {name: place for place, name in enumerate(_FIRST)}
    return sorted(
        found.values(), key=lambda each: (each.precision != "fp32", order.get(each.runtime.name, len(order)))
    )


def _median_ms(result: Result) -> float:
    return summary(result.alone[-1].run_ns).median_ms
