"""One block with fake workers: everything is stopped but one, turns are equal and shuffled, the lost leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fakes import FakeWorker
from tests.samples import case
from unetbench.errors import WorkerLost
from unetbench.measuring.paired import PairedBlock
from unetbench.measuring.preset import Turns
from unetbench.records import Block, Case, Failure, Measurement, Turn

CASES = (
    case(threads=1),
    case(recipe="torch_compile/fp32", threads=1),
    case(recipe="torch_compile/bf16", threads=1),
)


class FakeCanary:
    """Reads what it is told to, and checks that every process is stopped meanwhile."""

    def __init__(self, workers: dict[Case, FakeWorker], loud_share: float = 0.0) -> None:
        self.workers, self.loud_share, self.count, self.random = workers, loud_share, 0, Random(1)

    def read(self) -> tuple[int, int]:
        assert all(worker.paused or worker.ended for worker in self.workers.values())
        self.count += 1
        return (2000, 2000) if self.random.random() < self.loud_share else (1000, 1000)


class OneAtATime(FakeWorker):
    """A worker that fails the test when another one is running while it is timed."""

    others: dict[Case, FakeWorker]

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        if do in ("turn", "run"):
            running = [worker for worker in self.others.values() if not worker.paused and not worker.ended]
            assert running == [self]
        return super().ask(do, **arguments)


def _block(
    start: Callable[[Case], FakeWorker], canary: FakeCanary, *, turns: Turns | None = None, seed: int = 1
) -> PairedBlock:
    return PairedBlock(
        cases=CASES,
        group="g",
        number=3,
        seed=seed,
        folder=Path("nowhere"),
        artifacts=dict.fromkeys(CASES),
        start_worker=start,
        canary=canary,
        turns=turns or Turns(),
        earlier={},
        on_phase=lambda name: None,
        on_tick=lambda: None,
        clock=iter(range(10_000_000)).__next__,
    )


def _run(
    *, turns: Turns | None = None, loud_share: float = 0.0, seed: int = 1, **fails: tuple[str, Any, str]
) -> tuple[Block, dict[Case, Measurement | Failure], dict[Case, FakeWorker]]:
    workers: dict[Case, FakeWorker] = {}

    def start(started: Case) -> FakeWorker:
        worker = OneAtATime(fails=fails.get(started.recipe.runtime.name + "_" + started.recipe.precision))
        worker.others = workers
        workers[started] = worker
        return worker

    block = _block(start, FakeCanary(workers, loud_share), turns=turns, seed=seed)
    shared, outcomes = block.run()
    return shared, outcomes, workers


def test_every_case_has_as_many_turns_and_every_process_is_ended() -> None:
    shared, outcomes, workers = _run()
    measured = [outcomes[each] for each in CASES]
    assert all(isinstance(each, Measurement) for each in measured)
    counts = {len(each.turns) for each in measured if isinstance(each, Measurement)}
    assert counts == {len(shared.null_turns)} == {8}
    assert all(len(turn.run_ns) == 3 for each in measured for turn in each.turns)  # type: ignore[union-attr]
    assert all(each.block == shared.number == 3 for each in measured)  # type: ignore[union-attr]
    assert all(worker.ended for worker in workers.values())


def test_the_order_is_shuffled_by_the_seed_and_stored() -> None:
    def orders(seed: int) -> list[list[int]]:
        _, outcomes, _ = _run(seed=seed)
        return [[turn.order for turn in outcomes[each].turns] for each in CASES]  # type: ignore[union-attr]

    assert orders(1) == orders(1) != orders(2)
    first = orders(1)
    assert sorted(number for each in first for number in each) != list(range(len(first[0]) * 3))


def test_a_block_goes_on_until_each_case_has_enough_quiet_runs() -> None:
    _, outcomes, _ = _run(loud_share=0.3)
    for each in CASES:
        outcome = outcomes[each]
        assert isinstance(outcome, Measurement)
        quiet = [t for t in outcome.turns if {t.before_ns, t.after_ns} == {(1000, 1000)}]
        assert len(outcome.turns) > 8
        assert 3 * len(quiet) >= 15


def test_a_machine_that_is_never_quiet_ends_the_block_by_time() -> None:
    """Of this clock every reading is a second, and a turn reads it twice beside the canaries' own."""
    unending = Turns(case_limit_s=30.0, quiet_runs=10_000, at_most=10_000)
    shared, _, _ = _run(turns=unending)
    assert 8 <= len(shared.null_turns) <= 31
    longer, _, _ = _run(turns=replace(unending, case_limit_s=60.0))
    assert len(longer.null_turns) > len(shared.null_turns)
    most, _, _ = _run(turns=replace(unending, case_limit_s=1e9, at_most=13))
    assert len(most.null_turns) == 13


