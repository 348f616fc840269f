"""The original U-Net, 31 M parameters: 64 to 1024 channels, no batch norm, no padding.

With `padding=valid`, as in the paper, every 3×3 convolution takes two pixels from a side, skips are cropped, and
the image is extended by mirroring, the paper's overlap-tile strategy, so that all of it has logits. With
`padding=same` convolutions are padded with zeros.
Source: Ronneberger et al., U-Net, MICCAI 2015, arXiv 1505.04597, figures 1 and 2.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.networks.whole import Whole

OPTIONS = {"padding": ("valid", "same")}
_WIDTHS = (64, 128, 256, 512, 1024)
_DEEPEST_STRIDE = 16  # four halvings
_MARGIN_PX = 92  # that valid convolutions take from a side: 572 pixels give 388


def build(
    *, classes: int, in_channels: int, image_size: tuple[int, int] | None = None, padding: str = "valid"
) -> Whole:
    """Build the network with the paper's initialisation (He et al. 2015), images scaled to about ±1."""
    network: nn.Module = UNet2015(in_channels, classes, padding=padding)
    network.apply(_initialise)
    encoder = "contracting"
    if padding == "valid":
        network, encoder = OverlapTile(network), f"network.{encoder}"
    return Whole(
        network,
        in_channels=in_channels,
        encoder=encoder,
        multiple_px=_DEEPEST_STRIDE if padding == "same" else 1,
        stride_px=_DEEPEST_STRIDE,
        mean=(0.5,),
        std=(0.5,),
    )


class UNet2015(nn.Module):
    """The network of figure 1.

    Shapes: (B, in_channels, H, W) -> (B, classes, H, W), sides of 16·n; with `padding="valid"` H − 184 and
    W − 184, sides of 16·n + 124.
    """

    def __init__(self, in_channels: int, classes: int, *, padding: str) -> None:
        super().__init__()
        self.contracting = nn.ModuleList(
            _twice(before, width, padding) for before, width in pairwise((in_channels, *_WIDTHS))
        )
        steps = list(pairwise(reversed(_WIDTHS)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in steps)
        self.expanding = nn.ModuleList(_twice(below, width, padding) for below, width in steps)
        self.head = nn.Conv2d(_WIDTHS[0], classes, kernel_size=1)
        self._crops = padding == "valid"

    def forward(self, images: Tensor) -> Tensor:
        skips = [self.contracting[0](images)]
        for stage in list(self.contracting)[1:]:
            skips.append(stage(F.max_pool2d(skips[-1], 2)))  # (B, width, ≈h/2, ≈w/2)
        feature = skips.pop()
        for up, stage in zip(self.ups, self.expanding, strict=True):
            risen, skip = up(feature), skips.pop()  # (B, width, 2h, 2w), (B, width, ≥2h, ≥2w)
            skip = _cropped(skip, risen) if self._crops else skip
            feature = stage(torch.cat([skip, risen], dim=1))
        out: Tensor = self.head(feature)
        return out


class OverlapTile(nn.Module):
    """A valid U-Net on an image extended by mirroring, so that every pixel has logits.

    Shapes: (B, C, H, W) -> (B, classes, H, W).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        left, right, top, bottom = *_margins(width), *_margins(height)
        while left or right or top or bottom:
            most_x, most_y = images.shape[-1] - 1, images.shape[-2] - 1  # that one mirroring can give
            now = (min(left, most_x), min(right, most_x), min(top, most_y), min(bottom, most_y))
            images = F.pad(images, now, mode="reflect")
            left, right, top, bottom = (
                rest - done for rest, done in zip((left, right, top, bottom), now, strict=True)
            )
        logits: Tensor = self.network(images)  # (B, classes, ≥H, ≥W)
        return logits[..., :height, :width]


def _margins(side: int) -> tuple[int, int]:
    """Pixels to add before and after a side, so that the output covers it."""
    covered = -(-(side + 60) // _DEEPEST_STRIDE) * _DEEPEST_STRIDE - 60  # sides of outputs are 16·n − 60
    return (_MARGIN_PX, covered - side + _MARGIN_PX)


def _cropped(skip: Tensor, like: Tensor) -> Tensor:
    """The middle of a map, at the size of another."""
    rows, columns = (
        (own - wanted) // 2 for own, wanted in zip(skip.shape[-2:], like.shape[-2:], strict=True)
    )
    return skip[..., rows : rows + like.shape[-2], columns : columns + like.shape[-1]]


def _twice(in_channels: int, out_channels: int, padding: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=padding),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        assert module.bias is not None
        nn.init.zeros_(module.bias)
