"""Whether threads flush denormals, read from outside: real processes, real threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from unetbench.measuring import denormals

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="their registers are read on x86-64 alone"
)

_PROGRAM = """
import sys, threading, time
from unetbench.runtimes._denormals import flush
def compute():
    end = time.monotonic() + 0.1
    while time.monotonic() < end: pass
    time.sleep(60)
early, late = (threading.Thread(target=compute, daemon=True) for _ in range(2))
if "early" in sys.argv:
    early.start()
    time.sleep(0.3)
flush()
print("flushed", flush=True)
sys.stdin.readline()
late.start()
time.sleep(0.3)
print("computed", flush=True)
time.sleep(60)
"""


def _process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # NumPy's own threads turn in a loop as they start
    )


@pytest.fixture
def told() -> Iterator[Callable[..., str]]:
    processes: list[subprocess.Popen[str]] = []

    def told_of(*arguments: str, from_the_start: bool = False) -> str:
        process = _process(*arguments)
        processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "flushed\n"
        before = {} if from_the_start else denormals.thread_times_ns(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "computed\n"
        answer = denormals.told(process.pid, before)
        assert process.poll() is None, "it goes on as if nothing had been read"
        return answer

    yield told_of
    for process in processes:
        process.kill()
        process.communicate()


def test_threads_inherit_what_was_set_before_they_started(told: Callable[..., str]) -> None:
    assert told().startswith("flushed in all ")


def test_a_thread_that_started_before_is_found(told: Callable[..., str]) -> None:
    assert told("early", from_the_start=True).startswith("kept in 1 of ")


def test_a_thread_that_did_not_compute_does_not_count(told: Callable[..., str]) -> None:
    assert told("early").startswith("flushed in all "), "its time was before the times were read"


def test_what_cannot_be_read_is_unknown(told: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(denormals, "_control_word", refused)
    assert told() == "unknown: no thread's registers can be read here (Operation not permitted)"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert told() == "unknown: their registers are not read on aarch64"


def test_an_ended_process_is_unknown() -> None:
    process = _process()
    process.kill()
    process.communicate()
    assert denormals.thread_times_ns(process.pid) == {}
    assert denormals.told(process.pid, {}).startswith("unknown: the kernel does not tell")
