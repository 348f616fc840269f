"""torchvision's segmentation networks: FCN, DeepLabV3 and LR-ASPP on dilated encoders.

Source: torchvision.models.segmentation; nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

import torchvision
from torch import Tensor, nn

from unetbench.networks.whole import Whole
from unetbench.records import RGB

REQUIRES = ("torchvision",)
OPTIONS = {
    "architecture": (
        "fcn_resnet50",
        "fcn_resnet101",
        "deeplabv3_resnet50",
        "deeplabv3_resnet101",
        "deeplabv3_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
    )
}
_STRIDE_RESNET_PX, _STRIDE_MOBILENET_PX = 8, 16  # of their dilated backbones


def build(
    *,
    classes: int,
    in_channels: int,
    image_size: tuple[int, int] | None = None,
    architecture: str = "fcn_resnet50",
) -> Whole:
    """Build a network of torchvision without its auxiliary head, which inference does not run."""
    network: Any = torchvision.models.get_model(
        architecture, weights=None, weights_backbone=None, num_classes=classes
    )
    if in_channels != RGB:
        _take(network.backbone, in_channels)
    stride = _STRIDE_RESNET_PX if "resnet" in architecture else _STRIDE_MOBILENET_PX
    return Whole(
        _Logits(network), in_channels=in_channels, encoder="network.backbone", stride_px=stride,
        prefix="network.network.", unused=("aux_classifier.",),
    )  # fmt: skip


class _Logits(nn.Module):
    """The logits of a network that answers by name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(images)["out"]
        return answer


def _take(backbone: nn.Module, in_channels: int) -> None:
    """Put a first convolution for another number of channels in the place of its own."""
    name, old = next((name, each) for name, each in backbone.named_modules() if isinstance(each, nn.Conv2d))
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    backbone.set_submodule(name, new)
