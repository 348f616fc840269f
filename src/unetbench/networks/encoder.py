"""Any timm model with a pyramid as an encoder: features, channels and strides. No weights of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import timm
import torch
from torch import Tensor, nn

from unetbench.errors import BadInput, Unsupported

_DEEPEST_STRIDE = 32  # that a model built for one size is padded to
_MOST_CELLS = 8  # 256 pixels: every model of timm without a fixed size takes as much
_LEVELS = 5  # C1 to C5, strides 2 to 32: what U-Net decoders on classification encoders use


class Encoder(nn.Module):
    """A timm model's feature pyramid, finest level first.

    Shapes: images (B, C, H, W) with H and W at least `least_side_px` and
    multiples of `strides[-1]` -> [(B, Cᵢ, H/sᵢ, W/sᵢ)]; an encoder that rounds down may give maps a pixel smaller.
    Raises: Unsupported where the model gives no pyramid of doubling strides.
    Source: timm's `features_only` (Wightman, PyTorch Image Models).
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        image_size: tuple[int, int] | None = None,
        pretrained: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        config = timm.get_pretrained_cfg(name)
        self.in_channels = in_channels
        self.fixed_size: tuple[int, int] | None = None  # of models built for one size: (H, W)
        arguments: dict[str, Any] = {"in_chans": in_channels}
        if config is not None and config.fixed_input_size:
            self.fixed_size = padded_size(image_size or config.input_size[1:], _DEEPEST_STRIDE)
            arguments["img_size"] = self.fixed_size
        with torch.device("meta"):
            ghost = _created(name, False, arguments)
        levels: Any = ghost.feature_info
        arguments["out_indices"] = _levels(name, levels.info)
        self.least_side_px = 0 if self.fixed_size else _least_side_px(name, ghost, in_channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone = _created(name, pretrained, arguments)
        info: Any = self.backbone.feature_info
        self.channels = tuple(info.channels())
        self.strides = tuple(info.reduction())
        self.mean = tuple(config.mean) if config else (0.5,)
        self.std = tuple(config.std) if config else (0.5,)
        layout = getattr(self.backbone, "output_fmt", None)
        self._channels_last = str(getattr(layout, "value", layout)).upper() == "NHWC"

    def forward(self, images: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.backbone(images)
        if self._channels_last:
            return [feature.permute(0, 3, 1, 2).contiguous() for feature in features]  # (B, Cᵢ, H/sᵢ, W/sᵢ)
        return features


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Return the size rounded up to a multiple. Units: pixels."""
    # No negative number is divided: ncnn's converter rounds the traced arithmetic towards zero.
    rows, columns = ((side + multiple - 1) // multiple * multiple for side in size)
    return (rows, columns)


def _levels(name: str, info: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Choose up to five levels of stride 2 and more.

    timm's own defaults do not serve: asking a four-level model for five raises, and VGG starts at
    stride 1, which costs a full-resolution stage that the other encoders do not have.
    """
    strides = [level["reduction"] for level in info]
    chosen = [index for index, stride in enumerate(strides) if stride >= 2][-_LEVELS:]
    pyramid = [strides[index] for index in chosen]
    if len(chosen) < 2 or any(coarse != 2 * fine for fine, coarse in pairwise(pyramid)):
        found = ", ".join(map(str, dict.fromkeys(strides)))
        raise Unsupported(
            f"encoder {name} gives no pyramid (its strides: {found}): decoders here need strides that "
            "double, such as 2, 4, 8, 16, 32; choose a convolutional or hierarchical encoder."
        )
    return tuple(chosen)


def _least_side_px(name: str, ghost: nn.Module, in_channels: int) -> int:
    """Return the smallest square that the model takes: unpadded convolutions need more than 32."""
    ghost.eval()
    for cells in range(1, _MOST_CELLS + 1):
        side = cells * _DEEPEST_STRIDE
        try:
            with torch.no_grad():
                ghost(torch.empty(1, in_channels, side, side, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            continue
        return side
    raise Unsupported(f"encoder {name} takes no square of up to {side} pixels ({reason}): choose another.")


def _created(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, features_only=True, **arguments)
    except Exception as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        if pretrained:
            raise BadInput(
                f"pretrained weights of {name} cannot be loaded ({reason}): they come from timm's hub, so "
                "connect to the network once, or give --weights a checkpoint file."
            ) from error
        raise Unsupported(f"timm builds no feature pyramid for {name} ({reason}): choose another.") from error
    return model
