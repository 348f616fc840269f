"""The two halves of a Segmenter as modules of their own, for runtimes that convert one. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from unetbench.errors import Unsupported
from unetbench.runtimes import Inputs


def separable(model: Any) -> bool:
    """Return whether a network has an encoder and a decoder that can be run apart."""
    return hasattr(model, "encoded") and hasattr(model, "decoded")


class Front(nn.Module):
    """Images (B, C, H, W) -> the features that the decoder takes, finest first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not separable(model):
            raise Unsupported(
                f"{type(model).__name__} has no encoder and decoder to run apart: name one runtime."
            )
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.encoded(images))

    def features(self, inputs: Inputs) -> Inputs:
        """Return what the other half takes for an image."""
        with torch.inference_mode():
            return tuple(each.contiguous().numpy() for each in self(*map(torch.from_numpy, inputs)))


class Back(nn.Module):
    """The features of images of one size -> logits (B, classes, H, W)."""

    def __init__(self, model: Any, size: Sequence[int]) -> None:
        super().__init__()
        self.model, self._size = without_backbone(model), tuple(size)

    def forward(self, *features: Tensor) -> Tensor:
        answer: Tensor = self.model.decoded(features, *self._size)
        return answer


def without_backbone(model: Any) -> Any:
    """The same network with an encoder that knows its sizes alone: its weights are the other half's."""
    half, encoder = copy(model), copy(model.encoder)
    half._modules = dict(model._modules)
    encoder._modules = {}
    half.encoder = encoder
    return half
