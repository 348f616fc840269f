"""What to ask timm for, so that a model gives a pyramid: its levels, its layout and the sizes that it takes.

A model is asked, by its `feature_info` and by trying, never recognised by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import timm
from torch import Tensor, nn

from unetbench.errors import BadInput, Unsupported
from unetbench.networks import pyramid
from unetbench.networks.trial import Size, Trial, on_meta

_LEVELS = 5  # C1 to C5, strides 2 to 32: what U-Net decoders on classification encoders use
_MOST_STRIDES = 4  # of padding for maps without a rest: 12 and 17 would ask for 204 pixels, 12 and 16 for 48
_FULL_SIZE: Size = (224, 224)  # of a model that does not tell: what most were trained at
# timm's own choice first; then the model's method that gives maps of any depth.
_EXTRACTIONS: tuple[dict[str, str], ...] = ({}, {"feature_cls": "getter"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to build a model so that it gives a pyramid, and what it then gives and takes."""

    arguments: dict[str, Any]  # of `timm.create_model`
    ghost: nn.Module  # what they build, on the meta device
    channels: tuple[int, ...]  # of the model's maps, before they are resampled
    strides: tuple[int, ...]  # the same
    channels_last: tuple[bool, ...]
    flat: bool
    multiple_px: int  # that both sides of an image have to be a multiple of
    least_side_px: int
    fixed_size: Size | None  # of a model built for one size


def planned(name: str, *, in_channels: int, image_size: Size | None) -> Plan:
    """Find how to build an encoder.

    Raises: Unsupported, with timm's reason, where the model gives no maps.
    """
    refused: Unsupported | None = None
    for extraction in _EXTRACTIONS:
        try:
            return _planned(name, {"in_chans": in_channels, **extraction}, image_size)
        except Unsupported as error:
            refused = refused or error
    assert refused is not None
    raise refused


def chosen_levels(strides: Sequence[int]) -> tuple[int, ...]:
    """Choose up to five levels of stride 2 and more, or evenly spaced depths of a flat model.

    timm's own defaults do not serve: asking a four-level model for five raises, and VGG starts at
    stride 1, which costs a full-resolution stage that the other encoders do not have.
    """
    coarse = [index for index, stride in enumerate(strides) if stride >= 2]
    if len({strides[index] for index in coarse}) == 1:
        levels = len(pyramid.scales(strides[coarse[0]]))
        return tuple(coarse[depth] for depth in pyramid.depths(len(coarse), levels))
    if len(coarse) > _LEVELS:  # a level for every block: the last of each stride has seen most
        coarse = sorted({strides[index]: index for index in coarse}.values())
    return tuple(coarse[-_LEVELS:])


def _planned(name: str, arguments: dict[str, Any], image_size: Size | None) -> Plan:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise BadInput(
            f"encoder {name!r} has a tag that timm does not know: `unetbench list encoders '{name.partition('.')[0]}*'` "
            "shows those that it has."
        ) from error
    _, *sides = config.input_size if config else (3, *_FULL_SIZE)
    own: Size = (sides[0], sides[1])
    fixed = config is not None and config.fixed_input_size
    first = arguments | ({"img_size": own} if fixed else {})
    ghost = on_meta(name, first)
    info: Any = ghost.feature_info
    strides = [int(level["reduction"]) for level in info.info]
    chosen = chosen_levels(strides)
    if not chosen:
        raise Unsupported(f"encoder {name} gives maps of full resolution alone: choose another.")
    taken = tuple(strides[index] for index in chosen)
    flat = len(set(taken)) == 1
    trial = Trial(
        name=name,
        arguments=arguments | {"out_indices": chosen},
        own=own,
        cell=_cell(taken, flat=flat),
        first=(first | {"out_indices": tuple(info.out_indices)}, ghost),
    )
    found = trial.for_one_size(image_size) if fixed else trial.for_any_size(image_size)
    lasts = _channels_last(found.ghost, found.maps, [int(info.info[index]["num_chs"]) for index in chosen])
    return Plan(
        arguments=found.arguments,
        ghost=found.ghost,
        channels=tuple(each.shape[-1 if last else 1] for each, last in zip(found.maps, lasts, strict=True)),
        strides=taken,
        channels_last=lasts,
        flat=flat,
        multiple_px=found.multiple_px,
        least_side_px=found.least_side_px,
        fixed_size=found.fixed_size,
    )


def _cell(strides: Sequence[int], *, flat: bool) -> int:
    """Return the least multiple that gives whole maps at every level; the deepest stride where that is far off."""
    scales = pyramid.scales(strides[0]) if flat else ()
    levels = [int(strides[0] / finer) for finer in scales] or list(strides)
    whole, deepest = lcm(*levels), max(levels)
    return whole if whole <= _MOST_STRIDES * deepest else deepest


def _channels_last(ghost: nn.Module, maps: Sequence[Tensor], told: Sequence[int]) -> tuple[bool, ...]:
    """Say where each map has its channels: where the number is that the model tells.

    It can be the width, too: 128 channels on a map of 128 × 128. Then the other levels decide, or the
    format that the model tells.
    """
    seen = [
        (each.shape[-1] == number) if (each.shape[-1] == number) != (each.shape[1] == number) else None
        for each, number in zip(maps, told, strict=True)
    ]
    layout = getattr(ghost, "output_fmt", None)
    told_last = str(getattr(layout, "value", layout)).upper() == "NHWC"
    other = next((last for last in seen if last is not None), told_last)
    return tuple(other if last is None else last for last in seen)
