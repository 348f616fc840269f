"""The sweep, with fake workers: order, storing before showing, failures as rows, going on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeWorker
from unetbench.errors import StoreError, TimeUp
from unetbench.machine import machine
from unetbench.measuring import artifacts, reference, session
from unetbench.measuring.groups import group_key
from unetbench.measuring.preparing import Preparing
from unetbench.measuring.preset import QUICK, RIGOROUS, STANDARD, TUNE, Preset
from unetbench.measuring.schedule import Sweep
from unetbench.records import Case, Failure, Network, Recipe, Result
from unetbench.reporting.rows import rows
from unetbench.store import Store, reading, writing

RECIPES = ("torch_eager/fp32", "torch_compile/fp32")
CASES = tuple(
    Case(network=Network(name), recipe=Recipe.parse(recipe), height_px=64, width_px=64, threads=1)
    for recipe in RECIPES
    for name in ("resnet18", "resnet34")
)


class Watcher:
    """Keeps what it was told, and looks into the store when a result is shown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []
        self.left_s: list[float] = []

    def started(self, case: Case, left_s: float) -> None:
        self.told.append(f"started {case.name}")
        self.left_s.append(left_s)

    def phase(self, name: str) -> None:
        self.told.append(name)

    def tick(self) -> None:
        pass

    def finished(self, result: Result, done: int, left_s: float) -> None:
        self.told.append(f"finished {result.case.name} {done}")
        with reading(self.path) as store:
            on_disk = {each.case for each in store.results(store.sessions()[-1].identifier)}
        assert result.case in on_disk, "a row shows as done only when it is on the disk"

    def after(self, what: str, left_s: float) -> None:
        self.told.append(what)
        self.left_s.append(left_s)

    def close(self) -> None:
        self.told.append("closed")

    def block(self, results: Sequence[Result], number: int, left_s: float) -> None:
        self.told.append(f"block {number}")
        with reading(self.path) as store:
            assert number in {block.number for block in store.blocks(1)}


@pytest.fixture
def folder_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ready", lambda folder: True)
    monkeypatch.setattr(reference, "weights_digest", lambda folder: "weights")
    monkeypatch.setattr(artifacts, "facts", lambda folder: {})  # whatever is asked for is there


def _sweep(
    tmp_path: Path, start: Callable[[Case], Any], *, cases: tuple[Case, ...] = CASES, fresh: bool = False
) -> tuple[Watcher, tuple[Result, ...]]:
    path = tmp_path / "results.sqlite"
    watcher = Watcher(path)
    with writing(path) as store:
        session = _session(store, fresh)
        ticks = iter(range(0, 10_000, 7))
        _made(store, session, start, cases, QUICK, watcher, ticks).run()
        return watcher, store.results(session.identifier)


def _made(
    store: Store,
    session: Any,
    start: Callable[[Case], Any],
    cases: tuple[Case, ...],
    preset: Preset,
    watcher: Watcher,
    ticks: Iterator[int],
) -> Sweep:
    return Sweep(
        cases=cases,
        store=store,
        session=session,
        preset=preset,
        images=(),
        work=store.path.parent,
        cache=store.path.parent / "cache",
        start_worker=lambda case, limit_s: start(case),
        observer=watcher,
        clock=ticks.__next__,
    )


def _session(store: Store, fresh: bool) -> Any:
    return store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=fresh)


def test_every_network_has_its_baseline_before_any_has_its_second_recipe(
    tmp_path: Path, folder_ready: None
) -> None:
    watcher, results = _sweep(tmp_path, lambda case: FakeWorker())
    finished = [line for line in watcher.told if line.startswith("finished")]
    assert [line.split()[2] for line in finished] == ["torch_eager/fp32"] * 2 + ["torch_compile/fp32"] * 2
    assert [result.case for result in results] == list(CASES)


def test_phases_come_in_order_and_nothing_ticks_while_runs_are_timed(
    tmp_path: Path, folder_ready: None
) -> None:
    workers: list[FakeWorker] = []

    def start(case: Case) -> FakeWorker:
        workers.append(FakeWorker())
        return workers[-1]

    watcher, results = _sweep(tmp_path, start, cases=CASES[:1])
    assert watcher.told[1:-1] == ["checking", "warming up", "measuring"]
    assert results[0].measurements[0].held_bytes == 1 << 10
    assert workers[0].asked == [
        "load",
        "bind",
        "run",
        "memory",
        "read",
        "memory",
        "run",
        "run",
        "memory",
        "check",
    ]
    assert workers[0].ticking["load"]
    assert not workers[0].ticking["run"]


