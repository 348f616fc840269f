"""Panoptic FPN's semantic branch: every level of the pyramid is convolved up to stride 4, then all are added.

Source: Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, arXiv 1901.02446, section 3 and figure 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from unetbench.networks.decoders._pyramid import TopDown, convolution, fpn_levels, one_width, sized_like

OPTIONS = {"channels": ("128", "NUMBER"), "norm": ("group", "batch")}
_PYRAMID_CHANNELS = 256  # of the FPN that the branch stands on


class Decoder(nn.Module):
    """The decoder: the FPN with all its maps, then a branch for each level, in parallel.

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
        width = one_width("panoptic_fpn", options.get("channels", "128"), decoder_channels)
        self._levels = fpn_levels(strides)
        self.pyramid = TopDown([channels[level] for level in self._levels], _PYRAMID_CHANNELS)
        self.smoothings = nn.ModuleList(
            nn.Conv2d(_PYRAMID_CHANNELS, _PYRAMID_CHANNELS, kernel_size=3, padding=1) for _ in self._levels
        )
        norm = options.get("norm", "group")
        self.branches = nn.ModuleList(
            nn.ModuleList(
                convolution(width if step else _PYRAMID_CHANNELS, width, norm=norm)
                for step in range(max(1, height))
            )
            for height in range(len(self._levels))  # levels above the finest
        )
        self.out_channels, self.out_stride = width, strides[self._levels[0]]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = self.pyramid([features[level] for level in self._levels])
        risen: list[Tensor] = []
        for height, (smoothing, branch) in enumerate(zip(self.smoothings, self.branches, strict=True)):
            feature = smoothing(maps[height])  # (B, 256, Hᵢ, Wᵢ)
            for step, block in enumerate(branch.children()):
                feature = sized_like(block(feature), maps[max(0, height - 1 - step)])  # one level finer
            risen.append(feature)  # (B, width, H/4, W/4)
        return reduce(torch.add, risen)
