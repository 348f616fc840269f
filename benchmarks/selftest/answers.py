"""Proof 13: wrong answers are caught, right ones pass; on the logits of real networks."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import torch
from figures import Figure, publish
from torch import nn

from unetbench import photos
from unetbench.measuring import parity
from unetbench.records import Network
from unetbench.rewrites import rewrite

_ENCODERS = (
    "test_resnet",
    "test_efficientnet",
    "test_byobnet",
    "mobilenetv3_small_100",
    "resnet18",
    "repvgg_a0",
)
_SIDE = 128


def main() -> None:
    wrong = caught = good = failed = 0
    missed: list[str] = []
    for encoder in _ENCODERS:
        for classes in (1, 5):
            model = Network(encoder, classes=classes, seed=classes).build()
            crops = photos.crops(
                photos.default_photos(), 1, height_px=_SIDE, width_px=_SIDE, channels=3, seed=3
            )
            image = torch.from_numpy(photos.normalised(crops, model.encoder.mean, model.encoder.std))
            with torch.inference_mode():
                eager = model(image).numpy()
                exact = deepcopy(model).double()(image.double()).numpy()
            own_error = parity.relative_error(exact, eager)
            for name, answer in _wrong(model, image, eager):
                wrong += 1
                fault = _fault(exact, answer, own_error)
                caught += fault is not None
                missed += [] if fault else [f"{encoder} {classes} {name}"]
            for name, answer in _right(model, image, eager):
                good += 1
                fault = _fault(exact, answer, own_error)
                failed += fault is not None
                missed += [f"{encoder} {classes} {name}: {fault}"] if fault else []
    publish(
        "13",
        "wrong answers are caught",
        [
            Figure(name="wrong answers caught", value=f"{caught} of {wrong}", bar="all", met=caught == wrong,
                   note="; ".join(missed)),
            Figure(name="right answers failed", value=f"{failed} of {good}", bar="0", met=failed == 0),
        ],
        seeds="1, 5",
    )  # fmt: skip


def _fault(exact: np.ndarray, answer: np.ndarray, own_error: float) -> str | None:
    comparable = exact.shape == answer.shape and bool(np.isfinite(answer).all())
    found = parity.compare(exact, answer, eager_relative_error=own_error) if comparable else None
    return parity.fault(exact, answer, found, "fp32")


def _wrong(model: nn.Module, image: torch.Tensor, logits: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if logits.shape[1] > 1:
        yield "classes swapped", logits[:, ::-1].copy()
    yield "shifted by a pixel", np.roll(logits, 1, axis=3)
    yield "one NaN", _with(logits, np.nan)
    yield "one infinity", _with(logits, np.inf)
    yield "constant", np.zeros_like(logits)
    yield "cropped", logits[..., :-1]
    yield "scaled by 1.01", logits * np.float32(1.01)
    broken = deepcopy(model)
    layers = [layer for layer in broken.decoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    layers[len(layers) // 2].reset_running_stats()
    with torch.inference_mode():
        yield "a batch norm forgotten", broken(image).numpy()
    unfolded = deepcopy(model)
    next(layer for layer in unfolded.modules() if isinstance(layer, nn.Conv2d)).weight.data *= 1.05
    with torch.inference_mode():
        yield "a kernel 5 % too large", unfolded(image).numpy()


def _right(model: nn.Module, image: torch.Tensor, logits: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "eager again", logits
    with torch.inference_mode():
        yield "channels last", model.to(memory_format=torch.channels_last)(image).numpy()
        yield "re-parametrised", rewrite(model, "reparameterize")(image).numpy()
        both = model(torch.cat([image, image.flip(3)])).numpy()[:1]
    yield "in a batch", both


def _with(logits: np.ndarray, value: float) -> np.ndarray:
    changed = logits.copy()
    changed[0, 0, 3, 4] = value
    return changed


if __name__ == "__main__":
    main()
