"""Fold a doubling by nearest neighbours into the 3×3 convolution behind it; a concatenation between them disappears.

Such a map holds each pixel of the coarse one four times, so that of K's nine taps those that fall on one coarse pixel can
be added beforehand: K * cat(Nearest(x), s) = K_x' x + K_s * s, with K_x' an up-convolution of kernel 4, stride 2,
padding 1, whose weight at row k sums the taps dy with a − dy + 1 = k over both phases a. Four products for a pixel and a
channel in place of nine. The padding's zeros agree on both sides: what lies outside of the fine map lies outside of the coarse one.
Source: own (docs/folding.md).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from unetbench.errors import Unsupported
from unetbench.rewrites._doubling import TAPS, is_plain_convolution, placed
from unetbench.rewrites._upsampled import Site, replaced, sites

TOLERANCE = 1e-12  # relative, in fp64: sums of weights


def offered(network: nn.Module) -> int:
    """Return how many convolutions read a map that nearest neighbours have doubled."""
    return len(sites(network, is_plain_convolution))


def why_none(network: nn.Module) -> str:
    """Return why there is nothing to fold."""
    if any(isinstance(module, FoldedUpsampling) for module in network.modules()):
        return "its upsamplings are folded already"
    return "no plain 3×3 convolution in a U-Net stage, of this package or of smp, reads a map that nearest neighbours have doubled"


@torch.no_grad()
def apply(network: nn.Module) -> nn.Module:
    """Fold each, one after the other.

    Raises: Unsupported where a folded module does not answer as it did.
    """
    while found := {site.owner: site for site in sites(network, is_plain_convolution)}:
        for site in found.values():
            _fold(network, site)
    return network


def _fold(network: nn.Module, site: Site) -> None:
    owner = network.get_submodule(site.owner)
    _check(site, owner)
    network.set_submodule(site.owner, _folded(owner, site))


def _folded(owner: nn.Module, site: Site) -> nn.Module:
    return replaced(owner, site, FoldedUpsampling(owner.get_submodule(site.convolution), site.at, site.width))


class FoldedUpsampling(nn.Module):
    """A doubling, a concatenation and a convolution in one.

    Shapes: below (B, width, h, w), rest (B, in_channels − width, 2h, 2w) or None -> (B, out_channels, 2h, 2w).
    """

    def __init__(self, convolution: Any, at: int, width: int) -> None:
        super().__init__()
        kernel = convolution.weight.double()  # (out, in, 3, 3)
        dtype, out = convolution.weight.dtype, convolution.out_channels
        upsampled = torch.zeros(kernel.shape[1], dtype=torch.bool, device=kernel.device)
        upsampled[at : at + width] = True
        alone = bool(upsampled.all())
        # On the meta device: else each layer would draw weights, and so move the generator that others draw from.
        self.up = nn.ConvTranspose2d(width, out, 4, stride=2, padding=1, bias=alone, device="meta")
        taps = kernel[:, upsampled].transpose(0, 1).flip(-1, -2)
        self.up.weight = nn.Parameter(placed(lambda a, b: taps).to(dtype))
        self.rest = None
        bias = convolution.bias if convolution.bias is not None else torch.zeros(out, dtype=dtype)
        if alone:
            self.up.bias = nn.Parameter(bias.detach().clone())
        else:
            self.rest = nn.Conv2d(kernel.shape[1] - width, out, TAPS, padding=1, device="meta")
            self.rest.weight = nn.Parameter(kernel[:, ~upsampled].to(dtype))
            self.rest.bias = nn.Parameter(bias.detach().clone())

    def forward(self, below: Tensor, rest: Tensor | None = None, size: Any = None) -> Tensor:
        out: Tensor = self.up(below)
        wanted = size if rest is None else rest.shape[-2:]
        if wanted is not None and tuple(wanted) != tuple(out.shape[-2:]):
            raise Unsupported(
                f"fold_upsampling cannot take maps of {tuple(out.shape[-2:])} pixels where {tuple(wanted)} are asked "
                "for: these are no doubles of each other; leave the rewrite out."
            )
        return out if self.rest is None else out + self.rest(rest)


def _check(site: Site, owner: nn.Module) -> None:
    """What was found must be all that happens: both forms must answer the same to maps of the shapes that were seen."""
    random = torch.Generator().manual_seed(0)
    given = [
        torch.randn(tuple(each.shape), dtype=torch.float64, generator=random)
        if isinstance(each, Tensor)
        else each
        for each in site.given.args
    ]
    expected = deepcopy(owner).double()(*deepcopy(given))  # some write over what they are given
    answer = _folded(deepcopy(owner).double(), site)(*given)
    if not torch.allclose(answer, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())):
        raise Unsupported(
            f"fold_upsampling cannot fold {site.convolution} of {site.owner}, which does more with its maps than "
            "upsampling, concatenation and convolution; leave the rewrite out."
        )
