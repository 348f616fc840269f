"""Do the threads that compute flush denormals? Read from outside, in each thread's own control register.

A runtime knows what it asked for; its pool's threads may have started before, or set something else. Reading
stops each thread for some microseconds, so it is done between runs. It changes nothing; what cannot be read is
unknown, not fine.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SEIZE, _INTERRUPT, _DETACH, _GET_FPREGS = 0x4206, 0x4207, 17, 14  # <sys/ptrace.h>
_WALL: Final = 0x40000000  # of waitpid: threads too
_FPREGS_BYTES, _MXCSR = 512, slice(24, 28)  # struct user_fpregs_struct of x86-64
_FLUSHED: Final = 0x8040  # flush to zero, and denormals are zero
_STOP_S, _POLL_S = 5.0, 0.0001  # how long a thread may take to stop: one that does not could not be let go
_SHARE = 0.05  # of the busiest thread's time: one that ran less did not compute


def thread_times_ns(pid: int) -> dict[int, int]:
    """Return the time on a CPU of each of a process's threads."""
    found = {}
    for task in _tasks(pid):
        try:
            found[int(task.name)] = int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError):
            continue  # it has ended, or the kernel keeps no such times
    return found


def told(pid: int, before: Mapping[int, int]) -> str:
    """Say whether those threads flush denormals that have computed since their times were read."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return f"unknown: their registers are not read on {platform.machine()}"
    spent = {thread: ns - before.get(thread, 0) for thread, ns in thread_times_ns(pid).items()}
    least_ns = _SHARE * max(spent.values(), default=0)
    computed = [thread for thread, ns in spent.items() if ns > 0 and ns >= least_ns]
    if not computed:
        return "unknown: the kernel does not tell which threads ran"
    try:
        words = [_control_word(thread) for thread in computed]
    except OSError as error:
        return f"unknown: no thread's registers can be read here ({error.strerror})"
    kept = sum(word & _FLUSHED != _FLUSHED for word in words)
    return f"kept in {kept} of {len(words)}" if kept else f"flushed in all {len(words)}"


def _control_word(thread: int) -> int:
    """Return a thread's MXCSR. Raises: OSError where that is not allowed, or it does not stop in time."""
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    library.ptrace.restype = ctypes.c_long

    def ask(request: int, into: object = None) -> None:
        if library.ptrace(request, thread, None, into) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    registers = ctypes.create_string_buffer(_FPREGS_BYTES)
    ask(_SEIZE)
    try:
        ask(_INTERRUPT)
        _wait_until_stopped(thread)
        ask(_GET_FPREGS, registers)
    finally:
        library.ptrace(_DETACH, thread, None, None)
    return int.from_bytes(registers.raw[_MXCSR], "little")


def _wait_until_stopped(thread: int) -> None:
    deadline = time.monotonic() + _STOP_S
    while os.waitpid(thread, _WALL | os.WNOHANG)[0] != thread:
        if time.monotonic() > deadline:
            raise TimeoutError(0, "it did not stop")
        time.sleep(_POLL_S)


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path("/proc", str(pid), "task").iterdir())
    except OSError:
        return []  # it has ended
