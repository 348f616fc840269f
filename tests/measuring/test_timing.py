"""A session and a clock give raw nanoseconds: what is timed, what is not, when it stops."""

from __future__ import annotations

import gc

import numpy as np

from tests.fakes import MS, FakeClock, FakeSession
from unetbench.measuring.timing import no_garbage_collection, timed_runs

IMAGES = [np.full((1, 3, 2, 2), index, np.float32) for index in range(3)]


def _timed(run_ns, **limits):  # type: ignore[no-untyped-def]
    clock = FakeClock()
    session = FakeSession(clock, bind_ns=2 * MS, run_ns=run_ns, read_ns=5 * MS)
    return session, timed_runs(session, IMAGES, clock=clock, cpu_clock=clock, **limits)


def test_bind_run_and_read_are_timed_apart() -> None:
    _, samples = _timed([10 * MS, 20 * MS], at_least=1, at_most=2, limit_ns=10**12)
    assert samples.run_ns == [10 * MS, 20 * MS]
    assert samples.bind_ns == [2 * MS, 2 * MS]
    assert samples.read_ns == [5 * MS, 5 * MS]
    assert samples.cpu_ns == 30 * MS, "CPU time covers the runs alone"


def test_images_are_cycled() -> None:
    session, _ = _timed([MS] * 5, at_least=1, at_most=5, limit_ns=10**12)
    assert session.bound == [0, 1, 2, 0, 1]


def test_it_stops_at_the_limit_of_running() -> None:
    _, samples = _timed([400 * MS] * 10, at_least=3, at_most=10, limit_ns=1000 * MS)
    assert len(samples.run_ns) == 3, "1.2 s of running passes the limit of 1 s"


def test_a_slow_case_still_has_its_least_runs() -> None:
    _, samples = _timed([5000 * MS] * 10, at_least=3, at_most=10, limit_ns=1000 * MS)
    assert len(samples.run_ns) == 3


def test_slow_runs_are_kept() -> None:
    _, samples = _timed([MS, 900 * MS, MS], at_least=3, at_most=3, limit_ns=10**12)
    assert samples.run_ns == [MS, 900 * MS, MS]


def test_no_garbage_is_collected_while_timing() -> None:
    seen = []

    class Watching(FakeSession):
        def run(self) -> None:
            seen.append(gc.isenabled())

    clock = FakeClock()
    session = Watching(clock, bind_ns=0, run_ns=[], read_ns=0)
    with no_garbage_collection():
        timed_runs(session, IMAGES, at_least=1, at_most=1, limit_ns=0, clock=clock, cpu_clock=clock)
    assert seen == [False]
    assert gc.isenabled()
