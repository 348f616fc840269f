"""The proofs' trials are kept: a proof that was ended goes on, and one of other code begins anew. A real network has some."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from unetbench.measuring.preset import Turns
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
def test_a_real_network_on_two_sizes_takes_turns_in_one_block(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SELFTEST))  # for the workers
    few = Turns(runs=1, at_least=1, at_most=1, first_warmups=1, first_warmup_ns=0)
    proof = import_module("real_network")
    tries = proof.Tries("test_resnet", "torch_eager/fp32", tmp_path, size_px=(64, 64), turns=few)
    turned: dict[object, dict[int, object]] = {case: {} for case in tries.cases}
    tries.block(turned, 1, seed=0)
    assert [case.width_px for case in tries.cases] == [64, 96]
    assert [[len(turns) for turns in each.values()] for each in turned.values()] == [[1], [1]]  # type: ignore[arg-type]
