"""The turns of a worker: each answer stays what it was, inputs go round, nothing else runs beside a run."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from tests.samples import case
from unetbench.errors import WrongOutput
from unetbench.measuring.worker import Turns, _kind

INPUTS = 3


class Watched:
    """A runtime whose answer is its input, `drift` more from its n-th run on; it keeps what it was given, and when."""

    def __init__(self, *, drift: float = 0.0, after: int = 10**9) -> None:
        self.drift, self.after = drift, after
        self.bound: list[int] = []
        self.collecting: list[bool] = []

    def bind(self, image: Any) -> None:
        self.bound.append(int(image[0, 0, 0, 0]))

    def run(self) -> None:
        self.collecting.append(gc.isenabled())

    def read(self) -> Any:
        more = self.drift if len(self.collecting) >= self.after else 0.0
        return np.full((1, 1, 2, 2), 1.0 + self.bound[-1] + more, np.float32)

    def in_force(self) -> dict[str, str]:
        return {"threads": "1"}


def _turns(session: Watched, recipe: str = "torch_eager/fp32") -> Turns:
    turns = Turns(lambda _: None)
    turns._case, turns._session = case(recipe=recipe), session  # type: ignore[assignment]
    turns._images = [np.full((1, 3, 2, 2), number, np.float32) for number in range(INPUTS)]
    return turns


def test_inputs_go_round_over_all_turns_and_garbage_waits() -> None:
    session = Watched()
    turns = _turns(session)
    turns.run(at_least=2, at_most=2, limit_ns=0)
    for _ in range(2):
        turns.turn(warmup_ns=0, runs=3)
    assert session.bound == [number % INPUTS for number in range(2 + 2 * 4)]
    assert not any(session.collecting)
    assert gc.isenabled()


@pytest.mark.parametrize(("recipe", "limit"), [("torch_eager/fp32", 0.001), ("openvino/int8", 0.01)])
def test_an_answer_that_changes_between_runs_is_wrong_however_often_it_was_right(
    recipe: str, limit: float
) -> None:
    """What differs by more than the order of sums is other work than was timed before."""
    largest = INPUTS  # of the answer to the input that comes round first
    steady = _turns(Watched(drift=0.5 * limit, after=INPUTS + 1), recipe)
    steady.turn(warmup_ns=0, runs=2 * INPUTS)
    drifting = _turns(Watched(drift=1.5 * limit * largest, after=INPUTS + 1), recipe)
    with pytest.raises(WrongOutput, match="changed between runs") as caught:
        drifting.turn(warmup_ns=0, runs=2 * INPUTS)
    assert _kind(caught.value) == "wrong output"


def test_a_change_from_one_turn_to_the_next_is_found_too() -> None:
    turns = _turns(Watched(drift=1.0, after=6))
    turns.turn(warmup_ns=0, runs=3)
    with pytest.raises(WrongOutput):
        turns.turn(warmup_ns=0, runs=3)
