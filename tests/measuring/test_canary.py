"""The canaries: both kernels take time, on as many threads as asked."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from unetbench.measuring.canary import Canary


def test_a_reading_is_two_times_above_zero_and_its_threads_end() -> None:
    before = threading.active_count()
    canary = Canary(2)
    cache_ns, memory_ns = canary.read()
    assert min(cache_ns, memory_ns) > 10_000
    canary.close()
    assert threading.active_count() == before


def test_memory_is_read_where_no_reading_has_been_for_long() -> None:
    """Else what is meant to come from memory comes from the last cache."""
    canary = Canary(2)
    windows = canary._rings[0].size // canary._window
    whole = sum(ring.nbytes for ring in canary._rings)
    assert whole == 256 << 20
    assert windows * canary._window * 4 * 2 > 0.95 * whole
    seen = []
    for _ in range(windows):
        canary._in_memory(0)
        seen.append(canary._places[0])
    assert sorted(seen) == list(range(windows))
    canary.close()


def test_each_thread_keeps_to_a_cpu_of_its_own() -> None:
    canary = Canary(2)
    held = [pool.submit(os.sched_getaffinity, 0).result() for pool in canary._pools]
    assert [len(cpus) for cpus in held] == [1, 1]
    if len(os.sched_getaffinity(0)) > 1:
        assert held[0] != held[1]
    canary.close()


def test_a_reading_is_the_slowest_threads_after_one_that_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, int]] = []
    canary = Canary(2)

    def timed(kernel: Any, thread: int) -> int:
        asked.append((kernel.__name__, thread))
        return 1000 * len(asked) // 2 * (1 + thread)

    monkeypatch.setattr(canary, "_timed", timed)
    monkeypatch.setattr(canary, "_pools", [_AtOnce(), _AtOnce()])
    cache_ns, memory_ns = canary.read()
    assert [name for name, thread in asked if not thread] == [
        "_in_memory",
        "_in_cache",
        "_in_cache",
        "_in_memory",
    ]
    assert (cache_ns, memory_ns) == (6000, 8000), "the second thread's, of the third and the fourth kernel"


class _AtOnce:
    """Runs what it is handed when it is handed it."""

    def submit(self, act: Any, *arguments: Any) -> Any:
        done: Future[int] = Future()
        done.set_result(act(*arguments))
        return done


def test_one_interruption_is_no_neighbour() -> None:
    """Of three runs of a kernel the middle one counts."""
    steps = iter([0, 1, 1, 901, 901, 906])
    canary = Canary(1)
    canary._clock = steps.__next__
    assert canary._timed(lambda thread: None, 0) == 5
    canary.close()


def test_it_is_timed_by_the_clock_it_is_given() -> None:
    ticks = iter(range(0, 10_000_000, 5))
    canary = Canary(1, clock=ticks.__next__)
    assert canary.read() == (5, 5)
    canary.close()
