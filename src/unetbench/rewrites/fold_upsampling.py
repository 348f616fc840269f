"""Fold a doubling by nearest neighbours into the 3×3 convolution behind it; a concatenation between them disappears.

Such a map holds each pixel of the coarse one four times, so that of K's nine taps those that fall on one coarse pixel can
be added beforehand: K * cat(Nearest(x), s) = K_x' x + K_s * s, with K_x' an up-convolution of kernel 4, stride 2,
padding 1, whose weight at row k sums the taps dy with a − dy + 1 = k over both phases a. Four products for a pixel and a
channel in place of nine. The padding's zeros agree on both sides: what lies outside of the fine map lies outside of the coarse one.
Source: own (docs/folding.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unetbench.rewrites._doubling import divided, placed, refuse_unfit, upconvolution
from unetbench.rewrites._followed import Site
from unetbench.rewrites._upsampled import fold, sites

TOLERANCE = 1e-12  # relative, in fp64: sums of weights


def offered(network: nn.Module) -> int:
    """Return how many convolutions read a map that nearest neighbours have doubled."""
    return len(_sites(network))


def why_none(network: nn.Module) -> str:
    """Return why there is nothing to fold."""
    if any(isinstance(module, FoldedUpsampling) for module in network.modules()):
        return "its upsamplings are folded already"
    return "no plain 3×3 convolution in a U-Net's decoder, of this package or of smp, reads a map that nearest neighbours have doubled (in evaluation, without hooks)"


@torch.no_grad()
def apply(network: nn.Module) -> nn.Module:
    """Fold all of them.

    Raises: Unsupported where the doubled map is padded or cropped, or a folded module does not answer as it did.
    """
    fold(network, _sites(network), _folded, "fold_upsampling")
    return network


def _sites(network: nn.Module) -> list[Site]:
    return sites(network, upconvolutions=False)


def _folded(owner: nn.Module, site: Site) -> nn.Module:
    return FoldedUpsampling(owner.get_submodule(site.convolution), site.at, site.width)


class FoldedUpsampling(nn.Module):
    """A doubling, a concatenation and a convolution in one.

    Shapes: below (B, width, h, w), rest (B, in_channels − width, 2h, 2w) or None -> (B, out_channels, 2h, 2w).
    """

    def __init__(self, convolution: Any, at: int, width: int) -> None:
        super().__init__()
        kernel, self.rest = divided(convolution, at, width)
        taps = kernel.transpose(0, 1).flip(-1, -2)
        weight = placed(lambda a, b: taps).to(convolution.weight.dtype)
        self.up = upconvolution(weight, convolution.bias if self.rest is None else None)

    def forward(self, below: Tensor, rest: Tensor | None = None, size: Any = None) -> Tensor:
        out: Tensor = self.up(below)
        wanted = size if rest is None else rest.shape[-2:]
        if wanted is not None:
            refuse_unfit("fold_upsampling", out.shape[-2:], wanted)
        return out if self.rest is None else out + self.rest(rest)
