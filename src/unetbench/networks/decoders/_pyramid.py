"""What decoders share: which levels they use, one width for all, maps of one size, a convolution with its norm."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.errors import BadInput

_FINEST_STRIDE = 4  # C2 of a classification network: the finest level of an FPN
_GROUPS = 32  # of a group norm: Wu & He 2018, arXiv 1803.08494


def fpn_levels(strides: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of C2 to C5, the levels of stride 4 and more; of all where there are none."""
    chosen = tuple(index for index, stride in enumerate(strides) if stride >= _FINEST_STRIDE)
    return chosen or tuple(range(len(strides)))


def one_width(name: str, channels: str, decoder_channels: Sequence[int] | None) -> int:
    """Return the width of a decoder that has one. Raises: BadInput for widths level by level."""
    if decoder_channels is not None:
        raise BadInput(
            f"decoder_channels {tuple(decoder_channels)} do not fit: {name} has one width; "
            f"write {name}[channels={decoder_channels[0]}]."
        )
    return int(channels)


def sized_like(feature: Tensor, other: Tensor, mode: str = "bilinear") -> Tensor:
    """Resize a map to the size of another. Shapes: (B, C, h, w), (B, D, H, W) -> (B, C, H, W)."""
    size = other.shape[-2:]
    if feature.shape[-2:] == size:
        return feature
    return F.interpolate(feature, size=size, mode=mode, align_corners=None if mode == "nearest" else False)


def convolution(
    in_channels: int, out_channels: int, kernel_size: int = 3, *, dilation: int = 1, norm: str = "batch"
) -> nn.Sequential:
    """Return a convolution of the same size with its norm, `batch` or `group`, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            bias=False,
        ),
        nn.GroupNorm(gcd(_GROUPS, out_channels), out_channels)
        if norm == "group"
        else nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class TopDown(nn.Module):
    """The top-down path of an FPN: 1×1 laterals, added from the deepest level to the finest.

    Shapes: [(B, Cᵢ, Hᵢ, Wᵢ)], finest first -> [(B, width, Hᵢ, Wᵢ)], finest first.
    Source: Lin et al., Feature Pyramid Networks, CVPR 2017, arXiv 1612.03144.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, width, kernel_size=1) for each in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps: list[Tensor] = []
        for lateral, feature in zip(reversed(self.laterals), reversed(features), strict=True):
            own = lateral(feature)  # (B, width, Hᵢ, Wᵢ)
            maps.append(own + sized_like(maps[-1], own, mode="nearest") if maps else own)
        return maps[::-1]


class Fused(nn.Module):
    """Concatenate maps at the size of the first. Shapes: [(B, Cᵢ, Hᵢ, Wᵢ)] -> (B, ΣCᵢ, H₀, W₀)."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return torch.cat([sized_like(feature, features[0]) for feature in features], dim=1)
