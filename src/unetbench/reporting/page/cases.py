"""One case behind a row: its certificate, its runs over time, their histogram, the command that measures it again.

Many cases are many megabytes, and few are opened: they lie in the page deflated, a few dozen together. Long
series are thinned evenly; how much is said beside them.
"""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import ceil, isqrt
from typing import Any

from unetbench.arguments import parser
from unetbench.errors import UnetbenchError
from unetbench.records import Measurement, Result, Session, Turn
from unetbench.reporting.attribution import NOTHING, Limits
from unetbench.reporting.certificate import certificate
from unetbench.reporting.page import Source
from unetbench.reporting.row import Row
from unetbench.stats import NS_PER_MS

TOGETHER = 50  # cases of one deflated part: opening one inflates some 100 KB
MOST_POINTS = 400  # runs drawn of one case: more than there are pixels tell nothing
_MOST_BINS = 30
_ANY_SUITE = "benchmarks/unet_decoder"  # every axis of it is replaced, so any does


def deflated(sources: Sequence[Source]) -> list[str]:
    """Return the cases of all rows, in the rows' order, in parts of `TOGETHER`: base64 of deflated JSON."""
    details = [
        detail(result, row, each.report.session, each.report.limits)
        for each in sources
        for row, result in _with_results(each)
    ]
    parts = (details[at : at + TOGETHER] for at in range(0, len(details), TOGETHER))
    return [
        base64.b64encode(zlib.compress(json.dumps(part, separators=(",", ":")).encode())).decode()
        for part in parts
    ]


def detail(result: Result, row: Row, session: Session, limits: Limits = NOTHING) -> dict[str, Any]:
    """Return what a page shows of one case."""
    points, every = _thinned(list(_runs(result)))
    return {
        "certificate": list(certificate(result, row, session, limits)),
        "environment": _environment(session),
        "command": command(result, session),
        "points": points,
        "every": every,
        "bins": _bins(_timed_ms(result)),
    }


def command(result: Result, session: Session) -> str:
    """Return the command that measures a case again, under the conditions of its session."""
    case, given = result.case, _given(session.command)
    suite = given.get("suite")
    words = ["unetbench", "run", str(suite or _ANY_SUITE)]
    words += ["--network", case.network.name, "--recipe", str(case.recipe)]
    words += ["--size", f"{case.height_px}x{case.width_px}", "--batch", str(case.batch)]
    words += ["--classes", str(case.network.classes), "--threads", str(case.threads)]
    words += ["--channels", str(case.network.in_channels)]
    words += ["--preset", session.preset if session.preset in ("quick", "rigorous") else "standard"]
    words += ["--store", "again.sqlite"]
    if given.get("images"):
        words += ["--images", str(given["images"])]
    if given.get("timeout"):
        words += ["--timeout", str(given["timeout"])]
    if given.get("force"):
        words.append("--force")
    network = case.network
    beyond = [f"weights = {json.dumps(network.weights)}"] if network.weights != "random" else []
    beyond += [f"decoder_channels = {list(network.decoder_channels)}"] if network.decoder_channels else []
    # What no option says is in the suite, or is to be put into one.
    return shlex.join(words) + (
        "" if suite or not beyond else f"  # in a suite.toml with {', '.join(beyond)}"
    )


@cache
def _given(command: str) -> Mapping[str, Any]:
    """What a session was started with, by option; nothing where it was by a script of its own."""
    try:
        return vars(parser().parse_args(shlex.split(command)))
    except (UnetbenchError, SystemExit):
        return {}


def _with_results(each: Source) -> Iterator[tuple[Row, Result]]:
    results = {result.key: result for result in each.results}
    for row in each.report.rows:
        yield row, results[row.case]


def _environment(session: Session) -> list[tuple[str, str]]:
    machine = session.machine
    facts = [
        ("CPU", machine.cpu),
        ("instruction sets", " ".join(machine.instruction_sets)),
        ("cores granted", f"{machine.cores} of {machine.logical_cpus} CPUs"),
        ("memory", f"{machine.memory_bytes / (1 << 30):.0f} GiB"),
        ("kernel", machine.kernel),
        ("virtualisation", machine.virtualisation or "none seen"),
        ("governor", machine.governor or "not shown"),
        ("huge pages", machine.huge_pages or "not shown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in machine.versions)),
    ]
    if machine.environment:
        facts.append(("variables", ", ".join(f"{name}={value}" for name, value in machine.environment)))
    return [*facts, ("photographs", session.images)]


def _runs(result: Result) -> Iterator[tuple[float, str, int]]:
    """Give every run in the order in which it was made: milliseconds, kind, block (0: alone)."""
    for measurement in result.alone[-1:]:
        yield from _alone(measurement)
    for number, measurement in sorted(result.blocks.items()):
        for turn in measurement.turns:
            yield from _of_turn(turn, number)


def _alone(measurement: Measurement) -> Iterator[tuple[float, str, int]]:
    kinds = [("warm-up", measurement.warmup_ns)]
    kinds += [("disturbed, made again", runs) for runs in measurement.rejected_ns]
    for kind, runs in (*kinds, ("timed", measurement.run_ns)):
        yield from ((ns / NS_PER_MS, kind, 0) for ns in runs)


def _of_turn(turn: Turn, block: int) -> Iterator[tuple[float, str, int]]:
    yield from ((ns / NS_PER_MS, "timed", block) for ns in turn.run_ns)


def _timed_ms(result: Result) -> list[float]:
    """The runs that the row's time is from: of blocks where there are some."""
    runs = list(_runs(result))
    in_blocks = [ms for ms, _, block in runs if block]
    return in_blocks or [ms for ms, kind, _ in runs if kind == "timed"]


def _thinned(runs: Sequence[tuple[float, str, int]]) -> tuple[list[list[Any]], int]:
    """Return the runs with their place, every n-th where there are many, and n."""
    every = max(1, ceil(len(runs) / MOST_POINTS))
    numbered = enumerate(runs, 1)
    kept = [(at, *run) for at, run in numbered if (at - 1) % every == 0]
    return [[at, float(f"{ms:.5g}"), kind, block] for at, ms, kind, block in kept], every


def _bins(values_ms: Sequence[float]) -> list[list[float]]:
    """Return a histogram of all runs: low, high, count."""
    if not values_ms:
        return []
    low, high = min(values_ms), max(values_ms)
    number = min(_MOST_BINS, 2 + isqrt(len(values_ms))) if high > low else 1
    width = (high - low) / number or max(low * 0.01, 1e-6)  # all alike: one bin of 1 %
    counts = [0] * number
    for value in values_ms:
        counts[min(int((value - low) / width), len(counts) - 1)] += 1
    return [
        [float(f"{low + at * width:.6g}"), float(f"{low + (at + 1) * width:.6g}"), count]
        for at, count in enumerate(counts)
        if count
    ]
