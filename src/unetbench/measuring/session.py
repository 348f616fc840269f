"""One sitting: check what the machine grants, open the store, sweep the cases. Prints nothing."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unetbench import machine, parts, photos
from unetbench.errors import BadInput, TimeUp, WorkerLost
from unetbench.keys import digest
from unetbench.measuring import artifacts, breakdown, halving
from unetbench.measuring.launch import ProcessWorker
from unetbench.measuring.observer import Observer
from unetbench.measuring.preflight import Bf16, bf16, substituted
from unetbench.measuring.preset import Preset
from unetbench.measuring.schedule import Sweep, asked, has_result
from unetbench.records import Case, Result
from unetbench.store import Store, writing
from unetbench.store_file import WORK

_PROBE_LIMIT_S = 120.0
# What is in hand when a budget ends may go on for so long: expected times are not exact, and work would be lost.
_GRACE, _LEAST_GRACE_S = 0.05, 30.0
_ALONE, _BREAKDOWN = "cases", "breakdown"

StartWorker = Callable[..., ProcessWorker]  # (case or None, limit=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run: cases in order, where results go, and how."""

    cases: Sequence[Case]
    store: Path
    preset: Preset
    command: Sequence[str]
    images: Sequence[Path] = ()
    fresh: bool = False
    force: bool = False
    limit_s: float | None = None  # per case; the preset's where None
    # For everything, and a little more for what is in hand; a table cut short is still true.
    budget_s: float | None = None
    halving: bool = False  # a search: slow recipes leave early, only the fastest have all blocks
    keeps_work: bool = False  # weights and answers stay when all is done: more of the same networks follows
    breakdown: bool = False  # then the machine's limits, and where the time of the fastest goes


def run(
    plan: Plan, observer: Callable[[Sequence[Case], Sequence[Result], Bf16 | None], Observer]
) -> tuple[Result, ...]:
    """Run a plan's cases that have no result yet and return the results of all of them.

    `observer` is called once with the cases to run, the results that are there already, and the
    finding on bf16 where it matters.
    Raises: StoreError; BadInput where a runtime is not installed.
    """
    began = time.monotonic()
    images = plan.images or photos.default_photos()
    needed = {(choice.name, case.recipe.precision) for case in plan.cases for choice in case.recipe.runtimes}
    for name, precision in sorted(needed):
        installed(parts.find("runtime", name), precision)
    cache = artifacts.cache_folder()
    artifacts.prune(cache)
    with writing(plan.store) as store, _work_folder(plan.store) as work:
        session = store.open_session(
            machine.machine(),
            preset=plan.preset.name,
            images=photos.digest(images),
            command=list(plan.command),
            fresh=plan.fresh or _another_content(store, plan.cases),
        )
        preset = replace(plan.preset, case_limit_s=plan.limit_s or plan.preset.case_limit_s)
        start = worker_starter(work, preset.case_limit_s, _ends_at(began, plan.budget_s))
        cases, finding = _runnable(plan, store, session.identifier, start)
        known = {result.key: result for result in asked(store.results(session.identifier), cases)}
        done = [known[case.key()] for case in cases if has_result(known.get(case.key()))]
        watcher = observer(cases, done, finding)
        try:
            sweep = Sweep(
                cases=cases,
                store=store,
                session=session,
                preset=preset,
                images=images,
                work=work,
                cache=cache,
                start_worker=start,
                observer=watcher,
                memory_bytes=machine.granted_memory_bytes(),
                halving=plan.halving,
            )
            cut = _swept(sweep, plan, None if plan.budget_s is None else began + plan.budget_s)
            if cut and plan.budget_s is not None:
                watcher.after(_cut_short(cut, cases, store.results(session.identifier), plan), 0.0)
        finally:
            watcher.close()
        if not (cut or plan.keeps_work):
            forget_work(plan.store)
        wanted = {case.key() for case in (*plan.cases, *cases)}
        return tuple(result for result in store.results(session.identifier) if result.key in wanted)


def _another_content(store: Store, cases: Sequence[Case]) -> bool:
    """Whether a file that a case names (its checkpoint, its plans) is not what the latest session measured under its path.

    Results of both would stand in one table under one name, so that another session begins.
    """
    named = {network for network in {case.network for case in cases} if network.canonical() != network}
    sessions = store.sessions() if named else ()
    known = store.results(sessions[-1].identifier) if sessions else ()
    return any(each.case.network in named and each.case.key() != each.key for each in known)


def _swept(sweep: Sweep, plan: Plan, deadline: float | None) -> str:
    """Measure the cases alone, in paired blocks, and in sections, as planned; return which of these had not the time."""
    session, part = sweep.session.identifier, _ALONE
    try:
        if not sweep.run(deadline):
            return part
        if plan.halving:
            sweep.cases = _contenders(sweep.store, session, sweep.cases)
        part = "paired blocks"
        if plan.preset.looks and sweep.cases and not _race(sweep, deadline):
            return part
        part = _BREAKDOWN
        return part if plan.breakdown and not breakdown.measure(sweep, deadline) else ""
    except TimeUp:
        return part


