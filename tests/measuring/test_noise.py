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


def test_throttling_is_counted_wherever_the_limit_is_and_pressure_where_it_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\n"
    files = {
        "/own/cpu.stat": "nr_throttled 2\n",
        "/above/cpu.stat": "usage_usec 1\nnr_throttled 5\n",
        "/own/cpu.pressure": waited.format(7),
        "/proc/pressure/cpu": waited.format(999),
    }
    monkeypatch.setattr(noise, "control_groups", lambda: ("/own", "/above"))
    monkeypatch.setattr(noise, "_text", files.get)
    told = noise.counters()
    assert (told["throttled_periods"], told["cpu_pressure_us"]) == (7, 7)
    del files["/own/cpu.pressure"]
    assert noise.counters()["cpu_pressure_us"] == 999
    monkeypatch.setattr(noise, "_text", lambda path: None)
    told = noise.counters()
    assert (told["throttled_periods"], told["cpu_pressure_us"]) == (None, None), "unknown, not fine"
