"""SegFormer's decoder: one linear layer a level, all maps at stride 4 side by side, one linear layer on them.

Source: Xie et al., SegFormer, NeurIPS 2021, arXiv 2105.15203, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unetbench.networks.decoders._pyramid import Fused, convolution, fpn_levels, one_width

OPTIONS = {"channels": ("256", "NUMBER")}


class Decoder(nn.Module):
    """The decoder: all of it 1×1 convolutions, which are linear layers on each pixel.

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
        width = one_width("segformer", options.get("channels", "256"), decoder_channels)
        self._levels = fpn_levels(strides)
        self.linears = nn.ModuleList(
            nn.Conv2d(channels[level], width, kernel_size=1) for level in self._levels
        )
        self.together = Fused()
        self.fusion = convolution(len(self._levels) * width, width, kernel_size=1)
        self.out_channels, self.out_stride = width, strides[self._levels[0]]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [linear(features[level]) for linear, level in zip(self.linears, self._levels, strict=True)]
        out: Tensor = self.fusion(self.together(maps))  # (B, width, H/4, W/4)
        return out
