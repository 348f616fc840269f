"""Blocks with real processes of known work: the ratio comes out, everything else is stopped, nothing is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unetbench.measuring import processes
from unetbench.samples import Sample
from unetbench.verdicts import pair

SELFTEST = Path(__file__).parents[2] / "benchmarks" / "selftest"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.syspath_prepend(str(SELFTEST))
    monkeypatch.setenv("PYTHONPATH", str(SELFTEST))
    import trials

    yield trials
    for name in ("trials", "figures", "spin_worker"):
        sys.modules.pop(name, None)


class Watching:
    """A canary that looks whether anything else runs while it is read."""

    def __init__(self) -> None:
        self.running = 0

    def read(self) -> tuple[int, int]:
        workers = [pid for pid in processes.descendants(os.getpid()) if not processes.all_stopped(pid)]
        self.running += len(workers)
        return 1000, 1000


def test_a_known_ratio_comes_out_and_every_process_is_stopped_between_turns(trials) -> None:  # type: ignore[no-untyped-def]
    canary = Watching()
    amount = trials.per_ms("compute") * 3
    work = {"short": ("compute", amount), "long": ("compute", 2 * amount)}
    made = trials.blocks(work, 2, canary=canary, seed=1)
    assert canary.running == 0
    said = pair(Sample(made["short"]), Sample(made["long"]))
    assert said.ungated == pytest.approx(2.0, rel=0.3)
    assert {len(turns) for turns in made["short"].values()} == {len(turns) for turns in made["long"].values()}
    assert all(turn.ended_s > turn.started_s > 0 for turns in made["short"].values() for turn in turns)