def _cut_short(part: str, cases: Sequence[Case], results: Sequence[Result], plan: Plan) -> str:
    """Say what there was no time for."""
    known = {result.key: result for result in results}
    left = sum(not has_result(known.get(case.key())) for case in cases)
    said = f"{left} of {len(cases)} cases have no quiet result yet" if part == _ALONE else f"{part} cut short"
    if plan.breakdown and part != _BREAKDOWN:
        said += ", no breakdown"
    if plan.keeps_work:
        return f"the time for this step is over: {said}"
    without = " without --fresh" if plan.fresh else ""
    return f"the budget is over: {said}; the same command{without} goes on from here"


def _ends_at(began: float, budget_s: float | None) -> float:
    if budget_s is None:
        return math.inf
    return began + budget_s + max(_LEAST_GRACE_S, _GRACE * budget_s)


def _contenders(store: Store, session: int, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases that a search goes on with; who they are is noted once, so that it goes on with the same."""
    name = f"contenders {digest(tuple(case.key() for case in cases))}"
    noted = store.facts(session).get(name)
    if noted is None:
        wanted = set(cases)
        found = halving.contenders(r for r in asked(store.results(session), cases) if r.case in wanted)
        noted = [case.key() for case in found]
        store.note(session, name, noted)
    return tuple(case for case in cases if case.key() in set(noted))


def _race(sweep: Sweep, deadline: float | None) -> bool:
    """Make the paired blocks, with canaries on as many threads as the cases have."""
    from unetbench.measuring.canary import Canary

    canary = Canary(sweep.cases[0].threads)
    try:
        return sweep.race(canary, deadline)
    finally:
        canary.close()


def _runnable(
    plan: Plan, store: Store, session: int, start: StartWorker
) -> tuple[tuple[Case, ...], Bf16 | None]:
    """Return the cases to run on this machine, and what was found of bf16 where a recipe asks for it.

    What is found is kept in the store, and so is the reason of each case that is not run.
    """
    if all(case.recipe.precision != "bf16" for case in plan.cases):
        return tuple(plan.cases), None
    known = store.facts(session).get("bf16") or _probe(start, plan.cases[0])
    finding = bf16(machine.bf16_instructions(), known)
    store.note(session, "bf16", {"fp32_ms": finding.fp32_ms, "bf16_ms": finding.bf16_ms})
    cases, not_run = substituted(plan.cases, finding, force=plan.force)
    known = {result.key for result in store.results(session)}
    for case, failure in not_run:
        if case.key() not in known:
            store.append(session, case, failure)
    return cases, finding


def probed(scratch: Path) -> dict[str, Any]:
    """Time one convolution in fp32 and bf16, and one product in fp32 and int8, in a fresh process."""
    return _probe(worker_starter(scratch, _PROBE_LIMIT_S), None)


def _probe(start: StartWorker, case: Case | None) -> dict[str, Any]:
    worker = start(case)
    try:
        return worker.ask("probe", on_phase=lambda _: None)
    except (WorkerLost, TimeUp):
        return {}  # the instruction sets alone then decide
    finally:
        worker.end()


def worker_starter(scratch: Path, limit_s: float, ends_at: float = math.inf) -> StartWorker:
    """Return what starts a worker for a case, contained as all are, its temporary files in `scratch`.

    No worker is waited for beyond `ends_at`, by the monotonic clock.
    """
    memory_bytes = machine.granted_memory_bytes()

    def start(case: Case | None, limit: float | None = None) -> ProcessWorker:
        return ProcessWorker(
            threads=case.threads if case else machine.granted_cores(),
            memory_bytes=memory_bytes,
            limit_s=limit or limit_s,
            ends_at=ends_at,
            scratch=scratch,
            online=case is not None and case.network.weights == "pretrained",
            environment=_asked_for(case) if case else {},
        )

    return start


def _asked_for(case: Case) -> dict[str, str]:
    found: dict[str, str] = {}
    for choice in case.recipe.runtimes:
        found |= parts.environment(choice)
    return found


def forget_work(store: Path) -> None:
    """Remove the references that lie beside a store: weights, inputs and answers can be made again."""
    shutil.rmtree(_work_place(store), ignore_errors=True)


def _work_place(store: Path) -> Path:
    return store.with_name(store.name + WORK)


@contextmanager
def _work_folder(store: Path) -> Iterator[Path]:
    """The folder beside the store for references; what a killed run's workers left in it goes."""
    work = _work_place(store)
    work.mkdir(mode=0o700, exist_ok=True)
    for left in work.glob("worker-*"):
        shutil.rmtree(left, ignore_errors=True)
    yield work


def installed(part: parts.Part, precision: str | None = None) -> None:
    """Raise BadInput, with what to install, where a part's packages are not there; those to convert in a precision too."""
    lacking, what, extra = part.missing, "", part.name
    if not lacking and precision is not None:
        lacking = part.missing_for(precision)
        what, extra = f" for {precision}", ",".join(lacking)
    if lacking:
        raise BadInput(
            f"runtime {part.name} needs {', '.join(lacking)}{what}, which is not installed: "
            f"install it with `uv pip install unetbench[{extra}]`, or leave that recipe out."
        )