def test_each_case_has_a_fresh_worker_that_is_ended(tmp_path: Path, folder_ready: None) -> None:
    workers: list[FakeWorker] = []

    def start(case: Case) -> FakeWorker:
        workers.append(FakeWorker(fails=("run", "crashed", "killed by SIGSEGV")))
        return workers[-1]

    _sweep(tmp_path, start)
    assert len(workers) == len(CASES)
    assert all(worker.ended for worker in workers)


@pytest.mark.parametrize("kind", ["unsupported", "out of memory", "timeout", "crashed"])
@pytest.mark.parametrize("turn", ["load", "run", "read"])
def test_a_failure_is_a_row_with_its_reason_and_the_sweep_goes_on(
    tmp_path: Path, folder_ready: None, kind: Any, turn: str
) -> None:
    def start(case: Case) -> FakeWorker:
        return FakeWorker(fails=(turn, kind, "why") if case == CASES[1] else None)

    _, results = _sweep(tmp_path, start)
    assert [result.failure for result in results] == [
        None,
        Failure(stage=turn, kind=kind, message="why"),
        None,
        None,
    ]


def test_what_a_process_printed_before_it_failed_is_kept(
    tmp_path: Path, folder_ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "facts", lambda folder: None)  # nothing is converted yet
    compiled = CASES[-1]

    def start(of: Case) -> FakeWorker:
        return FakeWorker(fails=("convert" if of == compiled else "run", "crashed", "killed by SIGSEGV"))

    _sweep(tmp_path, start, cases=(compiled, CASES[0]))
    with reading(tmp_path / "results.sqlite") as store:
        assert [store.last_words(1, each.key()) for each in (compiled, CASES[0])] == ["what it printed"] * 2


def test_a_wrong_answer_has_no_time(tmp_path: Path, folder_ready: None) -> None:
    workers = []

    def start(case: Case) -> FakeWorker:
        workers.append(FakeWorker(fault="agreement 98 %"))
        return workers[-1]

    _, (result,) = _sweep(tmp_path, start, cases=CASES[:1])
    assert result.failure == Failure(stage="checking", kind="wrong output", message="agreement 98 %")
    assert not result.measurements
    assert workers[0].asked.count("run") == 1, "it is not timed after its first answer was wrong"


def test_going_on_measures_only_what_has_no_result(tmp_path: Path, folder_ready: None) -> None:
    _sweep(tmp_path, lambda case: FakeWorker(run_ms=1), cases=CASES[:2])
    started: list[Case] = []

    def start(case: Case) -> FakeWorker:
        started.append(case)
        return FakeWorker(run_ms=2)

    _, results = _sweep(tmp_path, start)
    assert started == list(CASES[2:])
    assert [result.measurements[0].run_ns[0] for result in results] == [10**6] * 2 + [2 * 10**6] * 2


def test_fresh_measures_everything_anew(tmp_path: Path, folder_ready: None) -> None:
    _sweep(tmp_path, lambda case: FakeWorker(), cases=CASES[:2])
    started: list[Case] = []

    def start(case: Case) -> FakeWorker:
        started.append(case)
        return FakeWorker()

    _sweep(tmp_path, start, cases=CASES[:2], fresh=True)
    assert started == list(CASES[:2])
    with reading(tmp_path / "results.sqlite") as store:
        assert [len(store.results(number)) for number in (1, 2)] == [2, 2], "what was measured before is kept"


def test_an_interrupted_case_leaves_no_result_and_no_worker(tmp_path: Path, folder_ready: None) -> None:
    def interrupt(do: str, arguments: Any) -> None:
        if do == "run":
            raise KeyboardInterrupt

    worker = FakeWorker(on_ask=interrupt)
    with pytest.raises(KeyboardInterrupt):
        _sweep(tmp_path, lambda case: worker)
    assert worker.ended
    with reading(tmp_path / "results.sqlite") as store:
        assert store.results(1) == ()


