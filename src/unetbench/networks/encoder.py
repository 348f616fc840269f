"""Any timm model as an encoder: a feature pyramid with its channels and strides. No weights of its own but
those that resample a flat model's maps."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from unetbench.errors import BadInput
from unetbench.networks.plan import planned
from unetbench.networks.pyramid import SimplePyramid
from unetbench.networks.trial import Size, created, padded_size


class Encoder(nn.Module):
    """A timm model's feature pyramid, finest level first.

    Shapes: images (B, C, H, W) with H and W as `padded` gives them -> [(B, Cᵢ, H/sᵢ, W/sᵢ)]; an encoder
    that rounds down may give maps a pixel smaller.
    Raises: Unsupported where the model gives no maps.
    Source: timm's `features_only` (Wightman, PyTorch Image Models).
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        image_size: Size | None = None,
        pretrained: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        plan = planned(name, in_channels=in_channels, image_size=image_size)
        self.in_channels = in_channels
        self.fixed_size = plan.fixed_size  # of models built for one size: (H, W)
        self.least_side_px = plan.least_side_px
        self.multiple_px = self.stride_px = plan.multiple_px
        self._channels_last = plan.channels_last
        self.channels, self.strides = plan.channels, plan.strides
        self.flat_stride = plan.strides[0] if plan.flat else 0  # of a model with one at every depth
        self.pyramid: SimplePyramid | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            on_meta = (
                torch.get_default_device().type == "meta"
            )  # then the plan's is what would be built again
            self.backbone = plan.ghost if on_meta else created(name, pretrained, plan.arguments)
            if plan.flat:
                self.pyramid = SimplePyramid(plan.channels, plan.strides[0])
                self.channels, self.strides = self.pyramid.channels, self.pyramid.strides
        config = timm.get_pretrained_cfg(name)
        self.mean = tuple(config.mean) if config else (0.5,)
        self.std = tuple(config.std) if config else (0.5,)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [
            each.permute(0, 3, 1, 2).contiguous() if last else each  # (B, Cᵢ, H/sᵢ, W/sᵢ)
            for each, last in zip(self.backbone(images), self._channels_last, strict=True)
        ]
        return maps if self.pyramid is None else self.pyramid(maps)

    def padded(self, height: int, width: int) -> Size:
        """Return the size to which an image is padded before it is encoded. Units: pixels.

        Raises: BadInput for an image larger than the one size that the model was built for.
        """
        if self.fixed_size is None:
            least = self.least_side_px
            return padded_size((max(height, least), max(width, least)), self.multiple_px)
        rows, columns = self.fixed_size
        if height > rows or width > columns:
            raise BadInput(
                f"this network was built for images of up to {rows}×{columns} pixels and is given one of "
                f"{int(height)}×{int(width)}: build it with image_size=({int(height)}, {int(width)}), or choose one that takes any size."
            )
        return self.fixed_size
