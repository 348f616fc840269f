"""An nnU-Net v2 `plans.json`: which network it describes. Standard library only; nothing in it is imported.

Class names are compared with those listed here and never looked up.
Source: Isensee et al., nnU-Net, Nature Methods 2021, arXiv 1904.08128; the plans format of nnU-Net ≥ 2.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unetbench.errors import BadInput, unknown

PACKAGE = "dynamic_network_architectures.architectures.unet"
NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
# Of torch.nn, by the argument that names them; None is accepted for all but the convolution.
CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "conv_op": ("Conv2d", "Conv3d"),
        "norm_op": ("InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d"),
        "dropout_op": ("Dropout2d", "Dropout3d"),
        "nonlin": ("LeakyReLU", "ReLU", "ELU", "GELU", "SiLU"),
    }
)
_OPTIONS = ("norm_op_kwargs", "dropout_op_kwargs", "nonlin_kwargs")
_OWN = {
    "PlainConvUNet": ("n_conv_per_stage", "nonlin_first"),
    "ResidualEncoderUNet": ("n_blocks_per_stage", "stem_channels"),
}
_SHAPES = (
    "n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder", "conv_bias"
)  # fmt: skip
_NEEDED = ("conv_op", "n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder")
_MOST_BYTES = 1 << 20  # plans are a few pages
_LARGEST = (
    4096  # features, blocks, sides: nnU-Net's own stay below 1000; beyond it memory is the first to end
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A configuration's network: a class of nnU-Net's package and what it is built with.

    The values of `CLASSES` are bare names of torch.nn.
    """

    network: str
    arguments: Mapping[str, Any]
    dimensions: int  # 2: images, 3: volumes


def architecture(path: str, configuration: str) -> Architecture:
    """Read a configuration's network from a plans file.

    Raises: BadInput for a file that cannot be read, an unknown configuration or class, or a wrong value.
    """
    described = _configuration(path, _read(path), configuration).get("architecture")
    if not isinstance(described, dict) or not isinstance(described.get("arch_kwargs"), dict):
        raise BadInput(
            f"plans {path!r}: configuration {configuration!r} has no architecture with arch_kwargs: "
            "plan the data set again with nnU-Net 2.5 or later."
        )
    network = _class(path, "network_class_name", described.get("network_class_name"), PACKAGE, NETWORKS)
    arguments = _arguments(path, network, described["arch_kwargs"])
    return Architecture(
        network=network, arguments=arguments, dimensions=3 if arguments["conv_op"] == "Conv3d" else 2
    )


def _read(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise BadInput(f"plans {path!r} are larger than 1 MB: give a plans.json of nnU-Net v2.")
        found = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"plans {path!r} cannot be read ({reason}): give a plans.json of nnU-Net v2."
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("configurations"), dict):
        raise BadInput(f"plans {path!r} hold no configurations: give a plans.json of nnU-Net v2.")
    return found


def _configuration(path: str, plans: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A configuration with what it inherits."""
    every, seen = plans["configurations"], set[str]()
    merged: dict[str, Any] = {}
    following: Any = name
    while following is not None:
        if not isinstance(following, str) or not isinstance(every.get(following), dict):
            raise unknown("configuration", str(following), every, f"These are in {path!r}.")
        if following in seen:
            raise BadInput(f"plans {path!r}: configuration {following!r} inherits from itself: mend it.")
        seen.add(following)
        merged = every[following] | merged
        following = every[following].get("inherits_from")
    return merged


def _arguments(path: str, network: str, given: Mapping[str, Any]) -> dict[str, Any]:
    accepted = (*CLASSES, *_OPTIONS, *_SHAPES, *_OWN[network])
    for key in given:
        if key not in accepted:
            raise unknown(f"argument of {network}", key, accepted, f"Mend arch_kwargs in {path!r}.")
    needed = (*_NEEDED, _OWN[network][0])
    missing = [key for key in needed if given.get(key) is None]
    if missing:
        raise BadInput(f"plans {path!r}: arch_kwargs of {network} lack {', '.join(missing)}: add them.")
    return {key: _argument(path, key, value) for key, value in given.items()}


def _argument(path: str, key: str, value: Any) -> Any:
    if key in CLASSES:
        return None if value is None else _class(path, key, value, "torch.nn", CLASSES[key])
    if key in _OPTIONS:
        if value is not None and not _is_plain_options(value):
            raise BadInput(f"plans {path!r}: {key} takes names with numbers or booleans, got {value!r:.80}.")
    elif not _is_shape(value):
        raise BadInput(
            f"plans {path!r}: {key} takes whole numbers of 1 to {_LARGEST}, or lists of them, got {value!r:.80}."
        )
    return value


def _class(path: str, key: str, value: Any, package: str, accepted: tuple[str, ...]) -> str:
    where, _, name = str(value).rpartition(".")
    if name not in accepted or not (where == package or where.startswith(f"{package}.")):
        names = [f"{package}.{each}" for each in accepted]
        raise unknown(f"class for {key}", str(value), names, f"No other is loaded from {path!r}.")
    return name


def _is_plain_options(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, bool | int | float) for each in value.values())


def _is_shape(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_shape, value))
    return isinstance(value, bool) or (isinstance(value, int) and 0 < value <= _LARGEST)
