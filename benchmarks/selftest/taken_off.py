"""What is taken off for neighbours: does a second session confirm it?

`uv run benchmarks/selftest/taken_off.py STORE …` reads the two latest sessions with paired blocks of each store, which are of
the same cases, and says by each way to the quiet level how far their ratios lie apart. The tables go into docs/measuring.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev

from figures import DOCS, write_between

from unetbench import adjusting
from unetbench.adjusting import Moments
from unetbench.records import ROUNDS, Result
from unetbench.reporting.standing import sampled
from unetbench.samples import LEAST_BLOCKS, Sample
from unetbench.store import reading
from unetbench.verdicts import look_at

_BEGIN, _END = "<!-- taken off: begin (benchmarks/selftest) -->", "<!-- taken off: end -->"


def main() -> None:
    lines = [line for path in map(Path, sys.argv[1:]) for line in _twice(path)]
    if not lines:
        raise SystemExit(
            "a store with two sessions of paired blocks is needed: run a suite with --budget twice"
        )
    print("\n".join(lines))
    write_between(DOCS / "measuring.md", _BEGIN, _END, lines)


_Estimates = dict[tuple[str, str], tuple[float, float]]  # of a pair: its log ratio and the standard error


def _twice(path: Path) -> Iterator[str]:
    """Which way to the quiet level gives the same ratios in a second session? By the two latest of a store."""
    with reading(path) as store:
        measured = [(session, store.results(session.identifier)) for session in store.sessions()]
    paired = [each for each in measured if any(result.blocks for result in each[1])]
    if len(paired) < 2 or paired[-1][0].machine.differs_from(paired[-2][0].machine):
        return
    sessions = [results for _, results in paired[-2:]]
    believed = adjusting._believed
    ways = {
        "none: all runs as they are": believed,
        "slopes of each case's own turns": lambda *_: 1.0,
        "slopes common to all cases": lambda *_: 0.0,
        "common, and its own as far as they are no noise (used)": believed,
    }
    yield "| what is taken off | standard error of a pair | difference of both sessions | over that of their errors |"
    yield "|---|---:|---:|---:|"
    for name, share in ways.items():
        adjusting._believed = share
        first, second = (_estimates(results, plain=name.startswith("none")) for results in sessions)
        adjusting._believed = believed
        both = [(first[key], second[key]) for key in first if key in second]
        apart = [a[0] - b[0] for a, b in both]
        expected = [math.hypot(a[1], b[1]) for a, b in both]
        errors = median(each[1] for told in both for each in told)
        yield (
            f"| {name} | {errors:.2%} | {_rms(apart):.2%} | "
            f"{_rms([d / e for d, e in zip(apart, expected, strict=True)]):.2f} |"
        )
    yield ""
    yield (
        f"{len(both)} pairs that both sessions measured, {path.parent.name}; root mean squares, the error by the median. "
        f"{_slopes_of(sessions)}"
    )
    yield ""


def _estimates(results: Sequence[Result], *, plain: bool) -> _Estimates:
    found = {}
    samples = sampled(results, {})
    values = {key: _values(sample, plain) for key, sample in samples.items()}
    for a, b in combinations(sorted(samples), 2):
        logs = [values[b][number] - values[a][number] for number in values[a].keys() & values[b].keys()]
        if len(logs) >= LEAST_BLOCKS:
            found[a, b] = fmean(logs), stdev(logs) / math.sqrt(len(logs))
    return found


def _values(sample: Sample, plain: bool) -> dict[int, float]:
    """The log time of each round, up to the last look; nothing where the tool would state none."""
    numbers = _looked_at(sample)
    seen = sample.seen(numbers)
    if seen is None:
        return {}
    adjusted = sample.adjusted(numbers, seen)
    of = seen.every_log if plain else adjusted.values if adjusted.known else {}
    return {number % ROUNDS: value for number, value in of.items()}


def _looked_at(sample: Sample) -> tuple[int, ...]:
    numbers = tuple(sample.by_round().values())
    return numbers[: look[0]] if (look := look_at(len(numbers))) else numbers


def _slopes_of(sessions: Sequence[Sequence[Result]]) -> str:
    """What the sessions' slopes are, and how far cases differ in them as both sessions agree on."""
    common, own = [], []
    for results in sessions:
        points = {}
        for key, sample in sampled(results, {}).items():
            numbers = _looked_at(sample)
            if seen := sample.seen(numbers):
                points[key] = sample.points(numbers, seen)
        alone = {key: adjusting.common([each]) for key, each in points.items()}
        every = adjusting.common(points.values())
        common.append(every.slopes(None) if every else (0.0, 0.0))
        own.append(
            {
                key: sum(each.moments.values(), Moments()).slopes(bounded=False)
                for key, each in alone.items()
                if each
            }
        )
    kernels = []
    for kernel in (0, 1):
        apart = [[own[k][key][kernel] - common[k][kernel] for key in own[0] if key in own[1]] for k in (0, 1)]
        alike = fmean(a * b for a, b in zip(*apart, strict=True))
        kernels.append(
            f"{common[0][kernel]:.2f}, then {common[1][kernel]:.2f} ({_rms(apart[0]):.2f} and {_rms(apart[1]):.2f} from case "
            f"to case, {math.sqrt(max(0.0, alike)):.2f} of it alike in both)"
        )
    return f"Slopes in cache {kernels[0]}; in memory {kernels[1]}."


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(fmean(value**2 for value in values))


if __name__ == "__main__":
    main()
