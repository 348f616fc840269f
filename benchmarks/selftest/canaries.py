"""The experiments behind the canaries: which kernel, how long, which gate, which estimator.

`uv run benchmarks/selftest/canaries.py [STORE …]` reads kernels between the turns of a process that copies
through memory, then judges gates and estimators by the turns that standard sessions of the stores have kept.
The tables go into docs/measuring.md.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from figures import DOCS, machine_named, write_between
from trials import case, from_here, per_ms

from unetbench import adjusting, quiet
from unetbench.measuring import block, canary
from unetbench.measuring.canary import Canary
from unetbench.measuring.launch import ProcessWorker
from unetbench.records import Result, Turn
from unetbench.samples import LEAST_BLOCKS, LEAST_RUNS, Sample, together
from unetbench.store import reading

_BEGIN, _END = "<!-- canaries: begin (benchmarks/selftest) -->", "<!-- canaries: end -->"
_FACTORS = (1.02, 1.05, 1.10, 1.20, 1.30, math.inf)
_TURNS = (6, 8, 10, 12, 16, 20)
_CASE_MS = 30.0  # of the process between whose turns kernels are read
Blocks = dict[int, list[Turn]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", type=Path, help="with standard sessions")
    parser.add_argument("--readings", type=int, default=150, help="of each kernel")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    from_here()
    lines = [*_kernels(options.readings, options.threads), ""]
    lines += [f"{datetime.now(UTC).date().isoformat()}, {machine_named()}.", ""]
    for store in options.stores:
        if pairs := list(_pairs(store)):
            lines += [
                *_gates(pairs),
                "",
                *_estimators(pairs),
                "",
                *_by_turns(pairs),
                "",
                *_correlations(pairs),
                "",
            ]
            lines.append(f"By the turns of {len(pairs)} pairs, {_where(store)}.")
    print("\n".join(lines))
    write_between(DOCS / "measuring.md", _BEGIN, _END, lines)


class _Outside(Canary):
    """The same kernels, timed by whoever waits for the threads."""

    def _slowest(self, kernel: Callable[[int], None]) -> int:
        times = []
        for _ in range(canary._TIMES):
            start = time.perf_counter_ns()
            for done in [self._pools[thread].submit(kernel, thread) for thread in self._threads]:
                done.result()
            times.append(time.perf_counter_ns() - start)
        return int(median(times))


class _Loose(_Outside):
    """And the threads on no CPU of their own."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._pools = [ThreadPoolExecutor(1) for _ in self._threads]


class _Hasty(Canary):
    """Without the discarded reading."""

    def read(self) -> canary.Reading:
        cache_ns = self._slowest(self._in_cache)
        return cache_ns, self._slowest(self._in_memory)


def _variants(threads: int) -> dict[str, Canary]:
    """Return the kernels tried; how much memory one passes through is set while it is made."""
    ours = canary._WINDOW_FLOATS
    made: dict[str, Canary] = {"threads unpinned, timed from outside": _Loose(threads)}
    made["threads pinned, timed from outside"] = _Outside(threads)
    for share, name in ((8, "an eighth of the memory"), (2, "half of the memory"), (1, "**as used**")):
        canary._WINDOW_FLOATS = ours // share
        made[f"pinned, timing themselves, {name}"] = Canary(threads)
    made["the same without the discarded reading"] = _Hasty(threads)
    return made


def _kernels(readings: int, threads: int) -> Iterator[str]:
    """Read each kernel alone and after a turn of a process that leaves the caches cold."""
    kernels = _variants(threads)
    alone: dict[str, list[canary.Reading]] = {name: [] for name in kernels}
    after: dict[str, list[canary.Reading]] = {name: [] for name in kernels}
    with TemporaryDirectory(prefix="unetbench-") as folder:
        worker = _copying(Path(folder))
        for _ in range(readings):
            for name, each in kernels.items():
                each.read()
                alone[name].append(each.read())
                worker.resume()
                worker.ask("turn", on_phase=lambda _: None, warmup_ns=1, runs=1)
                worker.pause()
                after[name].append(each.read())
        worker.end()
    yield "| kernel | in cache, ms | spread | in memory, ms | spread | after a case, over alone |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, each in kernels.items():
        columns = [[reading[kind] for reading in alone[name]] for kind in (0, 1)]
        raised = [median(reading[kind] for reading in after[name]) / median(columns[kind]) for kind in (0, 1)]
        told = (f"{median(of) / 1e6:.2f} | {_spread(of):.1%}" for of in columns)
        yield f"| {name} | {' | '.join(told)} | {raised[0]:.3f}, {raised[1]:.3f} |"
        each.close()
    yield ""
    yield f"{readings} readings of each in turn; spread: (90 % − 10 % quantile) over the median."


