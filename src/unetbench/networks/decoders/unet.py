"""U-Net: up-convolution, concatenation with the skip, two 3×3 convolutions, level by level.

Source: Ronneberger et al., U-Net, MICCAI 2015, arXiv 1505.04597, on a classification encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unetbench.errors import BadInput
from unetbench.networks.segmenter import grown

OPTIONS = {"upsampling": ("transposed", "nearest", "bilinear")}
_WIDTHS = (256, 128, 64, 32)  # at strides 16, 8, 4 and 2


class Decoder(nn.Module):
    """The decoder, from the deepest level up to full resolution.

    Shapes: [(B, Cᵢ, H/sᵢ, W/sᵢ)], finest first -> (B, out_channels, H, W).
    Raises: BadInput where `decoder_channels` has not one width per stage.
    """

    out_stride = 1

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        decoder_channels: Sequence[int] | None = None,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__()
        outputs = _stage_strides(strides[-1])
        widths = tuple(decoder_channels or _fitted_widths(outputs, max(channels)))
        if len(widths) != len(outputs):
            raise BadInput(
                f"decoder_channels {widths} do not fit: this encoder has {len(outputs)} stages "
                f"(output strides {', '.join(map(str, outputs))}), so give {len(outputs)} widths."
            )
        skips = dict(zip(strides[:-1], channels[:-1], strict=True))
        self.stages = nn.ModuleList()
        below = channels[-1]
        for stride, width in zip(outputs, widths, strict=True):
            self.stages.append(Stage(below, skips.get(stride, 0), width, upsampling=upsampling))
            below = width
        # Which of the features, finest first, each stage takes as its skip.
        self._skip_indices = [strides.index(stride) if stride in skips else None for stride in outputs]
        self.up = _doubling(below, below, upsampling)
        self.out_channels = below

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        deepest = features[-1]
        for stage, index in zip(self.stages, self._skip_indices, strict=True):
            deepest = stage(deepest, None if index is None else features[index])  # (B, width, H/s, W/s)
        out: Tensor = self.up(deepest)  # (B, width, H, W)
        return out


class Stage(nn.Module):
    """One step up: to twice the size, concatenated with the skip where there is one, convolved twice.

    Shapes: below (B, in_channels, h, w), skip (B, skip_channels, ≈2h, ≈2w) -> (B, width, ≈2h, ≈2w).
    """

    def __init__(
        self, in_channels: int, skip_channels: int, width: int, *, upsampling: str = "transposed"
    ) -> None:
        super().__init__()
        self.up = _doubling(in_channels, width, upsampling)
        self.convolutions = nn.Sequential(
            *_convolution(width + skip_channels, width), *_convolution(width, width)
        )

    def forward(self, below: Tensor, skip: Tensor | None) -> Tensor:
        up = self.up(below)  # (B, width, 2h, 2w)
        if skip is not None:
            up = grown(up, *skip.shape[-2:])
            skip = grown(skip, *up.shape[-2:])
            up = torch.cat([up, skip], dim=1)  # (B, width + skip_channels, ≈2h, ≈2w)
        out: Tensor = self.convolutions(up)
        return out


def _doubling(in_channels: int, out_channels: int, upsampling: str) -> nn.Module:
    """A step to twice the size: one up-convolution, or a 1×1 convolution and a resizing.

    The latter two commute: before the resizing the convolution costs a quarter. It needs no bias, since a batch
    norm or the head follows.
    """
    if upsampling == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
    smooth = None if upsampling == "nearest" else False
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        nn.Upsample(scale_factor=2, mode=upsampling, align_corners=smooth),
    )


def _stage_strides(deepest: int) -> tuple[int, ...]:
    """The output stride of each stage, coarsest first: one step short of full resolution."""
    strides = []
    while deepest > 2:
        deepest //= 2
        strides.append(deepest)
    return tuple(strides)


def _fitted_widths(output_strides: Sequence[int], widest: int) -> tuple[int, ...]:
    """Default widths, halved from level to level and never more than the encoder's own scale."""
    widths = []
    for stride in output_strides:
        step = min(3, {16: 0, 8: 1, 4: 2, 2: 3}.get(stride, 0))
        widths.append(max(1, min(_WIDTHS[step], widest // 2**step)))
    return tuple(widths)


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
