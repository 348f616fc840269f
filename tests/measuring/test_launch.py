"""Real processes that crash, hang, fill memory and leave children: each is named, none stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zoo_worker import zoo_worker
from unetbench.errors import TimeUp, WorkerLost
from unetbench.measuring.launch import ProcessWorker

LIMIT_S = 20.0
MEMORY = 2 << 30


def _worker(tmp_path: Path, *, limit_s: float = LIMIT_S, memory_bytes: int = MEMORY) -> ProcessWorker:
    return zoo_worker(tmp_path, limit_s=limit_s, memory_bytes=memory_bytes)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[ProcessWorker]:
    live = _worker(tmp_path)
    yield live
    live.end()
    assert not list(tmp_path.iterdir()), "private caches go with the worker"


def _lost(worker: ProcessWorker, do: str, **arguments: object) -> WorkerLost:
    with pytest.raises(WorkerLost) as caught:
        worker.ask(do, on_phase=lambda _: None, **arguments)
    return caught.value


def test_a_turn_is_answered_and_threads_are_set(worker: ProcessWorker) -> None:
    assert worker.ask("echo", on_phase=lambda _: None, value=[1, "ü"]) == {"value": [1, "ü"], "threads": "1"}


def test_what_an_options_process_must_start_with_is_there(tmp_path: Path) -> None:
    live = zoo_worker(tmp_path, limit_s=LIMIT_S, memory_bytes=MEMORY, environment={"AN_OPTION": "1"})
    assert live.ask("variable", on_phase=lambda _: None, name="AN_OPTION") == {"value": "1"}
    live.end()


def test_no_turn_looks_through_what_was_loaded_for_garbage(worker: ProcessWorker) -> None:
    worker.ask("load", on_phase=lambda _: None, count=100)
    assert worker.ask("looked_through", on_phase=lambda _: None) == {"value": 0}


def test_what_measuring_holds_is_no_memory_of_the_case(tmp_path: Path) -> None:
    peaks = []
    for count in (1, 16):
        live = _worker(tmp_path)
        live.ask("hold", on_phase=lambda _: None, count=count)
        told = live.ask("memory", on_phase=lambda _: None, reset=True)
        live.end()
        peaks.append(told["peak_rss_bytes"])
        assert told["held_bytes"] == count * (4 + 8 + 4) * 2**20
    assert abs(peaks[1] - peaks[0]) < 8 << 20


def test_phases_arrive_in_order(worker: ProcessWorker) -> None:
    seen: list[str] = []
    worker.ask("phases", on_phase=seen.append)
    assert seen == ["building", "compiling"]


def test_a_large_answer_arrives_whole(worker: ProcessWorker) -> None:
    value = "x" * 3_000_00
    assert worker.ask("echo", on_phase=lambda _: None, value=value)["value"] == value


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGABRT", "SIGTERM"])
def test_a_signal_is_named(worker: ProcessWorker, name: str) -> None:
    lost = _lost(worker, "die_by", name=name)
    assert (lost.kind, lost.message) == ("crashed", f"killed by {name}")


def test_a_kill_that_nobody_here_sent_is_the_kernels(worker: ProcessWorker) -> None:
    assert _lost(worker, "die_by", name="SIGKILL").kind == "out of memory"


@pytest.mark.parametrize("code", [0, 3])
def test_a_silent_exit_is_a_crash(worker: ProcessWorker, code: int) -> None:
    lost = _lost(worker, "leave", code=code)
    assert lost.kind == "crashed"
    assert f"exit code {code}" in lost.message


def test_an_exception_is_one_line_and_its_traceback_is_kept(worker: ProcessWorker) -> None:
    lost = _lost(worker, "fail", message="first\nsecond")
    assert (lost.kind, lost.message) == ("crashed", "RuntimeError: first second")
    worker.end()
    assert "Traceback" in worker.log_tail()


def test_torchs_words_for_no_memory_are_understood(worker: ProcessWorker) -> None:
    lost = _lost(worker, "fail", message="DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
    assert lost.kind == "out of memory"


def test_memory_beyond_the_cap_is_refused_not_taken(tmp_path: Path) -> None:
    worker = _worker(tmp_path, memory_bytes=600 << 20)
    try:
        assert _lost(worker, "fill_memory").kind == "out of memory"
    finally:
        worker.end()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_hang_is_a_timeout_soon_after_the_limit(tmp_path: Path, deaf: bool) -> None:
    worker = _worker(tmp_path, limit_s=1.5)
    start = time.monotonic()
    try:
        assert _lost(worker, "hang", deaf=deaf).kind == "timeout"
    finally:
        worker.end()
    assert time.monotonic() - start < 1.5 + 5.0


def test_when_the_time_of_the_run_is_up_nobody_waits_and_no_case_is_blamed(tmp_path: Path) -> None:
    start = time.monotonic()
    worker = zoo_worker(tmp_path, limit_s=LIMIT_S, memory_bytes=MEMORY, ends_at=start + 1.5)
    try:
        with pytest.raises(TimeUp, match="while hang"):
            worker.ask("hang", on_phase=lambda _: None, deaf=True)
    finally:
        worker.end()
    assert time.monotonic() - start < 1.5 + 5.0
    assert not list(tmp_path.iterdir())


def test_much_output_neither_blocks_nor_fills_the_disk(worker: ProcessWorker) -> None:
    worker.ask("chatter", on_phase=lambda _: None, megabytes=40)
    worker.end()
    assert len(worker.log_tail()) <= 4096


@pytest.mark.parametrize("own_session", [False, True])
def test_what_a_worker_started_ends_with_it(worker: ProcessWorker, own_session: bool) -> None:
    pid = worker.ask("have_grandchild", on_phase=lambda _: None, own_session=own_session)["pid"]
    worker.end()
    assert not _alive(pid), "what is measured next would feel it"


def test_waiting_burns_no_core(tmp_path: Path) -> None:
    worker = _worker(tmp_path, limit_s=1.5)
    before = time.process_time()
    ticks: list[float] = []
    with pytest.raises(WorkerLost):
        worker.ask("hang", on_phase=lambda _: None, on_tick=lambda: ticks.append(0.0), deaf=False)
    worker.end()
    assert time.process_time() - before < 0.2
    assert len(ticks) <= 2


def test_a_worker_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert _alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    pytest.fail(f"worker {pid} outlived its parent")


_PARENT = """
import sys
from pathlib import Path
from unetbench.measuring.launch import ProcessWorker
worker = ProcessWorker(threads=1, memory_bytes=2 << 30, limit_s=60, scratch=Path(sys.argv[1]),
                       online=False, module="tests.zoo_worker")
worker.ask("echo", on_phase=print, value=1)
print(worker._process.pid, flush=True)
worker.ask("hang", on_phase=print, deaf=True)
"""


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