def test_a_network_that_cannot_be_built_fails_in_each_of_its_cases(tmp_path: Path) -> None:
    def start(case: Case) -> FakeWorker:
        return FakeWorker(fails=("reference", "unsupported", "no pyramid"))

    _, results = _sweep(tmp_path, start, cases=CASES[:1])
    assert results[0].failure == Failure(stage="reference", kind="unsupported", message="no pyramid")


def test_the_time_left_follows_what_was_measured(tmp_path: Path, folder_ready: None) -> None:
    watcher, _ = _sweep(tmp_path, lambda case: FakeWorker())
    # The fake clock moves 7 s between looks, so each eager case takes 7 s.
    assert watcher.left_s[1] == pytest.approx(7 + 2 * 40.0)
    assert watcher.left_s[3] == pytest.approx(7)


class NoisyWorker(FakeWorker):
    """Its first timed runs are disturbed by other processes, as the kernel tells."""

    noisy_runs = 0

    def ask(self, do: str, **rest: Any) -> dict[str, Any]:
        answer = super().ask(do, **rest)
        if do == "run" and rest["at_most"] == QUICK.runs_at_most:
            wall_us = sum(answer["run_ns"]) // 1000
            waiting = wall_us // 2 if self.noisy_runs > 0 else wall_us // 100
            self.noisy_runs -= 1
            answer |= {"before": {"cpu_pressure_us": 1000}, "after": {"cpu_pressure_us": 1000 + waiting}}
        return answer


def _noisy(runs: int) -> NoisyWorker:
    worker = NoisyWorker()
    worker.noisy_runs = runs
    return worker


def test_disturbed_runs_are_made_again_and_kept(tmp_path: Path, folder_ready: None) -> None:
    _, (result,) = _sweep(tmp_path, lambda case: _noisy(1), cases=CASES[:1])
    (measurement,) = result.measurements
    assert measurement.waiting_share == pytest.approx(0.01, rel=0.01)
    assert len(measurement.rejected_ns) == 1
    assert rows([result])[0].status == "ok"


def test_a_case_that_stays_disturbed_is_not_quiet_and_is_measured_again_next_time(
    tmp_path: Path, folder_ready: None
) -> None:
    _, (result,) = _sweep(tmp_path, lambda case: _noisy(99), cases=CASES[:1])
    assert len(result.measurements[0].rejected_ns) == 2
    row = rows([result])[0]
    assert (row.status, row.speedup) == ("not quiet", None)
    assert row.median_ms is not None
    assert "50% of the timed runs" in row.reason
    _, (result,) = _sweep(tmp_path, lambda case: _noisy(0), cases=CASES[:1])
    assert len(result.measurements) == 2, "what was measured before is kept"
    assert rows([result])[0].status == "ok"
    _sweep(tmp_path, lambda case: pytest.fail("it is done"), cases=CASES[:1])


def test_a_machine_that_shows_no_pressure_is_unknown_not_noisy(tmp_path: Path, folder_ready: None) -> None:
    _, (result,) = _sweep(tmp_path, lambda case: FakeWorker(), cases=CASES[:1])
    assert result.measurements[0].waiting_share is None
    assert rows([result])[0].status == "ok"


class Silence:
    """Canaries that always read the same."""

    def read(self) -> tuple[int, int]:
        return (1000, 1000)


def _race(
    tmp_path: Path,
    start: Callable[[Case], Any],
    *,
    deadline: float | None = None,
    cases: tuple[Case, ...] = CASES,
    halving: bool = False,
    preset: Preset = STANDARD,
) -> tuple[Result, ...]:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset=preset.name, images="x", command=["run"], fresh=False)
        sweep = _made(store, session, start, cases, preset, Watcher(path), iter(range(10_000_000)))
        sweep.halving = halving
        if sweep.run(deadline):
            sweep.race(Silence(), deadline)
        return store.results(session.identifier)


def test_who_comes_to_blocks_of_a_search_answers_for_as_many_photographs_as_in_standard(
    tmp_path: Path, folder_ready: None
) -> None:
    checked: list[int] = []

    def note(do: str, arguments: Any) -> None:
        checked.extend([arguments["inputs"]] if do == "check" else [])

    _race(tmp_path, lambda case: FakeWorker(on_ask=note), cases=CASES[:2], preset=TUNE)
    assert checked[:2] == [TUNE.checked_inputs] * 2, "alone"
    assert checked[2:4] == [STANDARD.checked_inputs] * 2, "in the first block"
    assert set(checked[4:]) == {1}


