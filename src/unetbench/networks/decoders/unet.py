"""U-Net: up-convolution, concatenation with the skip, two 3×3 convolutions, level by level.

Source: Ronneberger et al., U-Net, MICCAI 2015, arXiv 1505.04597, on a classification encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.errors import BadInput
from unetbench.networks.segmenter import grown

OPTIONS = {"upsampling": ("transposed", "nearest", "bilinear")}
_WIDTHS = (256, 128, 64, 32)  # at strides 16, 8, 4 and 2
_WIDEST_STRIDE = 16


class Decoder(nn.Module):
    """The decoder, from the deepest level up to full resolution.

    Shapes: [(B, Cᵢ, H/sᵢ, W/sᵢ)], finest first -> (B, out_channels, H/out_stride, W/out_stride), where
    `out_stride` is 1 unless no doubling reaches full resolution: 1.75 from a stride of 7.
    Raises: BadInput where `decoder_channels` has not one width per stage.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        decoder_channels: Sequence[int] | None = None,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__()
        steps = list(_steps(strides))
        outputs = [step.stride for step in steps]
        widths = tuple(decoder_channels or _fitted_widths(outputs, max(channels)))
        if len(widths) != len(outputs):
            raise BadInput(
                f"decoder_channels {widths} do not fit: this encoder has {len(outputs)} stages "
                f"(output strides {', '.join(f'{stride:g}' for stride in outputs)}), "
                f"so give {len(outputs)} widths."
            )
        self.stages = nn.ModuleList()
        below = channels[-1]
        for step, width in zip(steps, widths, strict=True):
            skip = 0 if step.skip is None else channels[step.skip]
            self.stages.append(Stage(below, skip, width, factor=step.factor, upsampling=upsampling))
            below = width
        # Which of the features, finest first, each stage takes as its skip.
        self._skip_indices = [step.skip for step in steps]
        finest = outputs[-1] if outputs else float(strides[-1])
        self.up = _doubling(below, below, upsampling) if finest == 2 else nn.Identity()
        self.out_stride = 1 if finest == 2 else finest
        self.out_channels = below

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        deepest = features[-1]
        for stage, index in zip(self.stages, self._skip_indices, strict=True):
            deepest = stage(deepest, None if index is None else features[index])  # (B, width, H/s, W/s)
        out: Tensor = self.up(deepest)  # (B, width, H/out_stride, W/out_stride)
        return out


class Stage(nn.Module):
    """One step up: to `factor` times the size, concatenated with the skip where there is one, convolved twice.

    A factor of 2 is an up-convolution, of 1 nothing; one between them resizes bilinearly to the skip.
    Shapes: below (B, in_channels, h, w), skip (B, skip_channels, ≈factor·h, ≈factor·w) -> (B, width, …).
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        width: int,
        *,
        factor: float = 2,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__()
        self.factor = factor
        doubles = factor == 2
        self.up = _doubling(in_channels, width, upsampling) if doubles else nn.Identity()
        joined = (width if doubles else in_channels) + skip_channels
        self.convolutions = nn.Sequential(*_convolution(joined, width), *_convolution(width, width))

    def forward(self, below: Tensor, skip: Tensor | None) -> Tensor:
        up = self.up(below)  # (B, width, 2h, 2w)
        if skip is not None:
            if self.factor not in (1, 2):
                up = F.interpolate(up, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            up = grown(up, skip.shape[-2], skip.shape[-1])
            skip = grown(skip, up.shape[-2], up.shape[-1])
            up = torch.cat([up, skip], dim=1)  # (B, width + skip_channels, ≈2h, ≈2w)
        out: Tensor = self.convolutions(up)
        return out

    def extra_repr(self) -> str:
        return f"resized bilinearly by {self.factor:g}" if self.factor not in (1, 2) else ""


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


@dataclass(frozen=True, slots=True)
class _Step:
    stride: float  # of the stage's output
    factor: float  # from the stage below
    skip: int | None  # which of the features, finest first


def _steps(strides: Sequence[int]) -> Iterator[_Step]:
    """From the deepest level to each finer one, then until less than one doubling is left."""
    at = float(strides[-1])
    for skip in reversed(range(len(strides) - 1)):
        while at / 2 > strides[skip]:
            at /= 2
            yield _Step(at, 2, None)  # a level is missing here
        yield _Step(strides[skip], at / strides[skip], skip)
        at = float(strides[skip])
    while at > 2:
        at /= 2
        yield _Step(at, 2, None)


def _fitted_widths(output_strides: Sequence[float], widest: int) -> tuple[int, ...]:
    """Default widths, halved from level to level and never more than the encoder's own scale."""
    widths = []
    for stride in output_strides:
        step = min(len(_WIDTHS) - 1, max(0, round(log2(_WIDEST_STRIDE / stride))))
        widths.append(max(1, min(_WIDTHS[step], widest // 2**step)))
    return tuple(widths)


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
