"""One block: a fresh process for each case of a group, alive together, taking shuffled turns.

While one runs, all others are stopped; canaries are read while every one is. It knows the order of the
turns, not the process behind a worker; how long a block lasts depends on canaries, never on the cases' times.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unetbench import quiet, stats
from unetbench.errors import WorkerLost
from unetbench.measuring import block
from unetbench.measuring.launch import Worker
from unetbench.measuring.preset import Turns
from unetbench.records import ROUNDS, Block, Case, Failure, Measurement, Turn


class CanaryReader(Protocol):
    """What reads the canaries; the tests' own does not wait."""

    def read(self) -> tuple[int, int]:
        """Return the nanoseconds in cache and in memory."""


@dataclass(slots=True, kw_only=True)
class PairedBlock:
    """A block of a group's cases; `run` once."""

    cases: Sequence[Case]
    group: str  # its stored name
    number: int
    seed: int
    folder: Path  # of the reference
    artifacts: Mapping[Case, Path | None]
    start_worker: Callable[[Case], Worker]
    canary: CanaryReader
    turns: Turns
    checked_inputs: int = 1  # compared with fp64 when the turns are over
    earlier: Mapping[Case, Sequence[Turn]]  # of the session: what their quiet level is known from
    on_phase: Callable[[str], None]
    on_tick: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    logs: dict[Case, str] = field(default_factory=dict)
    _live: dict[Case, Worker] = field(default_factory=dict)
    _loaded: dict[Case, block.Loaded] = field(default_factory=dict)
    _taken: dict[Case, list[Turn]] = field(default_factory=dict)
    _null: list[Turn] = field(default_factory=list)
    _bound: dict[Case, list[dict[str, Any]]] = field(default_factory=dict)
    _failures: dict[Case, Failure] = field(default_factory=dict)
    _ready_s: list[float] = field(default_factory=list)

    def run(self) -> tuple[Block, dict[Case, Measurement | Failure]]:
        """Return what the cases share and each case's outcome; every process is ended."""
        try:
            self._start()
            self._take_turns()
            shares = [worker.pss_bytes() for worker in self._live.values()]
            outcomes = {case: self._finished(case) for case in list(self._live)}
        finally:
            for case, worker in self._live.items():
                self._end(case, worker)
        known = [share for share in shares if share is not None]
        shared = Block(
            group=self.group,
            number=self.number,
            seed=self.seed,
            null_turns=tuple(self._null),
            pss_bytes=sum(known) if len(known) == len(shares) else None,
            ready_s=tuple(self._ready_s),
        )
        return shared, {**outcomes, **self._failures}

    @property
    def _round(self) -> int:
        """What a block is called by: the offset of its group tells nobody anything."""
        return self.number % ROUNDS

    def _start(self) -> None:
        """Start all processes at once, then warm up one at a time with the others stopped."""
        self.on_phase(f"block {self._round}: starting {len(self.cases)} processes")
        began = self.clock()
        for case in self.cases:
            self._live[case] = self.start_worker(case)
            self._guarded(case, lambda case=case: self._tell_load(case))  # type: ignore[misc]
        for case in list(self._live):
            self._guarded(case, lambda case=case: self._load(case))  # type: ignore[misc]
        for case in list(self._live):
            self._guarded(case, lambda case=case: self._warm_up(case))  # type: ignore[misc]
            self._ready_s.append(self.clock() - began)

    def _tell_load(self, case: Case) -> None:
        block.tell_load(self._live[case], case, self.folder, self.artifacts[case])

    def _load(self, case: Case) -> None:
        worker = self._live[case]
        self._loaded[case] = block.loaded(worker, case, on_phase=self.on_phase, on_tick=self.on_tick)
        worker.pause()

    def _warm_up(self, case: Case) -> None:
        worker, turns = self._live[case], self.turns
        worker.resume()
        self._loaded[case].first_run(worker)
        warm = worker.ask(
            "run",
            on_phase=self.on_phase,
            at_least=turns.first_warmups,
            at_most=block.MANY_RUNS,
            limit_ns=turns.first_warmup_ns,
        )
        self._loaded[case].warmup_ns = tuple(warm["run_ns"])
        worker.pause()

    def _take_turns(self) -> None:
        self.on_phase(f"block {self._round}: taking turns")
        shuffle = random.Random(self.seed)
        spent_s = dict.fromkeys(self._live, 0.0)
        while self._live and not self._enough(spent_s):
            order: list[Case | None] = [*self._live, None]  # None is the null runtime's turn
            shuffle.shuffle(order)
            for case in order:
                start = self.clock()
                if case is None:
                    self._null.append(self._between(dict))
                    continue
                self._guarded(case, lambda case=case: self._turn(case))  # type: ignore[misc]
                if case in spent_s:
                    spent_s[case] += self.clock() - start

    def _turn(self, case: Case) -> None:
        worker = self._live[case]

        def taken() -> dict[str, Any]:
            worker.resume()
            answer = worker.ask(
                "turn", on_phase=self.on_phase, warmup_ns=self.turns.warmup_ns, runs=self.turns.runs
            )
            worker.pause()
            return answer

        self._taken.setdefault(case, []).append(self._between(taken, case))

    def _between(self, act: Callable[[], dict[str, Any]], case: Case | None = None) -> Turn:
        """Read the canaries around what is done, with every process stopped."""
        started_s = self.clock()
        before = self.canary.read()
        answer = act()
        after = self.canary.read()
        if case is not None:
            self._bound.setdefault(case, []).append(answer)
        return Turn(
            order=len(self._null) + sum(map(len, self._taken.values())),
            before_ns=before,
            after_ns=after,
            warmup_ns=tuple(answer.get("warmup_ns", ())),
            run_ns=tuple(answer.get("run_ns", ())),
            counters=stats.moved(answer.get("before", {}), answer.get("after", {})),
            started_s=started_s,
            ended_s=self.clock(),
        )

    def _enough(self, spent_s: Mapping[Case, float]) -> bool:
        counts = [len(self._taken.get(case, ())) for case in self._live]
        if min(counts) < self.turns.at_least:
            return False
        if min(counts) >= self.turns.at_most:
            return True
        if max(spent_s[case] for case in self._live) > self.turns.case_limit_s:
            return True
        return all(self._quiet_runs(case) >= self.turns.quiet_runs for case in self._live)

    def _quiet_runs(self, case: Case) -> int:
        now = self._taken.get(case, [])
        level = quiet.level([*self.earlier.get(case, ()), *now])
        return len(quiet.quiet_runs(now, level)) if level else 0

    def _finished(self, case: Case) -> Measurement | Failure:
        worker = self._live[case]
        worker.resume()
        try:
            return self._loaded[case].measurement(
                worker,
                timed=_joined(self._bound[case]),
                turns=tuple(self._taken[case]),
                number=self.number,
                inputs=self.checked_inputs,
                on_phase=self.on_phase,
            )
        except WorkerLost as lost:
            return Failure(stage=lost.stage, kind=lost.kind, message=lost.message)
        finally:
            with contextlib.suppress(WorkerLost):  # its turns are over: it is ended next
                worker.pause()

    def _guarded(self, case: Case, act: Callable[[], None]) -> None:
        """Do something with a case that is still there; one that is lost leaves the block, the others stay."""
        if case not in self._live:
            return
        try:
            act()
        except WorkerLost as lost:
            message = f"in block {self._round}: {lost.message}"
            self._failures[case] = Failure(stage=lost.stage, kind=lost.kind, message=message)
            self._end(case, self._live.pop(case))

    def _end(self, case: Case, worker: Worker) -> None:
        worker.end()
        self.logs[case] = worker.log_tail()


def _joined(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All turns of a case as one: samples in order, counters of the first and the last."""
    joined: dict[str, Any] = {
        name: [ns for answer in answers for ns in answer[name]] for name in ("run_ns", "bind_ns", "read_ns")
    }
    joined["cpu_ns"] = sum(answer["cpu_ns"] for answer in answers)
    joined["before"], joined["after"] = answers[0]["before"], answers[-1]["after"]
    return joined
