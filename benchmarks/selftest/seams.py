"""Proof 16: does an image in tiles have the classes that it has as a whole? On photographs, by real networks.

`uv run benchmarks/selftest/seams.py` takes minutes. The networks have random weights (calibrated, so that every
class occurs): their classes meet along far more pixels than those of trained ones.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from figures import Figure, publish
from numpy.typing import NDArray

from unetbench import Network, photos
from unetbench.deploy import tiles
from unetbench.deploy.costs import Costs
from unetbench.deploy.images import Array
from unetbench.deploy.manifest import OVERLAP
from unetbench.networks import Segmenter

_ENCODERS = (
    "resnet18",
    "mobilenetv4_conv_small",
    "lcnet_050",
)  # the last one weighs channels by their mean over the tile
_CLASSES = (1, 5)
_TILE_PX = 256
_OVERLAPS = (0.25, 0.5, 0.75)
_BORDER_PX = 32  # a cell of the coarsest map: the image's own border is padded in both
_BAR = 0.999
_AMPLE = 1 << 32


def main() -> None:
    figures = []
    for encoder in _ENCODERS:
        models = [Network(encoder, classes=classes).build() for classes in _CLASSES]
        for overlap in _OVERLAPS:
            share = min(_agreement(model, overlap, model.encoder.strides[-1]) for model in models)
            asked = overlap == OVERLAP
            figures.append(
                Figure(name=f"{encoder}, tiles of {_TILE_PX}, overlap {overlap:.0%}: pixels in the same class",
                       value=f"{share:.3%}", bar="≥ 99.9 %" if asked else "the curve",
                       met=share >= _BAR or not asked)
            )  # fmt: skip
            print(figures[-1].name, figures[-1].value, flush=True)
        share = min(_agreement(model, OVERLAP, 1) for model in models)
        figures.append(
            Figure(name=f"{encoder}, the same where tiles begin anywhere, overlap {OVERLAP:.0%}", value=f"{share:.3%}",
                   bar="told only", met=True)
        )  # fmt: skip
    publish(
        "16",
        "seams: tiled against whole, the worse of two photographs and of 1 and 5 classes",
        figures,
        seeds="0",
    )


def _agreement(model: Segmenter, overlap: float, unit: int) -> float:
    """Return the least share of pixels, over the photographs, that have the same class both ways."""
    shares = []
    for path in photos.default_photos()[:2]:
        pixels = photos.pixels(path)
        whole = tiles.decided(_logits(model, pixels.shape[:2], pixels), np.dtype(np.uint8))
        same = whole == _tiled(model, pixels, overlap, unit)
        shares.append(float(same[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX].mean()))
    return min(shares)


def _tiled(
    model: Segmenter, pixels: NDArray[np.uint8], overlap: float, unit: int
) -> NDArray[np.unsignedinteger]:
    source, classes = Array(pixels), model.head.out_channels
    laid = tiles.plan(source, (_TILE_PX, _TILE_PX), overlap, classes, _AMPLE, unit=unit)
    (panel,) = laid.panels
    answer = partial(_logits, model, (_TILE_PX, _TILE_PX))
    rows = tiles.blended(source, laid, panel, classes, answer, Costs())
    return np.concatenate([tiles.decided(logits, np.dtype(np.uint8)) for logits in rows])


def _logits(model: Segmenter, size: tuple[int, ...], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run the network on pixels, padded with the mean to a size. Shapes: (h, w, 3) -> (classes, H, W)."""
    image = np.zeros((1, 3, *size), np.float32)
    batch = pixels[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
    image[:, :, : pixels.shape[0], : pixels.shape[1]] = photos.normalised(
        batch, model.encoder.mean, model.encoder.std
    )
    with torch.inference_mode():
        answer: NDArray[np.float32] = model(torch.from_numpy(image))[0].numpy()
    return answer


if __name__ == "__main__":
    main()