def test_a_race_stores_each_block_and_stops_when_all_is_settled(tmp_path: Path, folder_ready: None) -> None:
    times = {"torch_eager": 100.0, "torch_compile": 50.0}
    slower = {"resnet18": 1.0, "resnet34": 1.5}

    def start(case: Case) -> FakeWorker:
        return FakeWorker(times[case.recipe.runtime.name] * slower[case.network.encoder])

    results = _race(tmp_path, start)
    assert {len(result.blocks) for result in results} == {8}
    assert {len(result.alone) for result in results} == {1}
    with reading(tmp_path / "results.sqlite") as store:
        assert len(store.blocks(1)) == 16
        assert len({block.seed for block in store.blocks(1)}) == 16
        assert store.interruptions(1) == {}
    again = _race(tmp_path, start)
    assert again == results, "the same command has nothing left to do"


def test_a_race_goes_on_where_it_was_interrupted(tmp_path: Path, folder_ready: None) -> None:
    count = 0

    def interrupted(case: Case) -> FakeWorker:
        nonlocal count
        count += 1
        if count == 30:
            raise KeyboardInterrupt
        return FakeWorker(100.0 if case.recipe.runtime.name == "torch_eager" else 50.0)

    with pytest.raises(KeyboardInterrupt):
        _race(tmp_path, interrupted)
    with reading(tmp_path / "results.sqlite") as store:
        made = store.blocks(1)
        assert 0 < len(made) < 16
    results = _race(tmp_path, interrupted)
    with reading(tmp_path / "results.sqlite") as store:
        assert store.blocks(1)[: len(made)] == made
    assert all(len(result.blocks) >= 8 for result in results)


def test_after_a_crash_and_an_interruption_halving_knows_who_left(tmp_path: Path, folder_ready: None) -> None:
    runtimes = {"torch_eager": 100.0, "openvino": 50.0, "onnxruntime": 52.0, "ncnn": 80.0, "mnn": 90.0, "torch_compile": 60.0}  # fmt: skip
    network = Network("resnet18")
    cases = {
        name: Case(network=network, recipe=Recipe.parse(f"{name}/fp32"), height_px=64, width_px=64, threads=1)
        for name in runtimes
    }
    started: list[str] = []

    def start(case: Case) -> FakeWorker:
        name = case.recipe.runtime.name
        if interrupting and started.count("openvino") == 3 and name == "openvino":
            raise KeyboardInterrupt  # its process alone, two blocks, and now the third
        started.append(name)
        crashing = ("turn", "crashed", "it was compiled wrongly") if name == "torch_compile" else None
        return FakeWorker(runtimes[name], fails=crashing)  # type: ignore[arg-type]

    interrupting = True
    with pytest.raises(KeyboardInterrupt):
        _race(tmp_path, start, cases=tuple(cases.values()), halving=True)
    interrupting = False
    results = {r.case: r for r in _race(tmp_path, start, cases=tuple(cases.values()), halving=True)}
    numbers = {name: sorted(results[case].blocks) for name, case in cases.items()}
    assert numbers["torch_eager"] == numbers["openvino"] == numbers["onnxruntime"] == list(range(1, 9))
    assert numbers["ncnn"] == numbers["mnn"] == [1], "they left at the first rung"
    assert results[cases["torch_compile"]].failure
    with reading(tmp_path / "results.sqlite") as store:
        assert len({block.group for block in store.blocks(1)}) == 1


def test_a_case_that_took_the_run_down_twice_is_not_tried_again(tmp_path: Path, folder_ready: None) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = _session(store, fresh=False).identifier
    with closing(sqlite3.connect(path)) as connection:  # as runs leave it that died with the machine
        connection.executemany(
            "INSERT INTO in_hand VALUES (?, ?, ?)", [(session, CASES[0].key(), n) for n in (1, 2)]
        )
        connection.commit()
    _, results = _sweep(tmp_path, lambda case: FakeWorker())
    assert results[0].failure is not None
    assert "2 runs were lost with this case in hand" in results[0].failure.message
    assert all(result.failure is None for result in results[1:])


