"""Proof 16: does an image in tiles have the classes that it has as a whole? On photographs, by real networks.

`uv run benchmarks/selftest/seams.py` takes a quarter of an hour. What users tile is trained: the networks that are held
to the bar learn, for some steps, to tell how bright a photograph is. Those with random weights (calibrated, so that
every class occurs) are told beside them: their classes meet along far more pixels, and no training has
made a pixel's class depend on what is near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from figures import Figure, publish
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

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
_STEPS, _BATCH, _CROP_PX, _RATE, _LARGEST = 250, 4, 128, 5e-4, 1.0  # of training: a minute or two a network
_SURROUNDINGS_PX = 33
_SUBSTANTIAL = 0.6
_AMPLE = 1 << 32


def main() -> None:
    figures = []
    for encoder in _ENCODERS:
        drawn = [Network(encoder, classes=classes).build() for classes in _CLASSES]
        figures += _curve(f"{encoder}, random weights", drawn, held=False)
        trained = [_trained(model) for model in drawn]
        figures += [_learned(encoder, trained), *_curve(f"{encoder}, trained", trained, held=True)]
    publish(
        "16",
        "seams: tiled against whole, the worse of two photographs and of 1 and 5 classes",
        figures,
        seeds="0",
    )


def _curve(name: str, models: Sequence[Segmenter], *, held: bool) -> list[Figure]:
    """The least agreement of models at each overlap; where it is held to the bar, at the default overlap."""
    unit = models[0].encoder.strides[-1]
    asked = [(f"overlap {overlap:.0%}", overlap, unit, held and overlap == OVERLAP) for overlap in _OVERLAPS]
    asked.append((f"overlap {OVERLAP:.0%}, where tiles begin anywhere", OVERLAP, 1, False))
    figures = []
    for how, overlap, begins, judged in asked:
        share = min(_agreement(model, overlap, begins) for model in models)
        figures.append(
            Figure(name=f"{name}, tiles of {_TILE_PX}, {how}: pixels in the same class", value=f"{share:.3%}",
                   bar="≥ 99.9 %" if judged else "told only", met=share >= _BAR if judged else None)
        )  # fmt: skip
        print(figures[-1].name, figures[-1].value, flush=True)
    return figures


def _trained(model: Segmenter) -> Segmenter:
    """Let a network learn how bright the surroundings of each pixel are: as many steps of grey as it has classes.

    Batch norms keep the statistics that they have from photographs: those of a few small crops are others.
    """
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
    for step in range(_STEPS):
        crops = photos.crops(
            photos.default_photos(), _BATCH, height_px=_CROP_PX, width_px=_CROP_PX, seed=step
        )
        given = photos.normalised(crops, model.encoder.mean, model.encoder.std)
        logits = model(torch.from_numpy(given))
        wanted = _brightness(torch.from_numpy(crops), model.head.out_channels)
        loss = (
            F.binary_cross_entropy_with_logits(logits[:, 0], wanted.float())
            if logits.shape[1] == 1
            else F.cross_entropy(logits, wanted)
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), _LARGEST)  # batch norms that are kept tame nothing
        optimiser.step()
        schedule.step()
    return model


def _learned(encoder: str, models: Sequence[Segmenter]) -> Figure:
    """How well they tell what they were taught: of networks that answer one class everywhere seams show nothing.

    Source of the measure and of its bar, "substantial": Landis and Koch, Biometrics 1977.
    """
    kappas = []
    for model, path in product(models, photos.default_photos()[:2]):
        pixels = photos.pixels(path)
        told = tiles.decided(_logits(model, pixels.shape[:2], pixels), np.dtype(np.uint8))
        image = torch.from_numpy(pixels[None].transpose(0, 3, 1, 2).astype(np.float32) / 255)
        wanted = _brightness(image, model.head.out_channels)[0].numpy()
        kappas.append(_kappa(told, wanted))
    figure = Figure(
        name=f"{encoder}, trained: Cohen's kappa of what it tells and what it was taught",
        value=f"{min(kappas):.2f}",
        bar=f"≥ {_SUBSTANTIAL}",
        met=min(kappas) >= _SUBSTANTIAL,
        note=f"the worst of those that follow; at most {max(kappas):.2f}",
    )
    print(figure.name, figure.value, figure.note, flush=True)
    return figure


def _kappa(told: NDArray[np.unsignedinteger], wanted: NDArray[np.int64]) -> float:
    """Agreement beyond what the classes' shares would give by chance: 1 is perfect, 0 is chance."""
    classes = range(int(max(told.max(), wanted.max())) + 1)
    chance = sum(float((told == one).mean() * (wanted == one).mean()) for one in classes)
    return (float((told == wanted).mean()) - chance) / (1 - chance)


def _brightness(crops: Tensor, classes: int) -> Tensor:
    """The class of each pixel: its surroundings' brightness. Shapes: (B, 3, H, W), 0 to 1 -> (B, H, W)."""
    grey = F.avg_pool2d(crops.mean(dim=1, keepdim=True), _SURROUNDINGS_PX, stride=1, padding=_SURROUNDINGS_PX // 2,
                        count_include_pad=False)[:, 0]  # fmt: skip
    steps = torch.linspace(0, 1, max(classes, 2) + 1)[1:-1]
    return torch.bucketize(grey, steps)


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
