"""Which sizes of image a timm model takes: found by running it on the meta device, where nothing is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from unetbench.errors import BadInput, Unsupported
from unetbench.records import SMALLEST_SIDE_PX

Size = tuple[int, int]  # height, width; pixels

_LARGEST_TRIED_PX = 256  # every model of timm without a fixed size takes as much
_MOST_MULTIPLES = 8  # of the deepest stride: attention in blocks of 8 cells asks for that
_REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError, ZeroDivisionError)


def created(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Have timm build a model that gives features.

    Raises: Unsupported, or BadInput where pretrained weights cannot be had.
    """
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, features_only=True, **arguments)
    except Exception as error:
        if pretrained:
            raise BadInput(
                f"pretrained weights of {name} cannot be loaded ({_reason(error)}): they come from timm's "
                "hub, so connect to the network once, or give --weights a checkpoint file."
            ) from error
        raise Unsupported(
            f"timm builds no feature pyramid for {name} ({_reason(error)}): choose another."
        ) from error
    return model


def padded_size(size: Size, multiple: int) -> Size:
    """Return the size rounded up to a multiple. Units: pixels."""
    height, width = size
    return (rounded_up(height, multiple), rounded_up(width, multiple))


def rounded_up(side: int, multiple: int) -> int:
    """Return a side rounded up to a multiple. Units: pixels."""
    # No negative number is divided: ncnn's converter rounds the traced arithmetic towards zero.
    return (side + multiple - 1) // multiple * multiple


def on_meta(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a model without weights, on the meta device."""
    with torch.device("meta"):
        return created(name, False, arguments).eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A way to build a model, at a size at which it ran."""

    arguments: dict[str, Any]
    ghost: nn.Module
    maps: list[Tensor]
    multiple_px: int
    least_side_px: int = 0
    fixed_size: Size | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Tries on the meta device which sizes a model takes. Units: pixels."""

    name: str
    arguments: dict[str, Any]
    own: Size  # that it was made for
    cell: int  # the least multiple that gives whole maps at every level
    first: tuple[dict[str, Any], nn.Module]  # built already, with these arguments

    def for_any_size(self, image_size: Size | None) -> Found:
        """The least multiple, and of it the least side, that a model takes; or the one size that it does."""
        ghost, reason = self._ghost(self.arguments), ""
        for multiple, side in self._sides():
            try:
                maps = self._run(ghost, (side, side + multiple))  # no square: some take those alone
            except _REFUSALS as error:
                _refuse_values(self.name, error)
                reason = reason or _reason(error)
                continue
            return Found(
                arguments=self.arguments, ghost=ghost, maps=maps, multiple_px=multiple, least_side_px=side
            )
        try:
            return self.for_one_size(image_size)
        except Unsupported:
            return self._for_its_own_size(ghost, image_size, reason)

    def for_one_size(self, image_size: Size | None) -> Found:
        """Build it for the size that is asked for, or its own, rounded up to what it takes."""
        wanted, reason = image_size or self.own, ""
        sizes = [padded_size(wanted, self.cell * times) for times in range(1, _MOST_MULTIPLES + 1)]
        for size in (*dict.fromkeys(sizes), *([self.own] if _within(wanted, self.own) else [])):
            arguments = self.arguments | {"img_size": size}
            try:
                ghost = self._ghost(arguments)
                maps = self._run(ghost, size)
            except (*_REFUSALS, Unsupported) as error:
                _refuse_values(self.name, error)
                reason = reason or _reason(error)
                if isinstance(error.__cause__, TypeError):
                    break  # it takes no `img_size`
                continue
            return Found(arguments=arguments, ghost=ghost, maps=maps, multiple_px=self.cell, fixed_size=size)
        raise Unsupported(
            f"encoder {self.name} takes no image of about {wanted[0]}×{wanted[1]} pixels ({reason}): choose another."
        )

    def _for_its_own_size(self, ghost: nn.Module, image_size: Size | None, reason: str) -> Found:
        """Take a model that has no say in its size as it is."""
        if not _within(image_size or self.own, self.own):
            raise Unsupported(
                f"encoder {self.name} takes images of up to {self.own[0]}×{self.own[1]} pixels: "
                f"give --size {self.own[0]}x{self.own[1]}, or choose another."
            )
        try:
            maps = self._run(ghost, self.own)
        except _REFUSALS as error:
            raise Unsupported(
                f"encoder {self.name} runs at no size that was tried ({reason}): choose another."
            ) from error
        return Found(
            arguments=self.arguments, ghost=ghost, maps=maps, multiple_px=self.cell, fixed_size=self.own
        )

    def _ghost(self, arguments: dict[str, Any]) -> nn.Module:
        built_with, ghost = self.first
        return ghost if arguments == built_with else on_meta(self.name, arguments)

    @torch.no_grad()
    def _run(self, ghost: nn.Module, size: Size) -> list[Tensor]:
        maps = list(ghost(torch.empty(1, self.arguments["in_chans"], *size, device="meta")))
        odd = next((each for each in maps if not isinstance(each, Tensor) or each.ndim != 4), None)
        if odd is not None:
            raise ValueError(f"it gives {_described(odd)} in place of maps")
        return maps

    def _sides(self) -> Iterator[Size]:
        for times in range(1, _MOST_MULTIPLES + 1):
            multiple = self.cell * times
            smallest = max(SMALLEST_SIDE_PX, multiple)
            for side in range(multiple, max(_LARGEST_TRIED_PX, multiple) + 1, multiple):
                if side >= smallest:
                    yield multiple, side


def _refuse_values(name: str, error: BaseException) -> None:
    """No size helps a model that lays its maps out by values: meta tensors hold none."""
    if "meta tensor" in str(error):
        raise Unsupported(
            f"encoder {name} lays its maps out by values that only a real run has ({_reason(error)}): "
            "choose another."
        ) from error


def _within(size: Size, limit: Size) -> bool:
    return size[0] <= limit[0] and size[1] <= limit[1]


def _described(odd: Any) -> str:
    return f"a tensor of {odd.ndim} dimensions" if isinstance(odd, Tensor) else f"a {type(odd).__name__}"


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