def test_interruptions_far_apart_are_no_poison(tmp_path: Path, folder_ready: None) -> None:
    """A run that is killed now and then gets on all the same: what it measures in between clears the record."""
    path, group = tmp_path / "results.sqlite", group_key(CASES[::2])
    with writing(path) as store:
        session = store.open_session(machine(), preset="standard", images="x", command=["run"], fresh=False)
    with closing(sqlite3.connect(path)) as connection:  # as a run leaves it that was killed
        marks = [(session.identifier, name, 1) for name in (group, CASES[0].key())]
        connection.executemany("INSERT INTO in_hand VALUES (?, ?, ?)", marks)
        connection.commit()
    results = _race(tmp_path, lambda case: FakeWorker())
    assert all(result.failure is None and result.blocks for result in results)
    with reading(path) as store:
        assert group in {block.group for block in store.blocks(1)}
        assert store.interruptions(1) == {}


@pytest.mark.parametrize(
    "words", ["OSError: [Errno 28] No space left on device", "OSError: [Errno 122] Disk quota exceeded"]
)
def test_a_full_disk_is_no_finding_about_the_case(tmp_path: Path, folder_ready: None, words: str) -> None:
    def start(case: Case) -> FakeWorker:
        return FakeWorker(fails=("load", "crashed", words))

    with pytest.raises(StoreError, match="disk is full"):
        _sweep(tmp_path, start)
    with reading(tmp_path / "results.sqlite") as store:
        assert store.results(1) == ()


@pytest.mark.parametrize("unequal", [{"cores_busy": 1.1}, {"threads": "2"}])
def test_a_case_that_takes_more_threads_than_the_others_has_no_time(
    tmp_path: Path, folder_ready: None, unequal: dict[str, Any]
) -> None:
    _, results = _sweep(tmp_path, lambda case: FakeWorker(**(unequal if case == CASES[0] else {})))
    assert results[0].failure is not None
    assert "1 threads were asked for" in results[0].failure.message
    assert all(result.failure is None for result in results[1:])


def test_a_case_added_later_has_blocks_beside_the_others(tmp_path: Path, folder_ready: None) -> None:
    def start(case: Case) -> FakeWorker:
        return FakeWorker({"torch_eager": 100.0, "torch_compile": 50.0}[case.recipe.runtime.name])

    _race(tmp_path, start, cases=CASES[:3])
    results = _race(tmp_path, start, cases=CASES)
    added = next(result for result in results if result.case == CASES[3])
    partner = next(result for result in results if result.case == CASES[1])
    assert len(added.blocks) == 8
    assert added.blocks.keys() <= partner.blocks.keys()


def test_a_budget_ends_the_part_alone_too(tmp_path: Path, folder_ready: None) -> None:
    results = _race(tmp_path, lambda case: FakeWorker(), deadline=30.0)
    assert 0 < len(results) < len(CASES)
    assert all(not result.blocks for result in results)


def _up(do: str, at: str, stage: str = "measuring") -> None:
    if do == at:
        raise TimeUp(stage)