def test_the_quiet_level_is_that_of_the_session_not_of_the_block() -> None:
    """Turns of a block that is loud throughout are quiet by its own level alone."""
    unlimited = Turns(at_most=30, case_limit_s=1e9)
    quieter = Turn(order=0, before_ns=(500, 500), after_ns=(500, 500), run_ns=(1,) * 3)
    workers: dict[Case, FakeWorker] = {}

    def made(earlier: dict[Case, list[Turn]]) -> int:
        workers.clear()

        def start(started: Case) -> FakeWorker:
            workers[started] = FakeWorker()
            return workers[started]

        block = _block(start, FakeCanary(workers), turns=unlimited)
        block.earlier = earlier
        return len(block.run()[0].null_turns)

    assert made({}) == 8
    assert made({each: [quieter] * 30 for each in CASES}) == 30


def test_every_turn_is_warmed_up_as_the_protocol_says() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    workers: dict[Case, FakeWorker] = {}

    def start(started: Case) -> FakeWorker:
        workers[started] = FakeWorker(on_ask=lambda do, arguments: asked.append((do, arguments)))
        return workers[started]

    _block(start, FakeCanary(workers)).run()
    first = [arguments for do, arguments in asked if do == "run" and arguments["limit_ns"] > 0]
    turns = [arguments for do, arguments in asked if do == "turn"]
    assert [(each["at_least"], each["limit_ns"]) for each in first] == [(5, 2_000_000_000)] * 3
    assert {(each["warmup_ns"], each["runs"]) for each in turns} == {(50_000_000, 3)}


@pytest.mark.parametrize("stage", ["load", "run", "turn", "check", "memory"])
def test_a_case_that_is_lost_leaves_the_block_and_the_others_stay(stage: str) -> None:
    _, outcomes, workers = _run(torch_compile_bf16=(stage, "crashed", "SIGSEGV"))
    lost = outcomes[CASES[2]]
    assert isinstance(lost, Failure)
    assert lost.kind == "crashed"
    assert all(isinstance(outcomes[each], Measurement) for each in CASES[:2])
    assert all(worker.ended for worker in workers.values())


def test_where_all_are_lost_nothing_hangs() -> None:
    failed = ("load", "out of memory", "no memory")
    _, outcomes, _ = _run(torch_eager_fp32=failed, torch_compile_fp32=failed, torch_compile_bf16=failed)
    assert {type(each) for each in outcomes.values()} == {Failure}


def test_an_interruption_ends_every_process() -> None:
    workers: dict[Case, FakeWorker] = {}

    class Interrupting(FakeCanary):
        def read(self) -> tuple[int, int]:
            if self.count == 5:
                raise KeyboardInterrupt
            return super().read()

    def start(started: Case) -> FakeWorker:
        return workers.setdefault(started, FakeWorker())

    block = _block(start, Interrupting(workers))
    with pytest.raises(KeyboardInterrupt):
        block.run()
    assert all(worker.ended for worker in workers.values())


def test_a_worker_that_cannot_be_stopped_is_lost_not_timed_beside_the_others() -> None:
    class Unstoppable(FakeWorker):
        def pause(self) -> None:
            raise WorkerLost("turn", "crashed", "could not be stopped")

    workers: dict[Case, FakeWorker] = {}

    def start(started: Case) -> FakeWorker:
        kind = Unstoppable if started == CASES[1] else FakeWorker
        return workers.setdefault(started, kind())

    block = _block(start, FakeCanary(workers))
    _, outcomes = block.run()
    assert isinstance(outcomes[CASES[1]], Failure)
    assert isinstance(outcomes[CASES[0]], Measurement)
