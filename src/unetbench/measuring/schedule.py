"""Which case next, until all have a result. Starts workers through a function that it is given.

It imports no torch, knows no process and prints nothing: tests drive it with a fake worker and clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from unetbench.errors import WorkerLost
from unetbench.measuring import reference
from unetbench.measuring.block import Preset, measure
from unetbench.measuring.launch import Worker
from unetbench.records import Case, Failure, Measurement, Result, Session
from unetbench.stats import disturbed
from unetbench.store import Store

# Before a case of its kind has been timed: measured on 2 cores, import and build included.
_EXPECTED_S = {"torch_eager": 12.0, "torch_compile": 40.0}
_EXPECTED_OTHER_S = 30.0


class Observer(Protocol):
    """What watches a sweep: a display, or nothing."""

    def started(self, case: Case, left_s: float) -> None:
        """A case is in hand; so much time is expected for it and those after it."""

    def phase(self, name: str) -> None:
        """The case in hand has come to a phase: building, compiling, warming up, measuring."""

    def tick(self) -> None:
        """A second has passed; never called while a case is timed."""

    def finished(self, result: Result, done: int, left_s: float) -> None:
        """A result is on the disk; so much time is expected for the cases after it."""

    def close(self) -> None:
        """The sweep is over, or was interrupted."""


@dataclass(slots=True, kw_only=True)
class Sweep:
    """What a sweep needs: cases in order, where results go, and how a worker is started."""

    cases: Sequence[Case]
    store: Store
    session: Session
    preset: Preset
    images: Sequence[Path]
    work: Path
    start_worker: Callable[[Case], Worker]
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    _spent_s: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> None:
        """Measure every case that has no result yet, in order; each is stored before it is reported."""
        results = {result.key: result for result in self.store.results(self.session.identifier)}
        waiting = [case for case in self.cases if not has_result(results.get(case.key()))]
        done = len(self.cases) - len(waiting)
        for index, case in enumerate(waiting):
            self.observer.started(case, sum(map(self.expected_s, waiting[index:])))
            start = self.clock()
            earlier = results.get(case.key())
            result = self._run_case(case, block=len(earlier.measurements) if earlier else 0)
            self._spent_s.setdefault(case.recipe.runtime.name, []).append(self.clock() - start)
            done += 1
            self.observer.finished(result, done, sum(map(self.expected_s, waiting[index + 1 :])))

    def expected_s(self, case: Case) -> float:
        """Return how long a case is likely to take: the mean of those before it with its runtime."""
        spent = self._spent_s.get(case.recipe.runtime.name)
        return sum(spent) / len(spent) if spent else expected_s(case)

    def _run_case(self, case: Case, *, block: int) -> Result:
        outcome: Measurement | Failure
        log = ""
        try:
            folder = self._reference(case)
            worker = self.start_worker(case)
            try:
                outcome = measure(
                    worker,
                    case,
                    folder,
                    self.preset,
                    on_phase=self.observer.phase,
                    on_tick=self.observer.tick,
                )
            finally:
                worker.end()
                log = worker.log_tail()
        except WorkerLost as lost:
            outcome = Failure(stage=lost.stage, kind=lost.kind, message=lost.message)
        session = self.session.identifier
        self.store.append(session, case, outcome, block=block, log_tail=log)
        if isinstance(outcome, Failure):
            return Result(case=case, key=case.key(), session=session, failure=outcome)
        return Result(case=case, key=case.key(), session=session, measurements=(outcome,))

    def _reference(self, case: Case) -> Path:
        """Return the folder of the network's weights, inputs and answers, made in a process of its own."""
        folder = self.work / case.network_key()
        if reference.ready(folder):
            return folder
        worker = self.start_worker(case)
        try:
            worker.ask(
                "reference",
                on_phase=self.observer.phase,
                on_tick=self.observer.tick,
                case=msgspec.to_builtins(case),
                folder=str(folder),
                images=[str(path) for path in self.images],
                inputs=self.preset.checked_inputs,
            )
        finally:
            worker.end()
        return folder


def expected_s(case: Case) -> float:
    """Return a first guess of a case's time, before any was measured."""
    return _EXPECTED_S.get(case.recipe.runtime.name, _EXPECTED_OTHER_S)


def has_result(result: Result | None) -> bool:
    """Return whether a case is done: failed, or measured on a quiet machine."""
    if result is None:
        return False
    quiet = bool(result.measurements) and not disturbed(result.measurements[-1].waiting_share)
    return result.failed or quiet
