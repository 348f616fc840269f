"""Start a worker process, speak with it, contain it, end it with everything that it started.

The parent waits in `select`: it burns no core while a case is timed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from unetbench.errors import FailureKind, TimeUp, WorkerLost
from unetbench.measuring import denormals, processes

_TAIL_BYTES = 4096  # of what the worker printed, kept in the store
_TICK_S = 1.0  # how often a waiting display may look at the clock; never while a case is timed
_MEMORY_SHARE = 0.85  # of the memory granted: the rest is the parent's and the system's
_END_S = 2.0  # how long a worker may take to leave when asked
_STOP_S = 2.0  # how long a worker may take to stop between turns
_STOP_POLL_S = 0.0005  # between two looks at its threads


class Worker(Protocol):
    """The parent's end of a worker process."""

    def ask(
        self,
        do: str,
        *,
        on_phase: Callable[[str], None],
        on_tick: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Send one turn and wait for its answer.

        Raises: WorkerLost where the process ends, reports a failure or passes its time limit; TimeUp where the
        time of the whole run is over.
        """

    def tell(self, do: str, **arguments: Any) -> None:
        """Send one turn without waiting: another worker may be told meanwhile."""

    def answer(
        self, *, on_phase: Callable[[str], None], on_tick: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Wait for the answer to what was told. Raises as `ask` does."""

    def pause(self) -> None:
        """Stop the process; returns when every thread of it is seen stopped."""

    def resume(self) -> None:
        """Let a stopped process go on."""

    def pss_bytes(self) -> int | None:
        """Return its memory, what it shares counted by its part; None where the kernel does not show it."""

    def thread_times_ns(self) -> dict[int, int]:
        """Return the time on a CPU of each of its threads."""

    def denormals(self, before: Mapping[int, int]) -> str:
        """Say whether those of its threads flush denormals that have computed since their times were read."""

    def log_tail(self) -> str:
        """Return the end of what the process printed."""

    def end(self) -> None:
        """End the process and everything that it started."""


class ProcessWorker:
    """A fresh process in a session of its own; `limit_s` is the time that it may take to answer, in all.

    `ends_at`, by the monotonic clock, is when nobody waits any longer, whatever it is at.
    """

    def __init__(
        self,
        *,
        threads: int,
        memory_bytes: int,
        limit_s: float,
        ends_at: float = math.inf,
        scratch: Path,
        online: bool,
        environment: Mapping[str, str] = MappingProxyType({}),  # more of it, as the options of a runtime ask
        module: str = "unetbench.measuring.worker",
    ) -> None:
        self._scratch = Path(mkdtemp(prefix="worker-", dir=scratch))
        self._left_s = self._limit_s = limit_s
        self._ends_at = ends_at
        self._stage = "starting"
        self._replies = b""
        self._log = b""
        commands_read, self._commands = os.pipe()
        self._answers, replies_write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", module,
                "--commands", str(commands_read), "--replies", str(replies_write),
                "--parent", str(os.getpid()), "--memory-bytes", str(int(memory_bytes * _MEMORY_SHARE)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(commands_read, replies_write),
            start_new_session=True,
            env={**os.environ, **_environment(threads, self._scratch, online), **environment},
        )  # fmt: skip
        os.close(commands_read)
        os.close(replies_write)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def ask(
        self,
        do: str,
        *,
        on_phase: Callable[[str], None],
        on_tick: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        self.tell(do, **arguments)
        return self.answer(on_phase=on_phase, on_tick=on_tick)

    def tell(self, do: str, **arguments: Any) -> None:
        self._stage = do
        try:
            os.write(self._commands, json.dumps({"do": do} | arguments).encode() + b"\n")
        except BrokenPipeError:
            raise self._lost() from None

    def answer(
        self, *, on_phase: Callable[[str], None], on_tick: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        while True:
            message = self._next_message(on_tick)
            if "phase" in message:
                self._stage = message["phase"]
                on_phase(message["phase"])
            elif "failed" in message:
                kind = msgspec.convert(message["failed"]["kind"], FailureKind)
                raise WorkerLost(self._stage, kind, message["failed"]["message"])
            else:
                answer: dict[str, Any] = message["ok"]
                return answer

    def pause(self) -> None:
        self._signal_group(signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_S
        while not processes.all_stopped(self._process.pid):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise WorkerLost(self._stage, "crashed", "the process could not be stopped between its turns")
            time.sleep(_STOP_POLL_S)

    def resume(self) -> None:
        self._signal_group(signal.SIGCONT)

    def pss_bytes(self) -> int | None:
        return processes.pss_bytes(self._process.pid)

    def thread_times_ns(self) -> dict[int, int]:
        return denormals.thread_times_ns(self._process.pid)

    def denormals(self, before: Mapping[int, int]) -> str:
        return denormals.told(self._process.pid, before)

    def log_tail(self) -> str:
        return self._log[-_TAIL_BYTES:].decode(errors="replace")

    def end(self) -> None:
        self.resume()
        started = self._started()
        with contextlib.suppress(OSError):
            os.write(self._commands, b'{"do": "quit"}\n')
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._kill_group()
        _kill(started)
        self._process.wait()
        _wait(started)
        self._drain_log()
        for descriptor in (self._commands, self._answers):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._selector.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _next_message(self, on_tick: Callable[[], None] | None) -> Mapping[str, Any]:
        while b"\n" not in self._replies:
            if self._left_s <= 0:
                self._kill_group()
                raise WorkerLost(
                    self._stage, "timeout", f"no answer within {self._limit_s:.0f} s: the process was ended"
                )
            waiting_since = time.monotonic()
            longest_s = min(self._left_s, self._ends_at - waiting_since)
            if longest_s <= 0:
                self._kill_group()
                raise TimeUp(self._stage)
            ready = self._selector.select(min(longest_s, _TICK_S) if on_tick else longest_s)
            self._left_s -= time.monotonic() - waiting_since
            for key, _ in ready:
                self._take(key.fd)
            if on_tick and not ready:
                on_tick()
        line, _, self._replies = self._replies.partition(b"\n")
        try:
            message: Mapping[str, Any] = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise WorkerLost(self._stage, "crashed", f"the worker answered no JSON ({error})") from error
        return message

    def _take(self, descriptor: int) -> None:
        data = os.read(descriptor, 1 << 16)
        if descriptor == self._answers:
            if not data:
                raise self._lost()
            self._replies += data
        elif data:
            self._log = (self._log + data)[-_TAIL_BYTES:]
        else:
            self._selector.unregister(descriptor)

    def _drain_log(self) -> None:
        """Take what an ended process has printed and nobody has read yet."""
        if self._process.stdout is None or self._process.stdout.closed:
            return
        descriptor = self._process.stdout.fileno()
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):  # something that left the group may hold the pipe open
            while data := os.read(descriptor, 1 << 16):
                self._log = (self._log + data)[-_TAIL_BYTES:]

    def _lost(self) -> WorkerLost:
        """Say how the process ended; a kill that nobody here sent is the kernel's, out of memory."""
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return WorkerLost(self._stage, "crashed", "the worker closed its pipe and stayed alive")
        if code == -signal.SIGKILL:
            return WorkerLost(
                self._stage, "out of memory", "killed by SIGKILL, as the kernel does when memory ends"
            )
        if code < 0:
            return WorkerLost(self._stage, "crashed", f"killed by {signal.Signals(-code).name}")
        return WorkerLost(self._stage, "crashed", f"the process ended with exit code {code} and no answer")

    def _kill_group(self) -> None:
        _kill(self._started())
        self._signal_group(signal.SIGKILL)

    def _started(self) -> dict[int, str | None]:
        """Return what the process has started, by number, with when that began: numbers are used again."""
        if self._process.poll() is not None:
            return {}
        return {pid: processes.began(pid) for pid in processes.descendants(self._process.pid)}

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _kill(started: Mapping[int, str | None]) -> None:
    """End what a worker has started: who took a session of its own is in no group of the worker's."""
    for pid, began in started.items():
        if processes.runs(pid, began):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _wait(started: Mapping[int, str | None]) -> None:
    """Wait until what was ended has left its memory and its core: what is measured next would feel it."""
    deadline = time.monotonic() + _END_S
    while any(processes.runs(pid, began) for pid, began in started.items()) and time.monotonic() < deadline:
        time.sleep(_STOP_POLL_S)


def _environment(threads: int, scratch: Path, online: bool) -> dict[str, str]:
    """The variables of a worker: its threads, caches that are private so that cold is cold, no network."""
    count = str(threads)
    own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), count)
    own |= {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"), "TMPDIR": str(scratch)}
    own["CUDA_VISIBLE_DEVICES"] = ""  # what is measured is the CPU: compilers need not look at a GPU
    own["THP_MEM_ALLOC_ENABLE"] = "0"  # huge pages are asked for by a recipe, not by the shell that runs us
    return own if online else own | {"HF_HUB_OFFLINE": "1"}
