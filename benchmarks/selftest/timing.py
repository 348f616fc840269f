"""Proofs 4 and 5: what the harness adds to a time, and whether canaries find the disturbed turns."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from figures import Figure, publish
from trials import SHORT, Clock, blocks, from_here, load, per_ms, small_canary

from unetbench import quiet
from unetbench.measuring.canary import Canary
from unetbench.records import Turn

_LEAST_LOUD = 20  # disturbed turns: of fewer, a share says little


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200, help="for each length of bursts")
    parser.add_argument("--minutes", type=float, default=7.0, help="for each length of bursts, at most")
    options = parser.parse_args()
    from_here()
    publish("4", "what the harness adds to a time", _overhead())
    bursts = [figure for length in (0.05, 0.2, 2.0, 20.0) for figure in _bursts(length, options)]
    publish("5", "injected bursts on every core are found", bursts, seeds="0, 1, 2 …")


def _overhead() -> list[Figure]:
    canary = small_canary()
    figures = []
    for ms in (5, 20, 100):
        made = blocks({"spin": ("deadline", ms * 1e6)}, 4, canary=canary, seed=ms)
        runs = [ns for turns in made["spin"].values() for turn in turns for ns in turn.run_ns]
        added_us = (median(runs) - ms * 1e6) / 1e3
        figures.append(
            Figure(
                name=f"spin of {ms} ms: what is added to a run", value=f"{added_us:.1f} µs", bar="≤ 50 µs and 0.5 %",
                met=added_us <= 50 and added_us <= ms * 5, note=f"{len(runs)} runs",
            )
        )  # fmt: skip
    for kind in ("compute", "stream"):
        turns = replace(SHORT, runs=4, at_least=60, quiet_runs=1, warmup_ns=20_000_000)
        made = blocks({"work": (kind, per_ms(kind) * 5)}, 2, canary=canary, seed=1, turns=turns)
        taken = [turn for each in made["work"].values() for turn in each]
        first, fourth = (median(turn.run_ns[place] for turn in taken) for place in (0, 3))
        figures.append(
            Figure(
                name=f"{kind}: first run after a stop and a warm-up, over the fourth", value=f"{first / fourth:.4f}",
                bar="within 1 %", met=abs(first / fourth - 1) <= 0.01, note=f"{len(taken)} turns",
            )
        )  # fmt: skip
    canary.close()
    return figures


def _bursts(length_s: float, options: argparse.Namespace) -> list[Figure]:
    """Spin on both cores at once, at random times; a turn that overlaps a burst for a tenth of its time is loud.

    What is true is told by the turns that no burst touches, made among the others: a machine drifts.
    """
    canary = Canary(2)
    amount = per_ms("compute") * 5
    turns = replace(SHORT, warmup_ns=5_000_000, at_least=8, quiet_runs=1)
    clock = Clock(options.minutes * 60)
    taken: list[Turn] = []
    count = 0
    with ExitStack() as stack:
        # The same times for each core: work of one thread moves away from a burst that one core has.
        loads = [
            stack.enter_context(load(1, burst_s=length_s, pause_s=max(0.5, 2 * length_s))) for _ in range(2)
        ]
        while count < options.blocks and not clock.over:
            made = blocks({"work": ("compute", amount)}, 4, canary=canary, seed=count, turns=turns, threads=2)
            taken += [turn for each in made["work"].values() for turn in each]
            count += 4
        spans = [span for each in loads for span in each.bursts()]
    canary.close()
    level = quiet.level(taken)
    assert level is not None
    untouched = [turn for turn in taken if not _overlap(turn, spans)]
    # Blind to the gate. Neighbours of the machine's own disturb some, so that it is the middle of the faster half.
    truth = sorted(median(turn.run_ns) for turn in untouched)[len(untouched) // 4]
    loud = [
        turn
        for turn in taken
        if _overlap(turn, spans) > 0.1 * len(loads) and median(turn.run_ns) > 1.1 * truth
    ]
    found = sum(not quiet.is_quiet(turn, level) for turn in loud)
    bias = math.log(_median([turn for turn in taken if quiet.is_quiet(turn, level)]) / truth)
    name = f"bursts of {length_s:g} s"
    judged = length_s >= 0.2
    return [
        Figure(
            name=f"{name}: disturbed turns found", value=f"{found} of {len(loud)}",
            bar=f"≥ 95 % of {_LEAST_LOUD} or more" if judged else "told only",
            met=len(loud) >= _LEAST_LOUD and found >= 0.95 * len(loud) if judged else None,
            note=f"{count} blocks, {len(taken)} turns, {len(untouched)} of them touched by no burst",
        ),
        Figure(
            name=f"{name}: bias of the gated median", value=f"{bias:+.2%}", bar="≤ 0.5 %" if judged else "told only",
            met=abs(bias) <= 0.005 if judged else None, note=f"ungated {_median(taken) / truth - 1:+.1%}",
        ),
    ]  # fmt: skip


def _median(turns: Sequence[Turn]) -> float:
    return median(ns for turn in turns for ns in turn.run_ns) if turns else math.nan


def _overlap(turn: Turn, spans: list[tuple[float, float]]) -> float:
    length = turn.ended_s - turn.started_s
    inside = sum(max(0.0, min(turn.ended_s, end) - max(turn.started_s, start)) for start, end in spans)
    return inside / length if length else 0.0


if __name__ == "__main__":
    main()
