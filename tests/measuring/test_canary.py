"""The canaries: both kernels take time, on as many threads as asked."""

from __future__ import annotations

import threading

from unetbench.measuring.canary import Canary


def test_a_reading_is_two_times_above_zero_and_its_threads_end() -> None:
    before = threading.active_count()
    canary = Canary(2)
    cache_ns, memory_ns = canary.read()
    assert min(cache_ns, memory_ns) > 10_000
    canary.close()
    assert threading.active_count() == before


def test_it_is_timed_by_the_clock_it_is_given() -> None:
    ticks = iter(range(0, 10_000_000, 5))
    canary = Canary(1, clock=ticks.__next__)
    assert canary.read() == (5, 5)
    canary.close()
