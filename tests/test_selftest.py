"""The proofs' trials are kept: a proof that was ended goes on, and one of other code begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from unetbench.measuring.preparing import Preparing
from unetbench.measuring.reference import name
from unetbench.measuring.worker import Turns
from unetbench.photos import default_photos, digest
from unetbench.verdicts import Pair

SELFTEST = Path(__file__).parents[1] / "benchmarks" / "selftest"
SAID = Pair(ratio=1.03, low=1.01, high=1.05, verdict="faster")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SELFTEST))
    module = import_module("kept")
    monkeypatch.setattr(module, "_FILE", tmp_path / "trials.jsonl")
    return module


def _made(kept: ModuleType, of: str, count: int, *, ends_after: int = 100) -> tuple[list[int], int]:
    """The seeds that a proof makes anew, and how many trials it has at its end."""
    seeds: list[int] = []

    def make(seed: int) -> object:
        seeds.append(seed)
        return kept.Trial.told(of, seed, SAID, blocks=8, minutes=0.1)

    told = list(kept.each(of, count, make, over=lambda: len(seeds) >= ends_after))
    return seeds, len(told[-1])


def test_a_proof_goes_on_where_it_was_ended(kept: ModuleType) -> None:
    assert _made(kept, "same", 5, ends_after=2) == ([0, 1], 2)
    assert _made(kept, "other", 1) == ([0], 1)
    assert _made(kept, "same", 5) == ([2, 3, 4], 5)
    assert _made(kept, "same", 5) == ([], 5)
    trial = kept.known("same")[0]
    assert (trial.verdict, trial.ratio, trial.low, trial.high, trial.blocks) == (
        "faster",
        1.03,
        1.01,
        1.05,
        8,
    )


def test_trials_of_other_code_do_not_count(kept: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    _made(kept, "same", 3)
    _made(kept, "other", 1)
    monkeypatch.setattr(kept, "code", lambda: "edited")
    assert kept.known("same") == []
    assert _made(kept, "same", 1) == ([0], 1)
    assert kept._FILE.read_text().count('"same"') == 1, "what other code made goes"
    assert kept._FILE.read_text().count('"other"') == 1, "until its own proof is run again"


@pytest.mark.usefixtures("kept")
def test_each_size_of_a_real_network_has_its_own_reference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both cases of a block share a folder, in which each worker looks for its own."""
    proof, worker = import_module("real_network"), import_module("sized_worker")
    monkeypatch.setattr(Preparing, "_ask", lambda *_, **__: None)  # what it would make is not looked at
    monkeypatch.setattr(Preparing, "artifact", lambda *_: None)
    loaded: list[str] = []
    monkeypatch.setattr(Turns, "load", lambda _, case, folder, artifact: loaded.append(folder))
    tries = proof.Tries("test_resnet", "torch_eager/fp32", tmp_path)
    turns = object.__new__(worker.SizedTurns)
    for case in tries.cases:
        turns.load(msgspec.to_builtins(case), str(tmp_path), None)
    made = [tmp_path / name(case, images=digest(default_photos()), checked_inputs=1) for case in tries.cases]
    assert [Path(folder).readlink() for folder in loaded] == made
    assert len(set(made)) == 2
