"""Every architecture of segmentation_models_pytorch, on its own encoders or on timm's, as tu-NAME.

Source: Iakubovskii, segmentation_models.pytorch; nothing is downloaded.
"""

from __future__ import annotations

import itertools
from typing import Any

import segmentation_models_pytorch
import timm
import torch
from torch import nn

from unetbench.errors import Unsupported
from unetbench.networks.trial import padded_size
from unetbench.networks.whole import Whole
from unetbench.records import SMALLEST_SIDE_PX

REQUIRES = ("segmentation_models_pytorch",)
OPTIONS = {
    "architecture": (
        "unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "pan",
        "upernet", "segformer", "dpt",
    ),
    "encoder": (
        "resnet34", "tu-ENCODER", "resnet18", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
        "resnext101_32x4d", "resnext101_32x8d", "resnext101_32x16d", "resnext101_32x32d", "resnext101_32x48d",
        "dpn68", "dpn68b", "dpn92", "dpn98", "dpn107", "dpn131", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn",
        "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "senet154", "se_resnet50", "se_resnet101", "se_resnet152",
        "se_resnext50_32x4d", "se_resnext101_32x4d", "densenet121", "densenet161", "densenet169",
        "densenet201", "inceptionresnetv2", "inceptionv4", "efficientnet-b0", "efficientnet-b1",
        "efficientnet-b2", "efficientnet-b3", "efficientnet-b4", "efficientnet-b5", "efficientnet-b6",
        "efficientnet-b7", "mobilenet_v2", "xception", "timm-efficientnet-b0", "timm-efficientnet-b1",
        "timm-efficientnet-b2", "timm-efficientnet-b3", "timm-efficientnet-b4", "timm-efficientnet-b5",
        "timm-efficientnet-b6", "timm-efficientnet-b7", "timm-efficientnet-b8", "timm-efficientnet-l2",
        "timm-tf_efficientnet_lite0", "timm-tf_efficientnet_lite1", "timm-tf_efficientnet_lite2",
        "timm-tf_efficientnet_lite3", "timm-tf_efficientnet_lite4", "timm-skresnet18", "timm-skresnet34",
        "timm-skresnext50_32x4d", "mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5", "mobileone_s0",
        "mobileone_s1", "mobileone_s2", "mobileone_s3", "mobileone_s4",
    ),
}  # fmt: skip
_HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_DPN = {"mean": (124 / 255, 117 / 255, 104 / 255), "std": (1 / (0.0167 * 255),) * 3}
# Of smp's own encoders those whose weights were not trained with ImageNet's usual mean and deviation, by how their names
# begin. Source: pretrained_settings of smp 0.5; later ones ask a hub for them.
_NORMALISATION = {
    "inceptionv4": _HALF, "inceptionresnetv2": _HALF, "xception": _HALF, "timm-tf_efficientnet_lite": _HALF,
    "dpn": _DPN,
}  # fmt: skip
_OF_TIMM = "tu-"  # smp's own mark
_DEEPEST_STRIDE = 32  # that a model built for one size is padded to
_LARGEST_TRIED_PX = 256  # every architecture takes as much


def build(
    *,
    classes: int,
    in_channels: int,
    image_size: tuple[int, int] | None = None,
    architecture: str = "unet",
    encoder: str | None = None,
) -> Whole:
    """Build a network of smp, on its own default encoder where none is named, with that one's normalisation."""
    asked: dict[str, Any] = {} if encoder is None else {"encoder_name": encoder}
    named = encoder or ("tu-vit_base_patch16_224.augreg_in21k" if architecture == "dpt" else "resnet34")
    known = (its for name, its in _NORMALISATION.items() if named.startswith(name))
    facts: dict[str, Any] = dict(next(known, {}))
    config = timm.get_pretrained_cfg(named.removeprefix(_OF_TIMM)) if named.startswith(_OF_TIMM) else None
    if config is not None:
        facts = {"mean": config.mean, "std": config.std}
    if config is not None and config.fixed_input_size:
        height, width = image_size or config.input_size[1:]
        facts["fixed_size"] = padded_size((height, width), _DEEPEST_STRIDE)
        asked["img_size"] = facts["fixed_size"]
    asked |= {"arch": architecture, "encoder_weights": None, "in_channels": in_channels, "classes": classes}
    network: Any = segmentation_models_pytorch.create_model(**asked)
    multiple = network.encoder.output_stride if network.requires_divisible_input_shape else 1
    if "fixed_size" not in facts:
        facts["least_side_px"] = _least_side_px(network.eval(), in_channels, multiple)
    facts |= {"multiple_px": multiple, "stride_px": network.encoder.output_stride}
    return Whole(network, in_channels=in_channels, encoder="encoder", **facts)


@torch.no_grad()
def _least_side_px(network: nn.Module, in_channels: int, multiple: int) -> int:
    """Return the smallest square that a network takes: some halve a map until none is left. Nothing is computed."""
    tensors = itertools.chain(network.named_parameters(), network.named_buffers())
    ghosts = {name: tensor.to("meta") for name, tensor in tensors}
    step = max(SMALLEST_SIDE_PX, multiple)
    for side in range(step, _LARGEST_TRIED_PX + 1, step):
        try:
            image = torch.empty(1, in_channels, side, side, device="meta")
            torch.func.functional_call(network, ghosts, image)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            continue
        return side
    raise Unsupported(f"it takes no square of up to {_LARGEST_TRIED_PX} pixels ({reason}): choose another.")
