"""Two small kernels of known work: how much of this machine do the neighbours leave us right now?

The supervisor runs them while every case is stopped, so a reading is blind to the cases. One kernel
stays in cache (it feels a neighbour on the same core and clock changes), one streams through memory
(it feels a neighbour on the same cache and memory bus). How they were chosen: docs/measuring.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# 64 KiB and its sum stay in a core's own cache; so many passes take about 2 ms on a core of 2023.
_CACHE_FLOATS = 16_384
_CACHE_PASSES = 600
# A window of memory that the kernels before it have not touched: 256 MiB come round after 32 readings.
_RING_FLOATS = 64 << 20
_WINDOW_FLOATS = 2 << 20  # 8 MiB a reading and 8 MiB written: about 2 ms

Reading = tuple[int, int]  # nanoseconds in cache, in memory


class Canary:
    """Kernels on as many threads as the cases have, each thread with its own data."""

    def __init__(self, threads: int, *, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="canary")
        self._small = [np.ones(_CACHE_FLOATS, np.float32) for _ in range(threads)]
        self._sums = [np.zeros(_CACHE_FLOATS, np.float32) for _ in range(threads)]
        share = _WINDOW_FLOATS // threads
        self._window = share
        self._rings = [np.ones(_RING_FLOATS // threads, np.float32) for _ in range(threads)]
        self._sinks = [np.zeros(share, np.float32) for _ in range(threads)]
        self._place = 0
        self.read()  # the first reading pays for threads and pages

    def read(self) -> Reading:
        """Return the nanoseconds of both kernels, after one discarded pass that fills the caches."""
        self._timed(self._in_cache)
        cache_ns = self._timed(self._in_cache)
        memory_ns = self._timed(self._in_memory)
        self._place = (self._place + 1) % (self._rings[0].size // self._window)
        return cache_ns, memory_ns

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _timed(self, kernel: Callable[[int], None]) -> int:
        start = self._clock()
        for done in [self._pool.submit(kernel, thread) for thread in range(len(self._small))]:
            done.result()
        return self._clock() - start

    def _in_cache(self, thread: int) -> None:
        many = np.broadcast_to(self._small[thread], (_CACHE_PASSES, _CACHE_FLOATS))
        np.add.reduce(many, axis=0, out=self._sums[thread])  # one call without the interpreter's lock

    def _in_memory(self, thread: int) -> None:
        start = self._place * self._window
        np.copyto(self._sinks[thread], self._rings[thread][start : start + self._window])
