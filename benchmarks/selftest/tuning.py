"""Is what `tune` finds the best, and how much of the exhaustive search's time does it take?

Every candidate of a network has all blocks; then the decisions of `tune` are made again from what was
measured: who has blocks after running alone, who leaves at each rung. The store is kept, so that the run goes on
where it was stopped. Encoders to choose: some that nothing here was tuned on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from figures import Figure, publish
from rich.console import Console

from unetbench import candidates, machine, verdicts
from unetbench.measuring import halving, session
from unetbench.measuring.preset import TUNE
from unetbench.records import MEASURED_CLASSES, REFERENCE, Case, Measurement, Result, Turn
from unetbench.reporting import live
from unetbench.samples import Sample, together
from unetbench.suite import Suite

_START_S = 0.5  # of a process, before it loads: no record of it is kept
_WORST = 0.02  # how far from the best what is found may be
_SHARE = 0.30  # of the exhaustive search's time
_AT_LEAST = {"exact": "exact", "near": "exact or near", "approximate": "of any class"}
Turned = dict[Case, dict[int, Sequence[Turn]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--precision", action="append", default=[])
    parser.add_argument(
        "--runtime", action="append", default=[], help="of the search; repeatable (default: all)"
    )
    parser.add_argument("--store", type=Path, default=Path("tuning.sqlite"))
    options = parser.parse_args()
    recipes = tuple(map(str, candidates.recipes(options.runtime, options.precision)))
    figures = []
    for encoder in options.encoders:
        suite = Suite(networks=(f"{encoder}/unet",), recipes=recipes, sizes=(options.size,))
        plan = session.Plan(
            cases=suite.cases(machine.granted_cores()), store=options.store, preset=TUNE, command=sys.argv
        )
        watch = partial(live.observer, console=Console(), write=print, title=f"{encoder}, exhaustively")
        results = {result.case: result for result in session.run(plan, watch)}
        figures += _judged(encoder, options.size, results)
    publish("17", "tune against the exhaustive search", figures)


def _judged(encoder: str, size: str, results: Mapping[Case, Result]) -> list[Figure]:
    # Where memory is short a network's cases are in several groups: their blocks of one round belong together.
    turned: Turned = {
        case: {place: result.turns[number] for place, number in Sample(result.turns).by_round().items()}
        for case, result in results.items()
        if result.blocks
    }
    last = max(max(blocks) for blocks in turned.values())
    whole = {case: blocks for case, blocks in turned.items() if max(blocks) == last}
    quiet_ms = {
        case: steady.median_ms
        for case, sample in together(whole).items()
        if (steady := verdicts.steady(sample, TUNE.looks)) is not None
    }
    finalists, seconds = _halved(results, whole)
    everything_s = sum(_block_s(results[case], number) for case in whole for number in whole[case])
    figures = [
        Figure(
            name=f"{encoder} at {size}: time of tune over that of the exhaustive search",
            value=f"{seconds / everything_s:.0%}", bar=f"≤ {_SHARE:.0%}", met=seconds <= _SHARE * everything_s,
            note=f"{len(whole)} recipes, {seconds / 60:.1f} of {everything_s / 60:.1f} min; converting, the same for both, left out",
        )
    ]  # fmt: skip
    classes = {
        case: results[case].alone[-1].parity.measured_class for case in quiet_ms if case.recipe != REFERENCE
    }
    for place, measured_class in enumerate(MEASURED_CLASSES):
        if measured_class not in classes.values():
            continue
        # Whoever takes a near form takes an exact one that is faster.
        of_class = [case for case in classes if classes[case] in MEASURED_CLASSES[: place + 1]]
        best = min(of_class, key=quiet_ms.__getitem__)
        found = min((case for case in of_class if case in finalists), key=quiet_ms.__getitem__)
        loss = quiet_ms[found] / quiet_ms[best] - 1
        figures.append(
            Figure(
                name=f"{encoder} at {size}, {_AT_LEAST[measured_class]}: what tune finds, over the best",
                value=f"{loss:+.1%}", bar=f"≤ {_WORST:.0%}", met=loss <= _WORST,
                note=f"{found.recipe} {quiet_ms[found]:.1f} ms of {len(of_class)}"
                + ("" if found == best else f"; the best: {best.recipe} {quiet_ms[best]:.1f} ms"),
            )
        )  # fmt: skip
    return figures


def _halved(results: Mapping[Case, Result], turned: Turned) -> tuple[set[Case], float]:
    """Return who is left at the end, and the seconds that the search takes."""
    staying = [case for case in halving.contenders(results[case] for case in turned) if case in turned]
    seconds = sum(_alone_s(results[case]) for case in turned)
    known: Turned = {case: {} for case in staying}
    for made, number in enumerate(sorted(set.intersection(*map(set, turned.values()))), start=1):
        for case in staying:
            known[case][number] = turned[case][number]
            seconds += _block_s(results[case], number)
        if made in halving.RUNGS:
            gone = halving.leaving({case: known[case] for case in staying}, results)
            staying = [case for case in staying if case not in gone]
    return set(staying), seconds


def _alone_s(result: Result) -> float:
    taken = result.alone[-1]
    loaded = taken.prepare_s if taken.load_s is None else taken.load_s
    ran_ns = sum(map(sum, (taken.warmup_ns, taken.run_ns, taken.bind_ns, taken.read_ns)))
    # Answers are checked again after the timed runs.
    checked_s = TUNE.checked_inputs * taken.run_ns[-1] / 1e9
    return _START_S + loaded + taken.first_run_s + ran_ns / 1e9 + checked_s


def _block_s(result: Result, place: int) -> float:
    taken: Measurement = result.blocks[Sample(result.turns).by_round()[place]]
    loaded = taken.prepare_s if taken.load_s is None else taken.load_s
    turns_s = sum(turn.ended_s - turn.started_s for turn in taken.turns)
    return _START_S + loaded + taken.first_run_s + sum(taken.warmup_ns) / 1e9 + turns_s


if __name__ == "__main__":
    main()
