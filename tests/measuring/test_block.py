"""A case that takes more of the machine than it was given is refused; the kernel's coarse clock is not."""

from __future__ import annotations

import pytest

from unetbench.errors import WorkerLost
from unetbench.measuring.block import _refuse_other_threads

MS = 1_000_000


def _asked(*, told: str = "2", busy: float, run_ms: float, runs: int) -> None:
    run_ns = [round(run_ms * MS)] * runs
    timed = {"run_ns": run_ns, "cpu_ns": round(sum(run_ns) * busy)}
    _refuse_other_threads(2, {"threads": told}, timed)


@pytest.mark.parametrize(("run_ms", "runs"), [(100.0, 10), (30.0, 60), (3.0, 500)])
def test_a_thread_too_many_is_found_whatever_the_run_takes(run_ms: float, runs: int) -> None:
    with pytest.raises(WorkerLost, match=r"2 threads were asked for.*3\.00 cores"):
        _asked(busy=3.0, run_ms=run_ms, runs=runs)


def test_a_runtime_that_says_another_number_is_refused() -> None:
    with pytest.raises(WorkerLost, match="the runtime says 4"):
        _asked(told="4", busy=1.0, run_ms=100.0, runs=10)


def test_what_the_clock_cannot_tell_is_no_finding() -> None:
    """Ten runs of 3 ms by threads that turn in a loop read 2.2 cores now and then, 1.9 at other times."""
    _asked(busy=2.2, run_ms=3.0, runs=10)
    with pytest.raises(WorkerLost):
        _asked(busy=2.2, run_ms=100.0, runs=30)
