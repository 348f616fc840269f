"""Fold an up-convolution into the 3×3 convolution behind it; a concatenation between them disappears.

With z = Up(x) of kernel and stride 2, K_z the 3×3 kernel's part for z and K_s for the skip s,
K * cat(z, s) = (K_z * Up) x + K_s * s, and K_z * Up is one up-convolution of kernel 4, stride 2, padding 1: the
weight at kernel row k sums all pairs of an Up phase a and a tap dy with a − dy + 1 = k. The padding's zeros
agree on both sides; Up's bias does not reach them, so that it is added as a map that knows the border.
Source: own (docs/folding.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.rewrites._doubling import TAPS, divided, placed, refuse_unfit, upconvolution
from unetbench.rewrites._followed import Site
from unetbench.rewrites._upsampled import fold, sites

TOLERANCE = 1e-12  # relative, in fp64: sums of products of two weights
# Which stages: those whose multiplications get fewer, all, or so many of the finest.
OPTIONS = {"stages": ("saving", "all", "1", "2", "3")}


def offered(network: nn.Module, stages: str = "saving") -> int:
    """Return how many up-convolutions it would fold."""
    return len(_chosen(network, stages))


def why_none(network: nn.Module, stages: str = "saving") -> str:
    """Return why no up-convolution would be folded."""
    if unfolded := len(_sites(network)):
        if stages != "saving":
            return "as many stages as asked for are folded already"
        return f"none of its {unfolded} unfolded stages would have fewer multiplications; stages=all asks for them"
    if _folded_already(network):
        return "its stages are folded already"
    return (
        "no 3×3 convolution in a U-Net's decoder, of this package or of nnU-Net, that keeps the size by zeros reads what an "
        "up-convolution of kernel and stride 2 has doubled (in evaluation, without hooks)"
    )


@torch.no_grad()
def apply(network: nn.Module, stages: str = "saving") -> nn.Module:
    """Fold the stages asked for.

    Raises: Unsupported where the up-convolution's map is padded or cropped before it is concatenated.
    """
    fold(network, _chosen(network, stages), _folded, "fold_upconv")
    return network


class FoldedUpconvolution(nn.Module):
    """An up-convolution, a concatenation and a convolution in one.

    Shapes: below (B, C, h, w), rest (B, in_channels − width, 2h, 2w) or None -> (B, out_channels, 2h, 2w).
    """

    def __init__(self, up: Any, convolution: Any, at: int) -> None:
        super().__init__()
        dtype = convolution.weight.dtype
        kernel, self.rest = divided(convolution, at, up.out_channels)
        weight = _product(up.weight.double(), kernel).to(dtype)
        self.up = upconvolution(weight, convolution.bias if self.rest is None else None)
        self.taps = None
        if up.bias is not None:  # what it adds through each tap: a tap outside of the map adds nothing
            taps = torch.einsum("omyx,m->oyx", kernel, up.bias.double())
            self.taps = nn.Parameter(taps[:, None].to(dtype))

    def forward(self, below: Tensor, rest: Tensor | None = None) -> Tensor:
        out: Tensor = self.up(below)  # (B, out_channels, 2h, 2w)
        if rest is not None:
            refuse_unfit("fold_upconv", out.shape[-2:], rest.shape[-2:])
        if self.taps is not None:
            ones = torch.ones((1, 1, *out.shape[-2:]), dtype=out.dtype, device=out.device)
            out = out + F.conv2d(ones, self.taps.to(out.dtype), padding=1)
        return out if self.rest is None else out + self.rest(rest)


def _product(up: Tensor, kernel: Tensor) -> Tensor:
    """Return the weight of both together. Shapes: (in, middle, 2, 2), (out, middle, 3, 3) -> (in, out, 4, 4)."""
    return placed(lambda a, b: torch.einsum("im,omyx->ioyx", up[:, :, a, b], kernel).flip(-1, -2))


def _folded(owner: nn.Module, site: Site) -> nn.Module:
    assert site.up is not None
    return FoldedUpconvolution(owner.get_submodule(site.up), owner.get_submodule(site.convolution), site.at)


def _sites(network: nn.Module) -> list[Site]:
    return sites(network, upconvolutions=True)


def _chosen(network: nn.Module, stages: str) -> list[Site]:
    """Return the up-convolutions to fold, coarsest first."""
    found = _sites(network)
    if stages == "saving":
        return [site for site in found if _saves(network, site)]
    more = len(found) if stages == "all" else int(stages) - _folded_already(network)
    return found[max(0, len(found) - max(0, more)) :]


def _folded_already(network: nn.Module) -> int:
    return sum(isinstance(module, FoldedUpconvolution) for module in network.modules())


def _saves(network: nn.Module, site: Site) -> bool:
    """Whether a stage has fewer multiplications folded, per output pixel."""
    owner = network.get_submodule(site.owner)
    up: Any = owner.get_submodule(site.up or "")
    below, middle, out = up.in_channels, up.out_channels, owner.get_submodule(site.convolution).out_channels
    return bool(4 * below * out < below * middle + TAPS**2 * middle * out)
