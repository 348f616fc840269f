"""What the kernel says of other processes: really stopped, with all that they started."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.zoo_worker import zoo_worker
from unetbench.errors import WorkerLost
from unetbench.measuring import processes

_SPIN = """
import subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
print("ready", flush=True)
spin()
"""


def test_a_process_is_stopped_when_all_its_threads_and_children_are() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SPIN], stdout=subprocess.PIPE, start_new_session=True
    ) as spinning:
        assert spinning.stdout is not None
        spinning.stdout.readline()
        (child,) = processes.descendants(spinning.pid)
        assert not processes.all_stopped(spinning.pid)
        spinning.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        assert not processes.all_stopped(spinning.pid), "its child still takes a core"
        for pid in (child, spinning.pid):
            subprocess.run(["kill", "-KILL", str(pid)], check=True)
    assert processes.all_stopped(spinning.pid), "what is gone takes no core"


def test_the_memory_of_a_process_that_is_gone_is_unknown() -> None:
    assert processes.pss_bytes(2**22 + 1) is None


def test_a_paused_worker_takes_no_cpu_and_goes_on_when_resumed(tmp_path: Path) -> None:
    worker = zoo_worker(tmp_path, limit_s=30.0, memory_bytes=4 << 30)
    try:
        worker.ask("echo", on_phase=lambda name: None, value=1)
        worker.pause()
        worker.tell("echo", value=2)
        time.sleep(0.2)
        assert processes.all_stopped(worker._process.pid)
        worker.resume()
        assert worker.answer(on_phase=lambda name: None)["value"] == 2
        assert worker.pss_bytes() != 0
    finally:
        worker.end()


def test_a_paused_worker_is_ended_at_once(tmp_path: Path) -> None:
    worker = zoo_worker(tmp_path, limit_s=30.0, memory_bytes=4 << 30)
    worker.ask("echo", on_phase=lambda name: None, value=1)
    worker.pause()
    start = time.monotonic()
    worker.end()
    assert time.monotonic() - start < 2.0


def test_a_worker_that_died_cannot_be_paused(tmp_path: Path) -> None:
    worker = zoo_worker(tmp_path, limit_s=30.0, memory_bytes=4 << 30)
    try:
        with pytest.raises(WorkerLost):
            worker.ask("die_by", on_phase=lambda name: None, name="SIGSEGV")
        with pytest.raises(WorkerLost):
            worker.pause()
            worker.ask("echo", on_phase=lambda name: None, value=1)
    finally:
        worker.end()
