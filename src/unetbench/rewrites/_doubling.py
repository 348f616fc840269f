"""What folds of a doubled map share: which convolution they take, and the kernel that doubles and convolves at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unetbench.errors import Unsupported
from unetbench.rewrites._ghost import hooked

TAPS = 3


def is_plain_convolution(module: Any) -> bool:
    """Return whether a module is a 3×3 convolution that keeps the size, padded with zeros, that nobody listens to."""
    return type(module) is nn.Conv2d and not hooked(module) and (
        module.kernel_size, module.stride, module.dilation, module.groups, module.padding_mode
    ) == ((TAPS, TAPS), (1, 1), (1, 1), 1, "zeros") and module.padding in ((1, 1), "same")  # fmt: skip


def divided(convolution: Any, at: int, width: int) -> tuple[Tensor, nn.Conv2d | None]:
    """Return a kernel's part for `width` channels from `at`, in fp64, and a convolution of the others, with its bias.

    Shapes: the part (out, width, 3, 3). None where there are no others.
    """
    weight = convolution.weight.detach()  # (out, in, 3, 3)
    chosen = torch.zeros(weight.shape[1], dtype=torch.bool, device=weight.device)
    chosen[at : at + width] = True
    part = weight[:, chosen].double()
    if chosen.all():
        return part, None
    # On the meta device: else each layer would draw weights, and so move the generator that others draw from.
    rest = nn.Conv2d(weight.shape[1] - width, weight.shape[0], TAPS, padding=1, bias=False, device="meta")
    rest.weight = nn.Parameter(weight[:, ~chosen])
    rest.bias = _own(convolution.bias)
    return part, rest


def upconvolution(weight: Tensor, bias: Tensor | None) -> nn.ConvTranspose2d:
    """Return an up-convolution of kernel 4, stride 2, padding 1. Shapes: weight (in, out, 4, 4), bias (out,)."""
    inputs, outputs = weight.shape[:2]
    # On the meta device, as above.
    up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False, device="meta")
    up.weight = nn.Parameter(weight)
    up.bias = _own(bias)
    return up


def _own(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().clone())


def refuse_unfit(name: str, made: Sequence[int], wanted: Sequence[int]) -> None:
    """Raise Unsupported where a doubled map has not the size that is wanted. Units: pixels, (height, width)."""
    if tuple(made) != tuple(wanted):
        raise Unsupported(
            f"{name} cannot join maps of {tuple(made)} and {tuple(wanted)} pixels exactly: this encoder's maps are no "
            "halves of each other; leave the rewrite out."
        )


def placed(phase: Callable[[int, int], Tensor]) -> Tensor:
    """Return the weight of an up-convolution of kernel 4, stride 2, padding 1, from the taps of each of its four phases.

    A tap dy of phase a stands in row k = a − dy + 1, dy from 1 down to −1.
    Shapes: (in, out, 3, 3) each, already flipped -> (in, out, 4, 4).
    """
    phases = {(a, b): phase(a, b) for a in range(2) for b in range(2)}
    weight = phases[0, 0].new_zeros((*phases[0, 0].shape[:2], 4, 4))
    for (a, b), taps in phases.items():
        weight[:, :, a : a + TAPS, b : b + TAPS] += taps
    return weight
