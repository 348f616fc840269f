"""Semantic FPN, light: laterals, top-down addition, one 3×3 smoothing, one 3×3 convolution at stride 4.

Only the finest map of the pyramid is used, so only it is smoothed.
Source: after Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, arXiv 1901.02446.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unetbench.networks.decoders._pyramid import TopDown, convolution, fpn_levels, one_width

OPTIONS = {"channels": ("128", "NUMBER")}


class Decoder(nn.Module):
    """The decoder, from C5 down to C2.

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
        width = one_width("semantic_fpn", options.get("channels", "128"), decoder_channels)
        self._levels = fpn_levels(strides)
        self.pyramid = TopDown([channels[level] for level in self._levels], width)
        self.smoothing = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.fusion = convolution(width, width)
        self.out_channels, self.out_stride = width, strides[self._levels[0]]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        finest = self.pyramid([features[level] for level in self._levels])[0]
        out: Tensor = self.fusion(self.smoothing(finest))  # (B, width, H/4, W/4)
        return out