def _copying(folder: Path) -> ProcessWorker:
    work = {"copies": ("stream", per_ms("stream") * _CASE_MS)}
    (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
    worker = ProcessWorker(
        threads=1, memory_bytes=4 << 30, limit_s=600.0, scratch=folder, online=False, module="spin_worker"
    )
    block.tell_load(worker, case("copies"), folder, None)
    block.loaded(worker, case("copies"), on_phase=lambda _: None)
    worker.pause()
    return worker


def _where(path: Path) -> str:
    with reading(path) as store:
        session = store.sessions()[-1]
    return f"{session.started_utc.partition('T')[0]}, {session.machine.cpu}, {session.machine.cores} cores"


def _pairs(path: Path) -> Iterator[tuple[Blocks, Blocks]]:
    """Give each two cases of one network that had blocks together."""
    with reading(path) as store:
        for session in store.sessions():
            networks: dict[str, list[Result]] = {}
            for result in store.results(session.identifier):
                if len(result.blocks) >= LEAST_BLOCKS:
                    networks.setdefault(result.case.network_key(), []).append(result)
            for results in networks.values():
                for a, b in combinations(results, 2):
                    yield _turns(a), _turns(b)


def _turns(result: Result) -> Blocks:
    return {number: list(turns) for number, turns in result.turns.items()}


def _gates(pairs: list[tuple[Blocks, Blocks]]) -> Iterator[str]:
    yield "| gate | quiet turns | usable blocks | spread of a pair's blocks | half-width at 8 blocks |"
    yield "|---|---:|---:|---:|---:|"
    for factor in _FACTORS:
        shares, usable, spreads = [], [], []
        for pair in pairs:
            levels = [quiet.level(turn for turns in each.values() for turn in turns) for each in pair]
            logs = _log_ratios(pair, lambda turns, level, f=factor: _quiet_median(turns, level, f))
            shares += [
                fmean(quiet.is_quiet(turn, level, factor) for turns in each.values() for turn in turns)
                for each, level in zip(pair, levels, strict=True)
                if level is not None
            ]
            usable.append(len(logs) / len(pair[0].keys() & pair[1].keys()))
            spreads += [stdev(logs)] if len(logs) >= LEAST_BLOCKS else []
        name = "none" if math.isinf(factor) else f"{factor:.2f}{' (used)' if factor == quiet.FACTOR else ''}"
        typical = median(spreads) if spreads else float("nan")
        # 99 % and seven degrees of freedom: t is 3.5. Blocks that cannot be used are blocks that are not there.
        half = 3.5 * typical / math.sqrt(8 * fmean(usable)) if spreads else float("nan")
        told = f"{typical:.2%} | {half:.2%}" if spreads else "– | –"
        yield f"| {name} | {fmean(shares):.0%} | {fmean(usable):.0%} | {told} |"


def _estimators(pairs: list[tuple[Blocks, Blocks]]) -> Iterator[str]:
    estimators: dict[str, Callable[[list[Turn], quiet.Level], float | None]] = {
        "median of the quiet runs (used)": lambda turns, level: _quiet_median(turns, level, quiet.FACTOR),
        "mean of the quiet runs": lambda turns, level: _mean(quiet.quiet_runs(turns, level)),
        "20 % quantile of all runs": lambda turns, _: float(np.quantile(_runs(turns), 0.2)),
        "least of all runs": lambda turns, _: float(min(_runs(turns))),
        "median of all runs": lambda turns, _: float(median(_runs(turns))),
        "mean of all runs": lambda turns, _: fmean(_runs(turns)),
    }
    yield "| estimator of a block | spread of a pair's blocks |"
    yield "|---|---:|"
    for name, estimate in estimators.items():
        spreads = [stdev(logs) for pair in pairs if len(logs := _log_ratios(pair, estimate)) >= LEAST_BLOCKS]
        yield f"| {name} | {median(spreads):.2%} |" if spreads else f"| {name} | – |"


def _by_turns(pairs: list[tuple[Blocks, Blocks]]) -> Iterator[str]:
    """Would fewer turns a block, and more blocks in the same time, tell as much?"""
    yield "| turns of a block, the first | all runs: spread of a pair's blocks | brought to the quiet level |"
    yield "|---:|---:|---:|"
    for count in _TURNS:
        cut = [
            tuple({number: turns[:count] for number, turns in each.items()} for each in pair)
            for pair in pairs
        ]
        spreads: tuple[list[float], list[float]] = ([], [])
        for pair in cut:
            calm = [_at_quiet_level(sample) for sample in together(dict(enumerate(pair))).values()]
            common = sorted(calm[0].keys() & calm[1].keys())
            logs = (
                _log_ratios(pair, lambda turns, _: float(median(_runs(turns)))),
                [calm[1][number] - calm[0][number] for number in common],
            )
            for found, of in zip(spreads, logs, strict=True):
                found += [stdev(of)] if len(of) >= LEAST_BLOCKS else []
        told = (f"{median(found):.2%}" if found else "–" for found in spreads)
        yield f"| {count} | {' | '.join(told)} |"


def _at_quiet_level(sample: Sample) -> Mapping[int, float]:
    numbers = tuple(sample.by_round().values())
    seen = sample.seen(numbers)
    adjusted = sample.adjusted(numbers, seen) if seen else adjusting.NOTHING
    return adjusted.values if adjusted.known else {}


def _correlations(pairs: list[tuple[Blocks, Blocks]]) -> Iterator[str]:
    """How much of what slows a run does a canary feel? Over the turns of each case."""
    found: dict[str, list[float]] = {"in cache": [], "in memory": [], "the louder of all": []}
    for pair in pairs:
        for each in pair:
            turns = [turn for taken in each.values() for turn in taken if turn.run_ns]
            level = quiet.level(turns)
            times = [math.log(median(turn.run_ns)) for turn in turns]
            loud = [max(_over(turn, level)) for turn in turns]
            for name, of in zip(found, (*_kinds(turns), loud), strict=True):
                if np.std(of) and np.std(times):
                    found[name].append(float(np.corrcoef(of, times)[0, 1]))
    told = ", ".join(f"{name} {median(values):.2f}" for name, values in found.items() if values)
    yield f"Correlation of canaries (log) and run times (log), median over cases: {told}."


def _kinds(turns: list[Turn]) -> Iterator[list[float]]:
    for kind in (0, 1):
        yield [math.log(turn.before_ns[kind]) + math.log(turn.after_ns[kind]) for turn in turns]


def _over(turn: Turn, level: Any) -> list[float]:
    now = (*turn.before_ns, *turn.after_ns)
    return [math.log(a / b) for a, b in zip(now, level, strict=True)]


def _log_ratios(
    pair: tuple[Blocks, Blocks], estimate: Callable[[list[Turn], quiet.Level], float | None]
) -> list[float]:
    levels = [quiet.level(turn for turns in each.values() for turn in turns) for each in pair]
    logs = []
    for number in sorted(pair[0].keys() & pair[1].keys()):
        a, b = (estimate(each[number], level) for each, level in zip(pair, levels, strict=True) if level)
        if a and b:
            logs.append(math.log(b / a))
    return logs


def _quiet_median(turns: list[Turn], level: quiet.Level, factor: float) -> float | None:
    runs = quiet.quiet_runs(turns, level, factor)
    return float(median(runs)) if len(runs) >= LEAST_RUNS else None


def _mean(runs: list[int]) -> float | None:
    return fmean(runs) if len(runs) >= LEAST_RUNS else None


def _runs(turns: list[Turn]) -> list[int]:
    return [ns for turn in turns for ns in turn.run_ns]


def _spread(values: list[int]) -> float:
    low, high = np.quantile(values, (0.1, 0.9))
    return float((high - low) / median(values))


if __name__ == "__main__":
    main()
