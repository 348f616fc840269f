"""Count a network's parameters and arithmetic, without computing anything."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Return the number of parameters (buffers, such as batch-norm statistics, are none)."""
    return sum(parameter.numel() for parameter in model.parameters())


def flop(model: nn.Module, shape: tuple[int, int, int, int]) -> int:
    """Return the floating-point operations of one run: convolutions and products, multiply-add as 2.

    Shapes: `shape` is the input's (B, C, H, W). The pass runs on meta tensors: no memory, no time.
    """
    counter = FlopCounterMode(display=False)
    ghost = deepcopy(model).to("meta")
    with torch.no_grad(), counter:
        ghost(torch.empty(shape, device="meta"))
    return counter.get_total_flops()
