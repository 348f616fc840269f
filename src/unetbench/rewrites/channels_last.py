"""Lay the weights out with the channels innermost (N H W C), which the convolutions then do for their maps.

The answer is the same; which layout is faster depends on the machine and the runtime.
Source: PyTorch's memory formats.
"""

from __future__ import annotations

import torch
from torch import nn

TOLERANCE = 1e-12  # relative, in fp64: sums in another order


def offered(network: nn.Module) -> int:
    """Return how many weights of convolutions lie in another layout."""
    return sum(
        1
        for parameter in network.parameters()
        if parameter.ndim == 4 and not parameter.is_contiguous(memory_format=torch.channels_last)
    )


def why_none(network: nn.Module) -> str:
    """Return why no weight is laid out anew."""
    weights = sum(1 for parameter in network.parameters() if parameter.ndim == 4)
    return f"all {weights} weights of four dimensions lie so already" if weights else "it has no convolution"


def apply(network: nn.Module) -> nn.Module:
    """Give every four-dimensional weight the layout; others, as those of 3D networks, stay as they are."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