def test_what_is_in_hand_when_the_budget_is_over_is_no_finding(
    tmp_path: Path, folder_ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole session, whose second case is still at work when nobody may wait any longer."""
    ends: list[float] = []
    cut: list[FakeWorker] = []

    def starter(scratch: Path, limit_s: float, ends_at: float) -> Callable[..., FakeWorker]:
        ends.append(ends_at)

        def start(case: Case, limit: float | None = None) -> FakeWorker:
            if case == CASES[0]:
                return FakeWorker()
            cut.append(FakeWorker(on_ask=lambda do, _: _up(do, "run")))
            return cut[-1]

        return start

    monkeypatch.setattr(session, "worker_starter", starter)
    path = tmp_path / "results.sqlite"
    plan = session.Plan(cases=CASES[:3], store=path, preset=STANDARD, command=["run"], budget_s=600.0)
    watcher = Watcher(path)
    began = time.monotonic()
    results = session.run(plan, lambda cases, known, finding: watcher)
    assert [result.case for result in results] == [CASES[0]]
    assert results[0].failure is None
    assert [worker.ended for worker in cut] == [True]
    assert watcher.told[-2:] == [
        "the budget is over: 2 of 3 cases have no quiet result yet; the same command goes on from here", "closed",
    ]  # fmt: skip
    assert 630.0 <= ends[0] - began < 640.0, "a little grace"
    with reading(path) as store:
        assert store.interruptions(1) == {}, "nothing crashed"


def test_a_checkpoint_trained_anew_under_its_old_path_begins_another_session(
    tmp_path: Path, folder_ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else networks of other weights stood in one table under one name, and the old one's times were the new one's."""
    checkpoint = tmp_path / "model.pt"
    checkpoint.write_bytes(b"trained")
    path = tmp_path / "results.sqlite"
    network = replace(CASES[0].network, weights=str(checkpoint))
    cases = [replace(CASES[0], network=network), CASES[1]]
    monkeypatch.setattr(session, "worker_starter", lambda *_: lambda case, limit=None: FakeWorker())
    plan = session.Plan(cases=cases, store=path, preset=QUICK, command=["run"])

    def measured_in() -> list[int]:
        return [r.session for r in session.run(plan, lambda cases, known, finding: Watcher(path))]

    assert measured_in() == [1, 1]
    checkpoint.touch()
    assert measured_in() == [1, 1], "the same content"
    checkpoint.write_bytes(b"trained anew")
    plan = replace(plan, cases=[replace(cases[0], height_px=96), CASES[1]])
    assert measured_in() == [2, 2], "the network counts, under whatever recipe and size"
    plan = replace(plan, cases=cases)
    assert measured_in() == [2, 2]


@pytest.mark.parametrize("halving", [False, True])
def test_a_checkpoint_under_another_path_is_the_same_network(
    tmp_path: Path, folder_ready: None, halving: bool
) -> None:
    """What was measured alone under the first name has its blocks under the second; it was left out without a word."""

    def cases(name: str) -> tuple[Case, ...]:
        (tmp_path / name).write_bytes(b"trained")
        network = replace(CASES[0].network, weights=str(tmp_path / name))
        return tuple(replace(case, network=network) for case in CASES[::2])

    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        opened = _session(store, fresh=False)
        _made(
            store, opened, lambda _: FakeWorker(), cases("a.pt"), TUNE, Watcher(path), iter(range(10**6))
        ).run()
        again = cases("b.pt")
        contenders = session._contenders(store, opened.identifier, again)
        assert set(contenders) == set(again)
        started: list[Case] = []
        sweep = _made(
            store, opened, lambda case: started.append(case) or FakeWorker(), again, TUNE, Watcher(path),
            iter(range(10**6)),
        )  # fmt: skip
        sweep.halving = halving
        sweep.run()
        assert not started, "alone it is known"
        sweep.race(Silence(), None)
        assert set(started) == set(again)
        assert all(result.blocks for result in store.results(opened.identifier))
    dotted = replace(again[0].network, weights=f"{tmp_path}/./b.pt")
    assert dotted == again[0].network


def test_what_is_in_hand_when_two_budgets_are_over_is_a_row_so_that_others_have_the_next(
    tmp_path: Path, folder_ready: None
) -> None:
    """Once it may have begun late."""
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        opened = _session(store, fresh=False)

        def run() -> tuple[Result, ...]:
            def start(case: Case) -> FakeWorker:
                return FakeWorker(on_ask=lambda do, _: _up(do, "run") if case == CASES[0] else None)

            with suppress(TimeUp):
                _made(store, opened, start, CASES[:2], QUICK, Watcher(path), iter(range(10_000))).run()
            return store.results(opened.identifier)

        assert run() == ()
        hung, other = run()
    assert hung.failure is not None
    assert (hung.case, hung.failure.kind) == (CASES[0], "timeout")
    assert "two budgets were over" in hung.failure.message
    assert (other.case, other.failure) == (CASES[1], None)


def test_a_block_that_the_budget_cuts_is_not_stored(tmp_path: Path, folder_ready: None) -> None:
    workers: list[FakeWorker] = []

    def start(case: Case) -> FakeWorker:
        # Two alone, then two blocks whole.
        workers.append(
            FakeWorker(on_ask=lambda do, _: _up(do, "turn")) if len(workers) == 6 else FakeWorker()
        )
        return workers[-1]

    with pytest.raises(TimeUp):
        _race(tmp_path, start, cases=CASES[:2])
    with reading(tmp_path / "results.sqlite") as store:
        assert len(store.blocks(1)) == 4, "of two networks"
        assert all(result.failure is None for result in store.results(1))
    assert all(worker.ended for worker in workers)


def test_where_the_reference_of_the_blocks_is_lost_what_was_measured_alone_stays(
    tmp_path: Path, folder_ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks may compare more inputs than the processes alone did: that there is no memory for them says nothing of a case."""
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        opened = _session(store, fresh=False)
        watcher = Watcher(path)
        sweep = _made(
            store, opened, lambda _: FakeWorker(), CASES[:3:2], STANDARD, watcher, iter(range(10**6))
        )
        sweep.run()
        monkeypatch.setattr(reference, "ready", lambda folder: False)
        monkeypatch.setattr(reference, "there", lambda folder: False)
        lost = ("reference", "out of memory", "killed by SIGKILL")
        sweep.preparing.start_worker = lambda case, limit_s: FakeWorker(fails=lost)
        sweep.preparing._ready.clear()
        sweep.race(Silence(), None)
        results = store.results(opened.identifier)
    assert [result.failure for result in results] == [None, None]
    assert all(result.alone and not result.blocks for result in results)
    assert any("what its answers are compared with was lost (out of memory" in line for line in watcher.told)


@pytest.mark.parametrize("builds", [1, 3])
def test_what_is_autotuned_is_built_as_often_as_the_preset_says_and_blocks_take_turns_with_it(
    tmp_path: Path, folder_ready: None, monkeypatch: pytest.MonkeyPatch, builds: int
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(Preparing, "artifact", lambda _, case, build=0: taken.append(build))
    _race(tmp_path, lambda case: FakeWorker(), cases=CASES[:3:2], preset=replace(STANDARD, builds=builds))
    of_blocks = taken[2:]  # two alone
    assert set(of_blocks) == set(range(builds))
    assert of_blocks[::2][: 2 * builds] == [*range(builds)] * 2
    assert RIGOROUS.builds == 3


def test_a_budget_bounds_the_time_that_is_told(tmp_path: Path, folder_ready: None) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        watcher = Watcher(path)
        opened = _session(store, fresh=False)
        _made(store, opened, lambda _: FakeWorker(), CASES, QUICK, watcher, iter(range(10**6))).run(60.0)
    assert watcher.left_s
    assert max(watcher.left_s) <= 60.0


def test_bf16_is_measured_in_fp32_where_it_is_emulated_and_told_as_not_run(
    tmp_path: Path, folder_ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[Case | None] = []

    def starter(*_: Any) -> Callable[..., FakeWorker]:
        def start(case: Case | None, limit: float | None = None) -> FakeWorker:
            return FakeWorker(on_ask=lambda do, _: probes.append(case) if do == "probe" else None)

        return start

    monkeypatch.setattr(session, "worker_starter", starter)
    monkeypatch.setattr(session.machine, "bf16_instructions", lambda: ())
    asked = replace(CASES[0], recipe=Recipe.parse("torch_compile/bf16"))

    def ran(name: str, **options: Any) -> list[tuple[str, str]]:
        path = tmp_path / f"{name}.sqlite"
        plan = session.Plan(cases=[CASES[0], asked], store=path, preset=QUICK, command=["run"], **options)
        results = session.run(plan, lambda cases, known, finding: Watcher(path))
        return [(str(r.case.recipe), r.failure.kind if r.failure else "ok") for r in results]

    assert sorted(ran("emulated")) == [
        ("torch_compile/bf16", "not run"), ("torch_compile/fp32", "ok"), ("torch_eager/fp32", "ok"),
    ]  # fmt: skip
    assert probes, "it was timed, too"
    assert sorted(ran("forced", force=True)) == [("torch_compile/bf16", "ok"), ("torch_eager/fp32", "ok")]


def test_a_block_of_slow_runs_may_take_longer_than_a_process_alone(
    tmp_path: Path, folder_ready: None
) -> None:
    limits: list[float] = []
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="standard", images="x", command=["run"], fresh=False)
        ticks = iter(range(10_000_000))
        sweep = _made(store, session, lambda _: FakeWorker(), CASES[:1], STANDARD, Watcher(path), ticks)

        def start(case: Case, limit_s: float | None) -> FakeWorker:
            limits.extend([] if limit_s is None else [limit_s])
            return FakeWorker(60_000.0)

        sweep.start_worker = start
        sweep.run()
        sweep.race(Silence(), None)
    least_s = 38 * 60.0  # the first run, five to warm up and eight turns of four
    assert limits[0] > least_s > STANDARD.case_limit_s
