"""Encoder + decoder + head: images in, logits of the same height and width out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.networks.encoder import Encoder


class Segmenter(nn.Module):
    """A segmentation network for any image of at least 32 × 32, odd sizes included.

    The input is padded right and bottom with zeros (the mean, after normalisation) to a size that the
    encoder takes, and the logits are cropped back. Where the decoder's map is not of full resolution the
    logits are resized bilinearly by `resized_by`, which is 1 otherwise: nothing is interpolated then.
    Shapes: (B, C, H, W) -> (B, classes, H, W).
    Raises: BadInput for an image larger than the one size that the encoder was built for.
    """

    def __init__(self, encoder: Encoder, decoder: nn.Module, *, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = nn.Conv2d(int(decoder.out_channels), classes, kernel_size=1)  # type: ignore[arg-type]
        self.resized_by = float(decoder.out_stride)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return self.decoded(self.encoded(images), height, width)

    def encoded(self, images: Tensor) -> list[Tensor]:
        """The first half: images (B, C, H, W) -> [(B, Cᵢ, rows/sᵢ, columns/sᵢ)] of the padded images."""
        height, width = images.shape[-2:]
        rows, columns = self.encoder.padded(height, width)
        if (rows, columns) != (height, width):
            images = F.pad(images, (0, columns - width, 0, rows - height))
        features: list[Tensor] = self.encoder(images)
        return features

    def decoded(self, features: Sequence[Tensor], height: int, width: int) -> Tensor:
        """The second half: the features of an image of that size -> (B, classes, height, width)."""
        logits = self.head(self.decoder(features))  # (B, classes, ≈rows/resized_by, ≈columns/resized_by)
        if self.resized_by != 1:  # the head is linear pixel by pixel: resizing before it would give the same
            logits = F.interpolate(
                logits, scale_factor=self.resized_by, mode="bilinear", align_corners=False
            )  # (B, classes, ≈rows, ≈columns)
        return grown(logits, *self.encoder.padded(height, width))[..., :height, :width]

    def extra_repr(self) -> str:
        return "" if self.resized_by == 1 else f"logits resized bilinearly by {self.resized_by:g}"


def grown(feature: Tensor, height: int, width: int) -> Tensor:
    """Pad a map right and bottom by replication where it is smaller than asked.

    Encoders that round down leave maps a pixel short of twice the next coarser one.
    Shapes: (B, C, h, w) -> (B, C, max(h, height), max(w, width)).
    """
    short = (max(0, width - feature.shape[-1]), max(0, height - feature.shape[-2]))
    if short == (0, 0):
        return feature
    return F.pad(feature, (0, short[0], 0, short[1]), mode="replicate")
