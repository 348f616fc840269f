"""What the tests of rewrites share: random shapes, statistics as training leaves them, errors in fp64 and fp32."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

SEEDS = st.integers(0, 2**31)
CHANNELS = st.integers(1, 9)
FP64 = 1e-12
TIMES_EAGER = 3.0  # fp32: at most so many times the error that the network had before


def train(model: nn.Module) -> nn.Module:
    """Give batch norms statistics, scales and shifts that are not their defaults."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.running_mean is not None and module.running_var is not None:
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.2, 3.0)
            if module.weight is not None:
                nn.init.uniform_(module.weight, -1.5, 1.5)
            if module.bias is not None:
                nn.init.normal_(module.bias)
    return model.eval()


@torch.no_grad()
def error(expected: Tensor, answer: Tensor) -> float:
    difference = (answer.double() - expected).detach()
    return float(difference.norm() / expected.detach().norm().clamp_min(1e-300))


@torch.inference_mode()
def assert_same(plain: nn.Module, folded: nn.Module, *inputs: Any, least: float = 1e-7) -> None:
    """Both answer the same in fp32: hardly worse than before, where that was no luck.

    `least`: the error that a few operations have by rounding; which of two forms has more of it is chance.
    """
    exact = deepcopy(plain).double()

    def expected(given: Sequence[Any]) -> Tensor:
        answer: Tensor = exact(*(None if each is None else each.double() for each in given))
        return answer

    eager, found = error(expected(inputs), plain(*inputs)), error(expected(inputs), folded(*inputs))
    if found > TIMES_EAGER * max(eager, least):
        # Where an activation leaves a few numbers near zero, how they are rounded is luck: beside them it is drawn anew.
        beside = [
            [None if each is None else each * (1 + step / 1000) for each in inputs] for step in range(1, 9)
        ]
        eager = max(error(expected(given), plain(*given)) for given in beside)
    assert found <= TIMES_EAGER * max(eager, least)
