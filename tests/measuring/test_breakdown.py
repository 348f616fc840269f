"""After a sweep: limits once, the fastest recipes cut into sections, failures kept, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeWorker
from tests.measuring.test_schedule import Watcher, folder_ready  # noqa: F401
from tests.samples import case, machine, measurement, parity
from unetbench.errors import WorkerLost
from unetbench.measuring import breakdown
from unetbench.measuring.preset import QUICK
from unetbench.measuring.schedule import Sweep
from unetbench.records import Case, Failure, Result
from unetbench.reporting.attribution import Limits, of_session
from unetbench.store import Store, reading, writing

EXACT, NEAR, SLOW = (
    case("resnet18", recipe, threads=1)
    for recipe in ("onnxruntime/fp32", "mnn/fp32+fold_head", "torch_eager/fp32")
)
OTHER = case("resnet34", "torch_eager/fp32", threads=1)
TIMES = {EXACT: 60.0, NEAR: 50.0, SLOW: 200.0, OTHER: 300.0}


def _outcome(of: Case, **changes: Any) -> Any:
    found = parity(measured_class="near") if of == NEAR else parity()
    return measurement(TIMES[of], parity=found, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with writing(tmp_path / "results.sqlite") as made:
        session = made.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        for each in TIMES:
            made.append(session.identifier, each, _outcome(each))
        yield made


def _measure(
    store: Store, start: Callable[[Case], Any], *, deadline: float | None = None
) -> tuple[bool, Limits, Watcher]:
    watcher = Watcher(store.path)
    sweep = Sweep(
        cases=tuple(TIMES),
        store=store,
        session=store.sessions()[-1],
        preset=QUICK,
        images=(),
        work=store.path.parent,
        cache=store.path.parent / "cache",
        start_worker=lambda each, _limit: start(each),
        observer=watcher,
        clock=lambda: 0.0,
    )
    whole = breakdown.measure(sweep, deadline)
    with reading(store.path) as written:
        return whole, of_session(written, sweep.session.identifier), watcher


def test_where_a_runtimes_kernel_ends_the_process_the_other_limits_are_still_found(
    store: Store,
    folder_ready: None,  # noqa: F811
) -> None:
    def start(of: Case) -> FakeWorker:
        def ask(do: str, arguments: dict[str, Any]) -> None:
            if do == "limits" and arguments["runtimes"]:
                raise WorkerLost("limits", "crashed", "killed by SIGSEGV")

        return FakeWorker(on_ask=ask)

    _, found, _ = _measure(store, start)
    (limits,) = found.machine.values()
    assert limits.kernels
    assert limits.failed["convolutions of runtimes"] == "killed by SIGSEGV"


def test_the_fastest_of_each_class_of_each_network_is_worth_it() -> None:
    results = [Result(case=each, session=1, measurements=(_outcome(each),)) for each in TIMES]
    assert set(breakdown.worth(results)) == {NEAR, EXACT, OTHER}
    int8 = case("resnet18", "openvino/int8", threads=1)
    rough = measurement(20.0, parity=parity(measured_class="approximate"))
    among = [*results, Result(case=int8, session=1, measurements=(rough,))]
    assert set(breakdown.worth(among)) == {int8, NEAR, EXACT, OTHER}, (
        "what int8 outruns is still the best of its own"
    )
    failed = Failure(stage="run", kind="crashed", message="x")
    results[1] = Result(case=NEAR, session=1, failure=failed)
    results[0] = Result(case=EXACT, session=1, measurements=(_outcome(EXACT, waiting_share=0.5),))
    assert set(breakdown.worth(results)) == {SLOW, OTHER}, "neither failures nor what was disturbed"


def test_limits_and_parts_are_facts_and_the_same_command_does_nothing_twice(
    store: Store,
    folder_ready: None,  # noqa: F811
) -> None:
    workers: list[FakeWorker] = []

    def start(_: Case) -> FakeWorker:
        workers.append(FakeWorker())
        return workers[-1]

    whole, found, watcher = _measure(store, start)
    assert whole
    assert set(found.breakdowns) == {NEAR.key(), EXACT.key(), OTHER.key()}
    assert found.machine[1].kernels[0].run_ns == (1, 2, 3)
    assert [section.run_ns for section in found.breakdowns[NEAR.key()].sections] == [(60,), (50,)]
    assert {each.by for each in found.breakdowns.values()} == {"counters"}
    assert [worker.asked for worker in workers].count(["limits"]) == 1
    assert all(worker.ended for worker in workers)
    assert watcher.told[0] == "the machine's limits"
    goes = [f"where the time of {each.name} goes" for each in (NEAR, EXACT, OTHER)]
    assert sorted(line for line in watcher.told if line.startswith("where")) == sorted(goes)
    assert watcher.left_s == sorted(watcher.left_s, reverse=True)
    assert not list(store.path.parent.glob("sections-*")), "the sections go when they are timed"

    before = len(workers)
    _measure(store, start)
    assert len(workers) == before


def test_where_no_case_is_worth_it_the_run_says_so(tmp_path: Path) -> None:
    with writing(tmp_path / "results.sqlite") as made:
        session = made.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        made.append(session.identifier, SLOW, _outcome(SLOW, waiting_share=0.5))
        whole, _, watcher = _measure(made, lambda _: FakeWorker())
    assert whole
    (line,) = watcher.told
    assert line.startswith("no breakdown: ")


def test_a_failure_is_kept_in_its_place_and_the_others_go_on(
    store: Store,
    folder_ready: None,  # noqa: F811
) -> None:
    def start(each: Case) -> FakeWorker:
        return FakeWorker(fails=("cut", "unsupported", "operator aten::x") if each == NEAR else None)

    _, found, _ = _measure(store, start)
    assert set(found.breakdowns) == {EXACT.key(), OTHER.key()}
    assert found.failures[NEAR.key()].message == "operator aten::x"


def test_limits_that_fail_do_not_stop_the_parts(store: Store, folder_ready: None) -> None:  # noqa: F811
    _, found, _ = _measure(store, lambda _: FakeWorker(fails=("limits", "timeout", "no answer")))
    assert not found.machine
    assert found.failures["limits 1"].kind == "timeout"
    assert len(found.breakdowns) == 3
    attributed = found.attribution(EXACT.key())
    assert attributed is not None
    assert attributed.limit_ms is None


def test_a_budget_is_kept(store: Store, folder_ready: None) -> None:  # noqa: F811
    whole, found, _ = _measure(store, lambda _: FakeWorker(), deadline=30.0)
    assert not whole
    assert not found.breakdowns


def test_what_took_the_run_down_twice_is_not_tried_a_third_time(
    store: Store,
    folder_ready: None,  # noqa: F811
) -> None:
    def dies(each: Case) -> FakeWorker:
        def leave(do: str, _: Any) -> None:
            if do == "cut" and each == NEAR:
                raise MemoryError("as if the machine went down")

        return FakeWorker(on_ask=leave)

    session = store.sessions()[-1].identifier
    name = f"breakdown {NEAR.key()}"
    for process in (1, 2):
        store._connection.execute("INSERT INTO in_hand VALUES (?, ?, ?)", (session, name, process))
    _, found, _ = _measure(store, dies)
    assert "2 runs were lost" in found.failures[NEAR.key()].message
