"""Two small kernels of known work: how much of this machine do the neighbours leave us right now?

The supervisor runs them while every case is stopped, so a reading is blind to the cases. One kernel
stays in cache (it feels a neighbour on the same core and clock changes), one streams through memory
(it feels a neighbour on the same cache and memory bus). How they were chosen: docs/measuring.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from unetbench import machine

# 64 KiB and its sum stay in a core's own cache; so many passes take about 1 ms on a core of 2023.
_CACHE_FLOATS = 16_384
_CACHE_PASSES = 500
# A window of memory that the kernels before it have not touched: 256 MiB come round after 4 readings, discarded ones included.
_RING_FLOATS = 64 << 20
_WINDOW_FLOATS = 8 << 20  # 32 MiB read and 32 MiB written by all threads: about 2.5 ms
_TIMES = 3  # each thread's median of as many: one interruption is no neighbour

Reading = tuple[int, int]  # nanoseconds in cache, in memory


class Canary:
    """Kernels on as many threads as the cases have, each on a CPU of its own with its own data.

    A thread times its own kernel, so that waking up is no part of the reading; the slowest thread counts,
    as a case's slowest thread does.
    """

    def __init__(self, threads: int, *, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._threads = range(threads)
        cpus = machine.cpus_core_by_core()  # two threads on one core would measure each other
        self._pools = [
            ThreadPoolExecutor(1, initializer=_pin, initargs=(cpus[thread % len(cpus)],))
            for thread in self._threads
        ]
        self._small = [np.ones(_CACHE_FLOATS, np.float32) for _ in self._threads]
        self._sums = [np.zeros(_CACHE_FLOATS, np.float32) for _ in self._threads]
        self._window = _WINDOW_FLOATS // threads // _TIMES
        self._rings = [np.ones(_RING_FLOATS // threads, np.float32) for _ in self._threads]
        self._sinks = [np.zeros(self._window, np.float32) for _ in self._threads]
        self._places = [0] * threads
        self.read()  # the first reading pays for threads and pages

    def read(self) -> Reading:
        """Return the nanoseconds of both kernels, after a discarded reading.

        What ran before has left its data in the caches and its writes on the way to memory: the first
        pass pays for them (without it the memory kernel read a third more after a case than before it).
        """
        self._slowest(self._in_memory)
        self._slowest(self._in_cache)
        cache_ns = self._slowest(self._in_cache)
        memory_ns = self._slowest(self._in_memory)
        return cache_ns, memory_ns

    def close(self) -> None:
        """End the threads."""
        for pool in self._pools:
            pool.shutdown()

    def _slowest(self, kernel: Callable[[int], None]) -> int:
        started = [self._pools[thread].submit(self._timed, kernel, thread) for thread in self._threads]
        return max(done.result() for done in started)

    def _timed(self, kernel: Callable[[int], None], thread: int) -> int:
        times = []
        for _ in range(_TIMES):
            start = self._clock()
            kernel(thread)
            times.append(self._clock() - start)
        return sorted(times)[_TIMES // 2]

    def _in_cache(self, thread: int) -> None:
        many = np.broadcast_to(self._small[thread], (_CACHE_PASSES, _CACHE_FLOATS))
        np.add.reduce(many, axis=0, out=self._sums[thread])  # one call without the interpreter's lock

    def _in_memory(self, thread: int) -> None:
        windows = self._rings[thread].size // self._window
        self._places[thread] = (self._places[thread] + 1) % windows
        start = self._places[thread] * self._window
        np.copyto(self._sinks[thread], self._rings[thread][start : start + self._window])


def _pin(cpu: int) -> None:
    """Keep a thread on one CPU."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
