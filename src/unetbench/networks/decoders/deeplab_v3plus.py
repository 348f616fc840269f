"""DeepLabV3+: atrous convolutions at several rates on the deepest level, joined with the level of stride 4.

The encoder is left as it is: where the paper dilates it to end at stride 16, the rates here shrink with the
stride, so that they see as far.
Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, arXiv 1802.02611.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unetbench.networks.decoders._pyramid import Fused, convolution, fpn_levels, one_width

OPTIONS = {"channels": ("256", "NUMBER")}
_RATES = (6, 12, 18)  # at stride 16
_RATES_STRIDE = 16
_LOW_CHANNELS = 48  # to which the fine level is reduced, lest it outweigh the deep one


class Decoder(nn.Module):
    """The decoder: pyramid pooling on the deepest level, then two convolutions beside the fine one.

    Shapes: [(B, Cᵢ, H/sᵢ, W/sᵢ)], finest first -> (B, out_channels, H/4, W/4).
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        /,  # an option has the name of the first
        *,
        decoder_channels: Sequence[int] | None = None,
        **options: str,
    ) -> None:
        super().__init__()
        width = one_width("deeplab_v3plus", options.get("channels", "256"), decoder_channels)
        self._fine = fpn_levels(strides)[0]
        rates = [max(1, round(rate * _RATES_STRIDE / strides[-1])) for rate in _RATES]
        self.pooling = _AtrousPooling(channels[-1], width, rates)
        self.low = convolution(channels[self._fine], _LOW_CHANNELS, kernel_size=1)
        self.together = Fused()
        self.fusion = nn.Sequential(convolution(_LOW_CHANNELS + width, width), convolution(width, width))
        self.out_channels, self.out_stride = width, strides[self._fine]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        deep = self.pooling(features[-1])  # (B, width, H/32, W/32)
        out: Tensor = self.fusion(
            self.together([self.low(features[self._fine]), deep])
        )  # (B, width, H/4, W/4)
        return out


class _AtrousPooling(nn.Module):
    """A pixel, its surroundings at three distances, and the whole image, side by side.

    Shapes: (B, in_channels, h, w) -> (B, width, h, w).
    """

    def __init__(self, in_channels: int, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.pixel = convolution(in_channels, width, kernel_size=1)
        self.surroundings = nn.ModuleList(convolution(in_channels, width, dilation=rate) for rate in rates)
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), convolution(in_channels, width, kernel_size=1))
        self.projection = convolution((len(rates) + 2) * width, width, kernel_size=1)

    def forward(self, feature: Tensor) -> Tensor:
        found = [self.pixel(feature), *(each(feature) for each in self.surroundings)]
        found.append(self.image(feature).expand_as(found[0]))
        out: Tensor = self.projection(torch.cat(found, dim=1))
        return out
