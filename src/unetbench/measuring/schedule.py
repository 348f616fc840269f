"""Which case next, until all have a result. Starts workers through a function that it is given.

It imports no torch, knows no process and prints nothing: tests drive it with a fake worker and clock.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import msgspec

from unetbench.errors import StoreError, WorkerLost
from unetbench.keys import digest
from unetbench.measuring import reference
from unetbench.measuring.block import measure
from unetbench.measuring.launch import Worker
from unetbench.measuring.paired import CanaryReader, PairedBlock
from unetbench.measuring.preset import Preset
from unetbench.measuring.race import Race, Turned, groups
from unetbench.records import Case, Failure, Measurement, Result, Session
from unetbench.stats import disturbed
from unetbench.store import Store

# Before a case of its kind has been timed: measured on 2 cores, import and build included.
_EXPECTED_S = {"torch_eager": 12.0, "torch_compile": 40.0}
_EXPECTED_OTHER_S = 30.0
_POISON = 2  # runs that ended without a word, as by a crash of the machine, with the same case in hand
_DISK_FULL = "No space left on device"  # a trouble of the machine, no finding about the case


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

    def block(self, results: Sequence[Result], number: int, left_s: float) -> None:
        """A paired block of these cases is on the disk; the race goes on for so long, at most."""

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
    start_worker: Callable[[Case, Path | None], Worker]  # with the folder of its caches, kept where named
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    memory_bytes: int = 1 << 62  # granted to all processes of a block
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
            with self.store.in_hand(self.session.identifier, [case]):
                result = self._run_case(case, block=-len(earlier.alone) if earlier else 0)
            self._spent_s.setdefault(case.recipe.runtime.name, []).append(self.clock() - start)
            done += 1
            self.observer.finished(result, done, sum(map(self.expected_s, waiting[index + 1 :])))

    def race(self, canary: CanaryReader, deadline: float | None) -> bool:
        """Make paired blocks of what has been measured alone until all is settled or the time is up.

        Return whether all is settled or looked at for the last time.
        """
        wanted = set(self.cases)
        results = {r.case: r for r in self.store.results(self.session.identifier) if r.case in wanted}
        alone = dict(results)
        turned = {
            case: {number: m.turns for number, m in result.blocks.items()} for case, result in results.items()
        }
        race = Race(
            groups=groups(results.values(), self.memory_bytes),
            preset=self.preset,
            turned=turned,
            alone=alone,
            deadline=deadline,
            clock=self.clock,
            seed=self.session.identifier,
        )
        while step := race.next_group():
            cases, number = step
            self.observer.started(cases[-1], race.left_s())
            start = self.clock()
            outcomes = self._run_block(cases, number, turned, canary)
            race.took(cases, self.clock() - start)
            for case, outcome in outcomes.items():
                if isinstance(outcome, Failure):
                    race.lost(case)
                    results[case] = replace(results[case], failure=outcome)
                else:
                    turned[case][number] = outcome.turns
                    earlier = results[case]
                    results[case] = replace(earlier, measurements=(*earlier.measurements, outcome))
            self.observer.block([results[case] for case in cases], number, race.left_s())
        return not race.cut_short

    def _run_block(
        self, cases: Sequence[Case], number: int, turned: Turned, canary: CanaryReader
    ) -> dict[Case, Measurement | Failure]:
        session = self.session.identifier
        build = (number - 1) % self.preset.builds
        block = PairedBlock(
            cases=cases,
            number=number,
            seed=int(digest(("block", session, cases[0].network_key(), number)), 16) % (1 << 32),
            folder=self._reference(cases[0]),
            start_worker=lambda case: self.start_worker(case, self._caches(case, build)),
            canary=canary,
            turns=self.preset.turns,
            earlier={case: [t for turns in turned[case].values() for t in turns] for case in cases},
            on_phase=self.observer.phase,
            on_tick=self.observer.tick,
            clock=self.clock,
        )
        with self.store.in_hand(session, cases):
            shared, outcomes = block.run()
            self.store.append_block(session, shared, outcomes, block.logs)
        return outcomes

    def _caches(self, case: Case, build: int) -> Path | None:
        """Where what was compiled for a case stays for its blocks; nothing stays where there are none."""
        if not self.preset.looks:
            return None
        return self.work / case.network_key() / f"{case.key()}-{build}"

    def expected_s(self, case: Case) -> float:
        """Return how long a case is likely to take: the mean of those before it with its runtime."""
        spent = self._spent_s.get(case.recipe.runtime.name)
        return sum(spent) / len(spent) if spent else expected_s(case)

    def _run_case(self, case: Case, *, block: int) -> Result:
        outcome: Measurement | Failure
        log = ""
        try:
            self._refuse_poison(case)
            folder = self._reference(case)
            caches = self._caches(case, build=0)
            if caches is not None:
                shutil.rmtree(caches, ignore_errors=True)  # an earlier run's: cold is cold
            worker = self.start_worker(case, caches)
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
            if _DISK_FULL in lost.message:
                raise StoreError(
                    f"the disk is full ({lost.message}): what was shown is stored; make room, "
                    "then the same command goes on from there."
                ) from lost
            outcome = Failure(stage=lost.stage, kind=lost.kind, message=lost.message)
        session = self.session.identifier
        self.store.append(session, case, outcome, block=block, log_tail=log)
        if isinstance(outcome, Failure):
            return Result(case=case, key=case.key(), session=session, failure=outcome)
        return Result(case=case, key=case.key(), session=session, measurements=(outcome,))

    def _refuse_poison(self, case: Case) -> None:
        """A case that took the whole run down with it twice is not tried a third time."""
        ended = self.store.interruptions(self.session.identifier).get(case.key(), 1) - 1  # this run's own
        if ended >= _POISON:
            raise WorkerLost(
                "starting", "crashed", f"{ended} runs were lost with this case in hand; --fresh tries again"
            )

    def _reference(self, case: Case) -> Path:
        """Return the folder of the network's weights, inputs and answers, made in a process of its own."""
        folder = self.work / case.network_key()
        if reference.ready(folder):
            return folder
        worker = self.start_worker(case, None)
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
    quiet = bool(result.alone) and not disturbed(result.alone[-1].waiting_share)
    return result.failed or quiet
