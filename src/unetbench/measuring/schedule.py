"""Which case next, until all have a result. Starts workers through a function that it is given.

It imports no torch, knows no process and prints nothing: tests drive it with a fake worker and clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unetbench import levels, quiet
from unetbench.errors import TimeUp, WorkerLost
from unetbench.keys import digest
from unetbench.measuring import halving
from unetbench.measuring.block import measure
from unetbench.measuring.groups import Group, group_key, groups, offsets
from unetbench.measuring.launch import Worker
from unetbench.measuring.observer import Observer
from unetbench.measuring.paired import CanaryReader, PairedBlock
from unetbench.measuring.preparing import Preparing, refuse_full_disk
from unetbench.measuring.preset import Preset
from unetbench.measuring.race import Race
from unetbench.records import ROUNDS, Case, Failure, Measurement, Result, Session, Turn
from unetbench.stats import disturbed
from unetbench.store import Store

# Before a case of its kind has been timed: measured on 2 cores, import and build included.
_EXPECTED_S = {"torch_eager": 12.0, "torch_compile": 40.0}
_EXPECTED_OTHER_S = 30.0
_LIMIT_FACTOR, _LEAST_LIMIT_S = 10.0, 60.0  # of a block's worker, over what the block is expected to take
CUT = "in hand when a budget was over"  # a fact of the session: what was
CUT_TWICE = "not done when two budgets were over: --fresh or another store, with more time, tries again"
_POISON = 2  # runs that ended without a word, as by a crash of the machine, with the same case in hand


@dataclass(slots=True, kw_only=True)
class Sweep:
    """What a sweep needs: cases in order, where results go, and how a worker is started."""

    cases: Sequence[Case]
    store: Store
    session: Session
    preset: Preset
    images: Sequence[Path]
    work: Path
    cache: Path  # of artifacts, which outlast the run
    # With how long it may take to answer in all, where that is not the preset's.
    start_worker: Callable[[Case, float | None], Worker]
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    halving: bool = False  # the slower half of a group leaves at each rung
    memory_bytes: int = 1 << 62  # granted to all processes of a block
    _spent_s: dict[str, list[float]] = field(default_factory=dict)
    _null_turns: dict[int, list[Turn]] = field(default_factory=dict)  # of the session, by threads
    # Makes references and artifacts with this sweep's folders and workers.
    preparing: Preparing = field(init=False)

    def __post_init__(self) -> None:
        self.preparing = Preparing(
            work=self.work,
            cache=self.cache,
            images=self.images,
            checked_inputs=max(self.preset.checked_inputs, self.preset.block_inputs),
            start_worker=self.start_worker,
            on_phase=self.observer.phase,
            on_tick=self.observer.tick,
        )

    def run(self, deadline: float | None = None) -> bool:
        """Measure every case that has no result yet, in order; each is stored before it is reported.

        Return whether there was time for all.
        Raises: TimeUp where the time ended with a case in hand that may need more: the same command begins with it.
        """
        results = {result.key: result for result in self.results()}
        waiting = [case for case in self.cases if not has_result(results.get(case.key()))]
        done = len(self.cases) - len(waiting)
        for index, case in enumerate(waiting):
            if deadline is not None and self.clock() + self.expected_s(case) > deadline:
                return False
            self.observer.started(case, self._left_s(waiting[index:], deadline))
            start = self.clock()
            with self.store.in_hand(self.session.identifier, [case.key()]):
                result = self._run_case(
                    case, block=self.store.next_alone(self.session.identifier, case.key())
                )
            self._spent_s.setdefault(_kind(case), []).append(self.clock() - start)
            done += 1
            self.observer.finished(result, done, self._left_s(waiting[index + 1 :], deadline))
        return True

    def results(self) -> tuple[Result, ...]:
        """Return the results of the session so far, of its own cases under the names that these have now."""
        return asked(self.store.results(self.session.identifier), self.cases)

    def _left_s(self, waiting: Sequence[Case], deadline: float | None) -> float:
        """Return how long these are likely to take, where so much time is left."""
        needed = sum(map(self.expected_s, waiting))
        return needed if deadline is None else max(0.0, min(needed, deadline - self.clock()))

    def race(self, canary: CanaryReader, deadline: float | None) -> bool:
        """Make paired blocks of what has been measured alone; return whether all is settled, or the time was up before."""
        wanted = set(self.cases)
        known = self.results()
        results = {r.case: r for r in known if r.case in wanted}
        besides = sum(bool(r.blocks) for r in known if r.case not in wanted)
        threads = self.cases[0].threads
        # What an earlier run had beside them counts for the line on the canaries, as it does in a report.
        turned = {result.case: result.turns for result in known if result.case.threads == threads}
        racing = groups(results.values(), self.memory_bytes, self.preparing.checked_inputs)
        made_before = self.store.blocks(self.session.identifier)
        used = {block.number for block in made_before}.union(*(result.turns for result in known))
        race = Race(
            groups=racing,
            offsets=offsets(racing, made_before, used),
            round=1 + max((number % ROUNDS for number in used), default=0),
            preset=self.preset,
            turned=turned,
            alone=dict(results),
            deadline=deadline,
            clock=self.clock,
            seed=self.session.identifier,
            above=lambda: self._above(threads),
            besides=besides,
        )
        for case in (case for case, result in results.items() if result.failure is not None):
            race.lost(case)
        for group in racing if self.halving else ():
            for case in self._slower(race, group, results):
                race.lost(case)
        while step := race.next_group():
            group, number = step
            cases = race.staying(group)
            self.observer.started(cases[-1], race.left_s())
            start = self.clock()
            try:
                self.preparing.reference(cases[0])
            except WorkerLost as lost:
                refuse_full_disk(lost.message)
                race.given_up(group)  # what its cases did alone stays: this says nothing of them
                what = f"no blocks of {cases[0].network.name}: what its answers are compared with was lost"
                self.observer.after(f"{what} ({lost.kind}: {lost.message})", 0.0)
                continue
            outcomes = self._run_block(race, group, number, canary)
            made = any(not isinstance(outcome, Failure) for outcome in outcomes.values())
            if made:
                race.took(group, self.clock() - start)
            for case, outcome in outcomes.items():
                if isinstance(outcome, Failure):
                    race.lost(case)
                    results[case] = replace(results[case], failure=outcome)
                else:
                    turned[case][number] = outcome.turns
                    earlier = results[case]
                    results[case] = replace(earlier, measurements=(*earlier.measurements, outcome))
            for case in self._slower(race, group, results) if self.halving and made else ():
                race.lost(case)
            self.observer.block([results[case] for case in cases], number, race.left_s())
        return not race.cut_short

    def _slower(self, race: Race, group: Group, results: Mapping[Case, Result]) -> tuple[Case, ...]:
        """Return who leaves at the rung that a group has come to, if it has come to one."""
        if race.blocks(group) not in halving.RUNGS:
            return ()
        own = {case: race.blocks_of(group, case) for case in race.staying(group)}
        return halving.leaving(own, results)

    def _run_block(
        self, race: Race, group: Group, number: int, canary: CanaryReader
    ) -> dict[Case, Measurement | Failure]:
        # The group's name stays when some of its cases leave: after an interruption it goes on with its blocks.
        session, name, cases = self.session.identifier, group_key(group), race.staying(group)
        if self.store.interruptions(session).get(name, 0) >= _POISON:
            lost = WorkerLost("starting", "crashed", _poisoned("a block of it"))
            return {case: self._stored(case, lost, number) for case in cases}
        artifacts, lost_cases = self._artifacts(cases, (number - 1) % self.preset.builds)
        if lost_cases:
            return {case: self._stored(case, lost, number) for case, lost in lost_cases.items()}
        expected_s = race.expected_s(group)
        # Runs of half a minute have blocks longer than the limit of a process alone.
        limit_s = min(
            max(self.preset.case_limit_s, 2 * expected_s), max(_LEAST_LIMIT_S, _LIMIT_FACTOR * expected_s)
        )
        block = PairedBlock(
            cases=cases,
            group=name,
            number=number,
            seed=int(digest(("block", session, name, number)), 16) % (1 << 32),
            folder=self.preparing.reference(cases[0]),
            artifacts=artifacts,
            start_worker=lambda case: self.start_worker(case, limit_s),
            canary=canary,
            checked_inputs=1 if race.blocks(group) else self.preset.block_inputs,
            turns=self.preset.turns.fitted([race.alone_s(case) for case in cases]),
            earlier={case: [t for turns in race.turned[case].values() for t in turns] for case in cases},
            on_phase=self.observer.phase,
            on_tick=self.observer.tick,
            clock=self.clock,
        )
        with self.store.in_hand(session, [name]):
            shared, outcomes = block.run()
            for outcome in outcomes.values():
                if isinstance(outcome, Failure):
                    refuse_full_disk(outcome.message)
            self.store.append_block(session, shared, outcomes, block.logs)
        self._note_quiet_level(cases[0].threads, shared.null_turns)
        return outcomes

    def _artifacts(self, cases: Group, build: int) -> tuple[dict[Case, Path | None], dict[Case, WorkerLost]]:
        """Return what the cases' runtimes load, and those that could not be converted again."""
        found: dict[Case, Path | None] = {}
        lost_cases = {}
        for case in cases:
            try:
                found[case] = self.preparing.artifact(case, build)
            except WorkerLost as lost:
                refuse_full_disk(lost.message)
                lost_cases[case] = lost
        return found, lost_cases

    def _stored(self, case: Case, lost: WorkerLost, number: int) -> Failure:
        failure = _failure(lost)
        self.store.append(self.session.identifier, case, failure, block=number, log_tail=lost.log)
        return failure

    def _note_quiet_level(self, threads: int, turns: Sequence[Turn]) -> None:
        """Keep how quiet the session was for those to come; after each block, since a run may be killed."""
        session = self.session.identifier
        if threads not in self._null_turns:
            known = self.store.results(session)
            self._null_turns[threads] = levels.null_turns(self.store, self.session, known, threads)
        else:
            self._null_turns[threads].extend(turns)
        if now := quiet.level(self._null_turns[threads]):
            self.store.note(
                session, quiet.FACT, self.store.facts(session).get(quiet.FACT, {}) | {str(threads): now}
            )

    def _above(self, threads: int) -> quiet.Above | None:
        """How far above the level on record this session is; None where it is too far to state anything."""
        session = self.session
        known = levels.levels(self.store, session, self.store.results(session.identifier)).get(threads)
        return quiet.AT_RECORD if known is None else known.above

    def expected_s(self, case: Case) -> float:
        """Return how long a case is likely to take: the mean of those before it with its runtime."""
        spent = self._spent_s.get(_kind(case))
        return sum(spent) / len(spent) if spent else expected_s(case)

    def _run_case(self, case: Case, *, block: int) -> Result:
        outcome: Measurement | Failure
        log = ""
        try:
            self._refuse_poison(case)
            folder, artifact = self.preparing.reference(case), self.preparing.artifact(case)
            worker = self.start_worker(case, None)
            try:
                outcome = measure(
                    worker, case, folder, artifact, self.preset,
                    on_phase=self.observer.phase, on_tick=self.observer.tick,
                )  # fmt: skip
            finally:
                worker.end()
                log = worker.log_tail()
        except WorkerLost as lost:
            refuse_full_disk(lost.message)
            outcome, log = _failure(lost), log or lost.log
        except TimeUp as up:
            # Once it may have begun late; a third budget is spent on others.
            if not self.store.noted_before(self.session.identifier, CUT, case.key()):
                raise
            outcome = Failure(stage=up.stage, kind="timeout", message=CUT_TWICE)
        session = self.session.identifier
        self.store.append(session, case, outcome, block=block, log_tail=log)
        if isinstance(outcome, Failure):
            return Result(case=case, key=case.key(), session=session, failure=outcome)
        return Result(case=case, key=case.key(), session=session, measurements=(outcome,))

    def _refuse_poison(self, case: Case) -> None:
        """A case that took the whole run down with it twice is not tried a third time."""
        ended = self.store.interruptions(self.session.identifier).get(case.key(), 1) - 1  # this run's own
        if ended >= _POISON:
            raise WorkerLost("starting", "crashed", _poisoned("this case"))


def _failure(lost: WorkerLost) -> Failure:
    return Failure(stage=lost.stage, kind=lost.kind, message=lost.message)


def _poisoned(what: str) -> str:
    return f"{_POISON} runs were lost with {what} in hand; --fresh tries again"


def _kind(case: Case) -> str:
    """Cases that take about as long to prepare."""
    return ">".join(choice.name for choice in case.recipe.runtimes)


def expected_s(case: Case) -> float:
    """Return a first guess of a case's time, before any was measured."""
    return _EXPECTED_S.get(_kind(case), _EXPECTED_OTHER_S)


def asked(results: Iterable[Result], cases: Iterable[Case]) -> tuple[Result, ...]:
    """Return results with the cases as they are asked for: a checkpoint that is given by another path is the same."""
    own = {case.key(): case for case in cases}
    return tuple(replace(each, case=own.get(each.key, each.case)) for each in results)


def has_result(result: Result | None) -> bool:
    """Return whether a case is done: failed, or measured on a quiet machine."""
    if result is None:
        return False
    quiet = bool(result.alone) and not disturbed(result.alone[-1].waiting_share)
    return result.failed or quiet
