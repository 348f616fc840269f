"""After a sweep: the machine's limits, and where the time of each network's fastest recipes goes.

What is found is a fact of the session, kept as soon as it is there: the same command goes on from it. A failure
is kept in its place. It starts workers through the sweep and times nothing itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import median
from typing import Any

import msgspec

from unetbench.errors import TimeUp, WorkerLost
from unetbench.measuring.preparing import refuse_full_disk
from unetbench.measuring.schedule import CUT, CUT_TWICE, Sweep
from unetbench.records import (
    LIMITS_FACT,
    MEASURED_CLASSES,
    Breakdown,
    Case,
    Failure,
    MachineLimits,
    Result,
    Section,
    breakdown_fact,
)
from unetbench.stats import disturbed

_EXPECTED_S = 60.0  # of a network's sections: what converters take
_EXPECTED_LIMITS_S = 120.0
_LOST = 2  # runs that ended without a word with the same one in hand


def measure(sweep: Sweep, deadline: float | None) -> bool:
    """Measure what is not known yet; return whether there was time for all."""
    session = sweep.session.identifier
    wanted = set(sweep.cases)
    cases = worth([result for result in sweep.results() if result.case in wanted])
    facts = sweep.store.facts(session)
    known = facts.get(LIMITS_FACT, {})
    by_threads = {case.threads: case for case in cases if str(case.threads) not in known}
    waiting = [case for case in cases if breakdown_fact(case.key()) not in facts]
    if not cases:
        sweep.observer.after("no breakdown: no case has a result that is right and was left in peace", 0.0)
    left_s = _EXPECTED_LIMITS_S * len(by_threads) + _EXPECTED_S * len(waiting)
    for case in [*by_threads.values(), *waiting]:
        limits = by_threads.pop(case.threads, None) is not None
        expected_s = _EXPECTED_LIMITS_S if limits else _EXPECTED_S
        if deadline is not None and sweep.clock() + expected_s > deadline:
            return False
        sweep.observer.after(
            "the machine's limits" if limits else f"where the time of {case.name} goes", left_s
        )
        left_s -= expected_s
        if limits:
            found = _kept(sweep, LIMITS_FACT, lambda case=case: _limits(sweep, case))  # type: ignore[misc]
            known = known | {str(case.threads): found}
            sweep.store.note(session, LIMITS_FACT, known)
            continue
        name = breakdown_fact(case.key())
        found = _kept(sweep, name, lambda case=case: _broken_down(sweep, case))  # type: ignore[misc]
        sweep.store.note(session, name, found)
    return True


def worth(results: Iterable[Result]) -> tuple[Case, ...]:
    """Return of each network and input the cases that are fastest: of all, of exact and near ones, of exact ones."""
    fastest: dict[tuple[str, int, int], tuple[float, Case]] = {}
    for result in results:
        if result.failure is not None or not result.alone:
            continue
        if not result.blocks and disturbed(result.alone[-1].waiting_share):
            continue  # its time is of nothing else
        found = (_typical_ns(result), result.case)
        for least in range(MEASURED_CLASSES.index(result.parity.measured_class), len(MEASURED_CLASSES)):
            place = (result.case.network_key(), result.case.threads, least)
            fastest[place] = min(fastest.get(place, found), found, key=lambda each: each[0])
    return tuple(dict.fromkeys(case for _, case in fastest.values()))


def _typical_ns(result: Result) -> float:
    """By its paired blocks where it has some, else by the process that ran alone."""
    if result.blocks:
        return median([median(each.run_ns) for each in result.blocks.values()])
    return median(result.alone[-1].run_ns)


def _kept(sweep: Sweep, name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is found, or the failure in its place."""
    session = sweep.session.identifier
    if sweep.store.interruptions(session).get(name, 0) >= _LOST:
        message = f"{_LOST} runs were lost with it in hand; --fresh tries again"
        return {"failure": msgspec.to_builtins(Failure(stage="starting", kind="crashed", message=message))}
    try:
        with sweep.store.in_hand(session, [name]):
            return find()
    except WorkerLost as lost:
        refuse_full_disk(lost.message)
        failure = Failure(stage=lost.stage, kind=lost.kind, message=lost.message)
    except TimeUp as up:
        if not sweep.store.noted_before(session, CUT, name):
            raise
        failure = Failure(stage=up.stage, kind="timeout", message=CUT_TWICE)
    return {"failure": msgspec.to_builtins(failure)}


def _limits(sweep: Sweep, case: Case) -> dict[str, Any]:
    """Ask once more without the runtimes' kernels where one of them took the process with it."""
    failed = {}
    try:
        found = _asked(sweep, case, "limits", threads=case.threads, runtimes=True)
    except WorkerLost as lost:
        refuse_full_disk(lost.message)
        failed = {"convolutions of runtimes": lost.message}
        found = _asked(sweep, case, "limits", threads=case.threads, runtimes=False)
    limits = msgspec.convert(found, MachineLimits)
    return {"found": msgspec.to_builtins(replace(limits, failed={**limits.failed, **failed}))}


def _broken_down(sweep: Sweep, case: Case) -> dict[str, Any]:
    folder, artifact = sweep.preparing.reference(case), sweep.preparing.artifact(case)
    to = sweep.work / f"sections-{case.key()}"
    shutil.rmtree(to, ignore_errors=True)  # what a killed run left
    to.mkdir(mode=0o700)
    place = {"case": msgspec.to_builtins(case), "folder": str(folder), "to": str(to)}
    try:
        cut = _asked(sweep, case, "cut", **place)
        converted = None if artifact is None else str(artifact)
        times = _asked(sweep, case, "time_sections", **place, artifact=converted, within=cut["within"])
    finally:
        shutil.rmtree(to, ignore_errors=True)
    sections = [
        Section(**section, run_ns=tuple(ns))
        for section, ns in zip(cut["sections"], times["sections_ns"], strict=True)
    ]
    found = Breakdown(
        precision=case.recipe.precision,
        threads=case.threads,
        whole_ns=tuple(times["whole_ns"]),
        sections=tuple(sections),
        by=times["by"],
        counters_before=times["before"],
        counters_after=times["after"],
    )
    return {"found": msgspec.to_builtins(found)}


def _asked(sweep: Sweep, case: Case, do: str, /, **arguments: Any) -> dict[str, Any]:
    """Ask a fresh worker for one thing."""
    worker = sweep.start_worker(case, None)
    try:
        return worker.ask(do, on_phase=sweep.observer.phase, **arguments)
    finally:
        worker.end()
