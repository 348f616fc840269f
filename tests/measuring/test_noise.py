"""Counters of the kernel: real ones, read before and after."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unetbench.measuring import noise
from unetbench.stats import moved


@pytest.mark.skipif(
    not Path("/proc/self/sched").exists() or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs and a kernel that counts migrations",
)
def test_a_thread_that_is_moved_is_counted() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    before = noise.counters()
    try:
        for cpu in (cpus[0], cpus[1], cpus[0]):
            os.sched_setaffinity(0, {cpu})
    finally:
        os.sched_setaffinity(0, set(cpus))
    count = moved(before, noise.counters())["migrations"]
    assert count is None or count >= 2, "unknown where another thread ended meanwhile"
