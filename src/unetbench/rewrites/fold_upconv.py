"""Fold an up-convolution into the 3×3 convolution behind the concatenation; the concatenation disappears.

With z = Up(x) of kernel and stride 2, K_z the 3×3 kernel's part for z and K_s for the skip s,
K * cat(z, s) = (K_z * Up) x + K_s * s, and K_z * Up is one up-convolution of kernel 4, stride 2, padding 1: the
weight at kernel row k sums all pairs of an Up phase a and a tap dy with a − dy + 1 = k. The padding's zeros
agree on both sides; Up's bias does not reach them, so that it is added as a map that knows the border.
Source: own (docs/folding.md).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.errors import Unsupported
from unetbench.rewrites._doubling import TAPS, is_plain_convolution, placed
from unetbench.rewrites._ghost import example_shape, hooked

TOLERANCE = 1e-12  # relative, in fp64: sums of products of two weights
# Which stages: those whose multiplications get fewer, all, or so many of the finest.
OPTIONS = {"stages": ("saving", "all", "1", "2", "3")}


def offered(network: nn.Module, stages: str = "saving") -> int:
    """Return how many stages of the decoder it would fold."""
    return len(_chosen(network, stages))


def why_none(network: nn.Module, stages: str = "saving") -> str:
    """Return why no stage of the decoder would be folded."""
    if unfolded := sum(1 for module in network.modules() if _is_stage(module)):
        if stages != "saving":
            return "as many stages as asked for are folded already"
        return f"none of its {unfolded} unfolded stages would have fewer multiplications; stages=all asks for them"
    if any(isinstance(module, FoldedStage) for module in network.modules()):
        return "its stages are folded already"
    return "no stage is built as this package's U-Net has them: up-convolution, concatenation, plain 3×3 convolution"


@torch.no_grad()
def apply(network: nn.Module, stages: str = "saving") -> nn.Module:
    """Fold the stages asked for.

    Raises: Unsupported where the up-convolution's map is padded or cropped before it is concatenated.
    """
    names = _chosen(network, stages)
    for name in names:
        stage = network.get_submodule(name)
        folded = FoldedStage(stage.up, stage.convolutions)
        _check(name, stage, folded)
        network.set_submodule(name, folded)
    shape = example_shape(network)
    if names and shape is not None and hasattr(network, "encoder"):
        deepcopy(network).to(device="meta", dtype=torch.float32)(
            torch.empty(shape, device="meta")
        )  # refuses maps that do not fit
    return network


class FoldedStage(nn.Module):
    """A stage whose up-convolution and first convolution are one.

    Shapes: below (B, in_channels, h, w), skip (B, skip_channels, 2h, 2w) -> (B, width, 2h, 2w).
    """

    def __init__(self, up: Any, convolutions: Any) -> None:
        super().__init__()
        first, *rest = convolutions
        kernel = first.weight.double()  # (out, middle + skip, 3, 3)
        middle = up.out_channels
        dtype = first.weight.dtype
        # On the meta device: else each layer would draw weights, and so move the generator that others draw from.
        self.up = nn.ConvTranspose2d(
            up.in_channels, first.out_channels, 4, stride=2, padding=1, bias=False, device="meta"
        )
        self.up.weight = nn.Parameter(_product(up.weight.double(), kernel[:, :middle]).to(dtype))
        self.skip = None
        if first.in_channels > middle:
            self.skip = nn.Conv2d(
                first.in_channels - middle, first.out_channels, TAPS, padding=1, bias=False, device="meta"
            )
            self.skip.weight = nn.Parameter(kernel[:, middle:].to(dtype))
        bias = torch.zeros(first.out_channels, dtype=torch.float64)
        if first.bias is not None:
            bias = bias + first.bias.double()
        self.bias = nn.Parameter(bias.reshape(1, -1, 1, 1).to(dtype))
        through = torch.zeros(middle, dtype=torch.float64) if up.bias is None else up.bias.double()
        # What Up's bias adds through each tap: a tap outside of the map adds nothing.
        self.taps = nn.Parameter(torch.einsum("omyx,m->oyx", kernel[:, :middle], through)[:, None].to(dtype))
        self.convolutions = nn.Sequential(*rest)

    def forward(self, below: Tensor, skip: Tensor | None) -> Tensor:
        out = self.up(below)  # (B, width, 2h, 2w)
        ones = torch.ones((1, 1, *out.shape[-2:]), dtype=out.dtype, device=out.device)
        out = out + (F.conv2d(ones, self.taps.to(out.dtype), padding=1) + self.bias)
        if self.skip is not None:
            assert skip is not None
            if skip.shape[-2:] != out.shape[-2:]:
                raise Unsupported(
                    f"fold_upconv cannot join maps of {tuple(out.shape[-2:])} and {tuple(skip.shape[-2:])} "
                    "pixels exactly: this encoder's maps are no halves of each other; leave the rewrite out."
                )
            out = out + self.skip(skip)
        answer: Tensor = self.convolutions(out)
        return answer


def _product(up: Tensor, kernel: Tensor) -> Tensor:
    """Return the weight of both together. Shapes: (in, middle, 2, 2), (out, middle, 3, 3) -> (in, out, 4, 4)."""
    return placed(lambda a, b: torch.einsum("im,omyx->ioyx", up[:, :, a, b], kernel).flip(-1, -2))


def _chosen(network: nn.Module, stages: str) -> list[str]:
    """Return the names of the stages to fold, coarsest first."""
    found = [name for name, module in network.named_modules() if _is_stage(module)]
    if stages == "saving":
        return [name for name in found if _saves(network.get_submodule(name))]
    total = sum(1 for module in network.modules() if _is_stage(module) or isinstance(module, FoldedStage))
    already = total - len(found)
    return found if stages == "all" else found[max(0, len(found) - max(0, int(stages) - already)) :]


def _is_stage(module: Any) -> bool:
    up, convolutions = getattr(module, "up", None), getattr(module, "convolutions", None)
    if type(up) is not nn.ConvTranspose2d or not isinstance(convolutions, nn.Sequential):
        return False
    first: Any = convolutions[0]
    if any(hooked(each) for each in (module, up, convolutions)):
        return False
    doubles = (up.kernel_size, up.stride, up.padding, up.dilation, up.output_padding, up.groups) == (
        (2, 2), (2, 2), (0, 0), (1, 1), (0, 0), 1
    )  # fmt: skip
    return doubles and is_plain_convolution(first) and first.in_channels >= up.out_channels


def _saves(stage: Any) -> bool:
    """Whether a stage has fewer multiplications folded, per output pixel."""
    below, middle, out = stage.up.in_channels, stage.up.out_channels, stage.convolutions[0].out_channels
    return bool(4 * below * out < below * middle + TAPS**2 * middle * out)


def _check(name: str, stage: Any, folded: FoldedStage) -> None:
    """A module that looks like a stage must be one: both must answer the same on a small map."""
    random = torch.Generator().manual_seed(0)
    others = stage.convolutions[0].in_channels - stage.up.out_channels
    below = torch.rand((1, stage.up.in_channels, 3, 4), dtype=torch.float64, generator=random)
    skip = torch.rand((1, others, 6, 8), dtype=torch.float64, generator=random) if others else None
    answer = FoldedStage(deepcopy(stage.up).double(), deepcopy(stage.convolutions).double())(below, skip)
    try:
        expected = deepcopy(stage).double()(below, skip)
        same = torch.allclose(answer, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    except (TypeError, RuntimeError):  # it takes other arguments, or other shapes
        same = False
    if not same:
        raise Unsupported(
            f"fold_upconv cannot fold {name}: it is no up-convolution, concatenation and convolutions in "
            "that order; leave the rewrite out."
        )
