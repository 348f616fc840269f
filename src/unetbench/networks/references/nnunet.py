"""nnU-Net's networks: plain and residual-encoder U-Nets, as planned for 512×512, or from a `plans.json`.

The modules are those of dynamic-network-architectures, unchanged, without deep supervision, which inference does
not run. Of a plans file only names that are listed in `unetbench.plans` are looked up.
Source: Isensee et al., nnU-Net, Nature Methods 2021, arXiv 1904.08128; nnU-Net Revisited, MICCAI 2024, arXiv 2404.09556.
"""

from __future__ import annotations

from math import prod
from typing import Any

from dynamic_network_architectures.architectures import unet
from torch import nn

from unetbench.errors import BadInput
from unetbench.networks.whole import Whole
from unetbench.plans import CLASSES, Architecture
from unetbench.plans import architecture as planned

REQUIRES = ("dynamic_network_architectures",)
OPTIONS = {
    "architecture": ("PlainConvUNet", "ResidualEncoderUNet"),
    "dimensions": ("2", "3"),
    "plans": ("PATH",),
    "configuration": ("2d", "NAME"),
}
# By dimensions: what nnU-Net plans for images of 512² and volumes of 128³ (7 and 5 halvings, down to a side of 4).
_STAGES = {2: 8, 3: 6}
_MOST_FEATURES = {2: 512, 3: 320}
_FIRST_FEATURES = 32
_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)  # of the residual encoder, stage by stage


def build(
    *,
    classes: int,
    in_channels: int,
    image_size: tuple[int, int] | None = None,
    plans: str | None = None,
    configuration: str | None = None,
    **options: str,
) -> Whole:
    """Build a network with nnU-Net's own initialisation; it expects images of zero mean and unit variance.

    Raises: BadInput for plans that do not describe one.
    """
    if plans is None:
        if configuration is not None:
            raise BadInput(
                f"nnunet[configuration={configuration}] needs plans: add plans=PATH of a plans.json."
            )
        described = _default(**options)
    elif options:
        raise BadInput(f"nnunet takes its plans' own {' and '.join(options)}: give one or the other.")
    else:
        described = planned(plans, configuration or "2d")
    arguments = {
        key: getattr(nn, value) if key in CLASSES and value is not None else value
        for key, value in described.arguments.items()
    }
    network: Any = getattr(unet, described.network)(
        input_channels=in_channels, num_classes=classes, deep_supervision=False, **arguments
    )
    network.apply(network.initialize)
    multiple = max(map(prod, zip(*map(_axes, described.arguments["strides"]), strict=True)))
    return Whole(
        network,
        in_channels=in_channels,
        encoder="encoder",
        multiple_px=multiple,
        least_side_px=2 * multiple,  # an instance norm needs more than one pixel at the deepest stage
        mean=(0.5,),
        std=(0.5,),
        dimensions=described.dimensions,
    )


def _default(architecture: str = "PlainConvUNet", dimensions: str = "2") -> Architecture:
    axes = int(dimensions)
    stages = _STAGES[axes]
    residual = architecture == "ResidualEncoderUNet"
    per_stage = {"n_blocks_per_stage": _BLOCKS[:stages]} if residual else {"n_conv_per_stage": [2] * stages}
    arguments = per_stage | {
        "n_stages": stages,
        "features_per_stage": [
            min(_FIRST_FEATURES * 2**stage, _MOST_FEATURES[axes]) for stage in range(stages)
        ],
        "conv_op": f"Conv{axes}d",
        "kernel_sizes": [[3] * axes for _ in range(stages)],
        "strides": [[1 if stage == 0 else 2] * axes for stage in range(stages)],
        "n_conv_per_stage_decoder": [1 if residual else 2] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return Architecture(network=architecture, arguments=arguments, dimensions=axes)


def _axes(stride: int | list[int]) -> tuple[int, ...]:
    return tuple(stride) if isinstance(stride, list) else (stride,)
