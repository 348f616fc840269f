"""A pyramid from a flat model, whose maps have one stride at every depth: ViT, DeiT, EVA, mixers.

Source: the simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527, section 3), fed from evenly
spaced depths, the shallowest to the finest level, as BEiT does for segmentation (Bao et al. 2021, arXiv
2106.08254), in place of the last depth alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

# How many times a level is finer than the model's own map, finest first: the paper's four.
_FINER = (Fraction(4), Fraction(2), Fraction(1), Fraction(1, 2))
_FINEST_STRIDE = 2  # as for other encoders: full resolution is the decoder's


def scales(stride: int) -> tuple[Fraction, ...]:
    """Choose the levels of a flat model: those of the paper whose strides are whole numbers.

    A patch of 16 pixels gives strides 4, 8, 16, 32; one of 14 gives 7, 14, 28.
    """
    whole = [finer for finer in _FINER if (stride / finer).denominator == 1]
    return tuple(finer for finer in whole if stride / finer >= _FINEST_STRIDE)


def depths(count: int, levels: int) -> tuple[int, ...]:
    """Spread levels evenly over the depths, the last one included: 12 depths and 4 levels give 2, 5, 8, 11."""
    return tuple(max(0, -(-count * (level + 1) // levels) - 1) for level in range(levels))


class SimplePyramid(nn.Module):
    """Resample maps of one stride into levels, finest first.

    Shapes: [(B, Cᵢ, h, w)], shallowest first -> [(B, channelsᵢ, h · finerᵢ, w · finerᵢ)].
    """

    def __init__(self, channels: Sequence[int], stride: int) -> None:
        super().__init__()
        chosen = scales(stride)
        self.levels = nn.ModuleList(
            _resampling(finer, width) for finer, width in zip(chosen, channels, strict=True)
        )
        self.strides = tuple(int(stride / finer) for finer in chosen)
        # Each up-convolution halves the channels, as in the paper.
        self.channels = tuple(
            max(1, width // max(1, int(finer))) for finer, width in zip(chosen, channels, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [level(each) for level, each in zip(self.levels, maps, strict=True)]


def _resampling(finer: Fraction, width: int) -> nn.Module:
    half, quarter = max(1, width // 2), max(1, width // 4)
    if finer == 4:
        return nn.Sequential(
            nn.ConvTranspose2d(width, half, kernel_size=2, stride=2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, kernel_size=2, stride=2),
        )
    if finer == 2:
        return nn.ConvTranspose2d(width, half, kernel_size=2, stride=2)
    if finer == 1:
        return nn.Identity()
    return nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)  # a map of odd sides keeps its last row
