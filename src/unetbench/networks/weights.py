"""Weights of a whole network: seeded random ones that answer something, pretrained, or a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unetbench import photos
from unetbench.errors import BadInput
from unetbench.networks.segmenter import Segmenter

_CROPS = 4  # photographs that give the batch-norm statistics
_CROP_PX = 256  # 4 crops of 256² have as many pixels as one input of 512²: under a second
_LEAST_SHARE = 0.2  # of an equal share: every class occurs on at least this part of the pixels
_BALANCING_STEPS = 200
_SCALE, _BRANCH_SCALE, _SHIFT = (0.5, 1.5), (0.1, 0.5), 0.2  # of random batch norms


def fill(model: Segmenter, weights: str, *, seed: int) -> None:
    """Give a freshly built network its weights, in place.

    `random` and `pretrained` draw the decoder and head from `seed`; a path is a whole checkpoint.
    Raises: BadInput for a file that cannot be read or does not fit.
    """
    if weights not in ("random", "pretrained"):
        _load_checkpoint(model, Path(weights))
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        for part in (model.decoder, model.head):
            for module in part.modules():
                reset: Any = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
        if weights == "random":
            _draw_norms(model)
    # A pretrained encoder keeps its own statistics; the decoder has none yet.
    _calibrate(model, model if weights == "random" else model.decoder)


def _draw_norms(model: nn.Module) -> None:
    """Draw batch-norm scales and shifts, as training would leave them.

    timm starts the last scale of a residual branch at zero, which hides the branch, and any error in
    it, from every comparison of answers. Those are drawn small, as training leaves them: large ones
    make an untrained network amplify rounding errors.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            nn.init.uniform_(module.weight, *(_SCALE if module.weight.any() else _BRANCH_SCALE))
            nn.init.normal_(module.bias, 0.0, _SHIFT)


@torch.no_grad()
def _calibrate(model: Segmenter, part: nn.Module) -> None:
    """Take batch-norm statistics from photographs in one pass, then balance the head."""
    encoder = model.encoder
    height, width = encoder.fixed_size or encoder.padded(_CROP_PX, _CROP_PX)
    crops = photos.crops(
        photos.default_photos(), _CROPS, height_px=height, width_px=width, channels=encoder.in_channels
    )
    images = torch.from_numpy(photos.normalised(crops, encoder.mean, encoder.std))
    model.eval()
    with _learning_statistics(part):
        features = model.decoder(encoder(images))
    _balance(model.head, features)


@contextmanager
def _learning_statistics(part: nn.Module) -> Iterator[None]:
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the running statistics become those of this one batch
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def _balance(head: nn.Conv2d, features: Tensor) -> None:
    """Scale the head so that logits have unit spread, and shift it so that every class occurs."""
    assert head.bias is not None
    head.bias.zero_()
    logits = head(features).movedim(1, 0).flatten(1)  # (classes, pixels)
    spread = logits.std(dim=1).clamp_min(torch.finfo(logits.dtype).tiny)
    head.weight.div_(spread.reshape(-1, 1, 1, 1))
    logits = logits / spread[:, None]
    if len(logits) == 1:
        head.bias.copy_(-logits.median())  # the mask is logit > 0
        return
    shift = -logits.mean(dim=1)
    fair = 1.0 / len(logits)
    for _ in range(_BALANCING_STEPS):
        winners = (logits + shift[:, None]).argmax(dim=0)
        share = torch.bincount(winners, minlength=len(logits)) / winners.numel()
        if share.min() >= _LEAST_SHARE * fair:
            break
        shift += 0.5 * (fair - share) / fair * fair**0.5
    head.bias.copy_(shift)


def _load_checkpoint(model: nn.Module, path: Path) -> None:
    state = _read_checkpoint(path)
    own = model.state_dict()
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    for found, what in (
        (missing, "lacks"),
        (surplus, "has beyond the network's"),
        (wrong, "shapes differ for"),
    ):
        if found:
            raise BadInput(
                f"weights {path.name} do not fit this network: the file {what} {len(found)} tensors, "
                f"first {found[0]!r}; give the checkpoint of this encoder, decoder and number of classes."
            )
    model.load_state_dict(state)


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read tensors by name; nothing in the file is executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(
            f"weights {str(path)!r} cannot be read ({reason}): "
            "accepted is a .safetensors file, or a state dict that torch.load(weights_only=True) takes."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"weights {path.name} hold no state dict: save the network's `state_dict()`.")
    return state
