"""A whole network of another project behind a Segmenter's call: images of any size in, logits of it out.

The network itself is used as it is; only padding and cropping are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.errors import BadInput, Unsupported
from unetbench.networks.trial import rounded_up


class Whole(nn.Module):
    """A reference network, padded right and bottom with zeros to sizes that it takes, and cropped back.

    `encoder` is the name of its part that counts as such. `multiple_px` and `least_side_px` are what its sides
    must be; `fixed_size` what they always are. `stride_px` is what one cell of its deepest map stands for, which a network
    that takes any size has too: moved by less an image has other answers. `prefix` is what its project's names of weights
    lack here, `unused` how those begin that inference does not need.
    Shapes: (B, C, H, W) -> (B, classes, H, W); with `dimensions=3` (B, C, D, H, W) -> (B, classes, D, H, W).
    Raises: Unsupported for an input of another number of dimensions.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        in_channels: int,
        encoder: str,
        multiple_px: int = 1,
        stride_px: int | None = None,  # as multiple_px where none is given
        least_side_px: int = 1,
        fixed_size: tuple[int, int] | None = None,
        mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: Sequence[float] = IMAGENET_DEFAULT_STD,
        dimensions: int = 2,
        prefix: str = "network.",
        unused: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.in_channels, self.dimensions = in_channels, dimensions
        self.multiple_px, self.least_side_px, self.fixed_size = multiple_px, least_side_px, fixed_size
        self.stride_px = stride_px or multiple_px
        self.mean, self.std = tuple(mean), tuple(std)
        self._encoder = encoder
        self._prefix, self._unused = prefix, unused

    @property
    def encoder(self) -> nn.Module:
        """The part of the network that counts as its encoder."""
        return self.network.get_submodule(self._encoder)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint as its project saves it under this module's names."""
        return {
            f"{self._prefix}{name}": value
            for name, value in state.items()
            if not name.startswith(self._unused)
        }

    def forward(self, images: Tensor) -> Tensor:
        sides = images.shape[2:]
        if len(sides) != self.dimensions:
            raise Unsupported(
                f"a {self.dimensions}D network takes inputs of {self.dimensions + 2} dimensions, got shape "
                f"{tuple(images.shape)}: choose a configuration of {len(sides)} dimensions."
            )
        after = [0] * (2 * len(sides))  # F.pad's order: before and after, the last axis first
        for axis, (side, padded) in enumerate(
            zip(reversed(sides), reversed(self.padded(*sides)), strict=True)
        ):
            after[2 * axis + 1] = padded - side
        logits: Tensor = self.network(F.pad(images, after) if any(after) else images)
        for axis, side in enumerate(sides, start=2):
            if logits.shape[axis] != side:
                logits = logits.narrow(axis, 0, side)
        return logits  # (B, classes, H, W)

    def padded(self, *sides: int) -> tuple[int, ...]:
        """Return the size to which an image is padded. Units: pixels.

        Raises: BadInput for an image larger than the one size that the network was built for.
        """
        if self.fixed_size is not None:
            if any(side > most for side, most in zip(sides, self.fixed_size, strict=True)):
                built, given = ("×".join(map(str, size)) for size in (self.fixed_size, sides))
                raise BadInput(
                    f"this network was built for images of up to {built} pixels and is given one of {given}: "
                    "build it with that image_size."
                )
            return self.fixed_size
        return tuple(rounded_up(max(side, self.least_side_px), self.multiple_px) for side in sides)


def intake(model: Any) -> Any:
    """Return what takes a network's images, a Segmenter's encoder or the whole: it has `in_channels`, `mean`,
    `std`, `least_side_px`, `fixed_size` and `stride_px`."""
    return model if hasattr(model, "least_side_px") else model.encoder
