"""Weights of a whole network: seeded random ones that answer something, pretrained, or a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from unetbench import photos
from unetbench.errors import BadInput
from unetbench.networks.heads import balance, balance_whole
from unetbench.networks.segmenter import Segmenter
from unetbench.networks.whole import Whole, intake

_CROPS = 4  # photographs that give the batch-norm statistics
_CROP_PX = 256  # 4 crops of 256² have as many pixels as one input of 512²: under a second
_WHOLE_CROP_PX = 256  # smaller, dilated convolutions of whole networks would see more border than image
_OF_SIZE = "pos_embed"  # timm's name of what a model built for one size has for each place in it
_SCALE, _BRANCH_SCALE, _SHIFT = (0.5, 1.5), (0.1, 0.5), 0.2  # of random batch norms


def fill(model: Segmenter | Whole, weights: str, *, seed: int) -> None:
    """Give a freshly built network its weights, in place.

    `random` and `pretrained` draw the decoder and head from `seed`; a whole network keeps what it was built
    with, but for its batch norms and its head. A path is a checkpoint.
    Raises: BadInput for a file that cannot be read or does not fit.
    """
    if weights not in ("random", "pretrained"):
        _load_checkpoint(model, Path(weights))
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        for part in () if isinstance(model, Whole) else (model.decoder, model.head):
            for module in part.modules():
                reset: Any = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
        if weights == "random":
            _draw_norms(model)
    if isinstance(model, Whole):
        _calibrate_whole(model)
    else:
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
        elif isinstance(module, _InstanceNorm) and module.affine and not module.weight.any():
            nn.init.uniform_(module.weight, *_BRANCH_SCALE)


@torch.no_grad()
def _calibrate(model: Segmenter, part: nn.Module) -> None:
    """Take batch-norm statistics from photographs in one pass, then balance the head."""
    model.eval()
    with _learning_statistics(part):
        features = model.decoder(model.encoder(_photographs(model, _CROP_PX)))
    balance([model.head], lambda: model.head(features))


@torch.no_grad()
def _calibrate_whole(model: Whole) -> None:
    """The same for a whole network; of volumes there are no photographs, so that one stays as it was drawn."""
    if model.dimensions != 2:
        return
    images = _photographs(model, _WHOLE_CROP_PX)
    model.eval()
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        with _learning_statistics(model):
            model(images)
    if not balance_whole(model, images):
        warnings.warn(
            "no convolution was found that alone gives the logits of this network: it answers as it was drawn; "
            "give a checkpoint as weights where that says nothing.",
            stacklevel=2,
        )


def _photographs(model: nn.Module, side_px: int) -> Tensor:
    takes = intake(model)
    height, width = takes.fixed_size or takes.padded(side_px, side_px)
    crops = photos.crops(
        photos.default_photos(), _CROPS, height_px=height, width_px=width, channels=takes.in_channels
    )
    return torch.from_numpy(photos.normalised(crops, takes.mean, takes.std))


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


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a network's state with each tensor once, under the first of its names: some are shared."""
    first = _first_names(model)
    return {name: value for name, value in model.state_dict().items() if first[name] == name}


def _first_names(model: nn.Module) -> dict[str, str]:
    """Every name of a state dict, and the first name of the same tensor."""
    found: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: found.setdefault(id(value), name) for name, value in state.items()}


def _load_checkpoint(model: nn.Module, path: Path) -> None:
    state = _read_checkpoint(path)
    own, first = model.state_dict(), _first_names(model)
    if isinstance(model, Whole) and not own.keys() & state.keys():
        state = model.own_names(state)
    given = {first.get(name, name): value for name, value in state.items()}
    missing, surplus = sorted(set(first.values()) - given.keys()), sorted(given.keys() - own.keys())
    wrong = sorted(name for name in own.keys() & given.keys() if own[name].shape != given[name].shape)
    if missing or surplus or wrong:
        raise BadInput(
            f"weights {path.name} do not fit this network: {_unlike(missing, surplus, wrong, own, given)}."
        )
    model.load_state_dict({name: given[first[name]] for name in own})


def _unlike(
    missing: Sequence[str],
    surplus: Sequence[str],
    wrong: Sequence[str],
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
) -> str:
    """Say by what a checkpoint differs, and what else to give."""
    if not (missing or surplus) and all(_OF_SIZE in name for name in wrong):
        return (
            f"{wrong[0]!r} has shape {tuple(given[wrong[0]].shape)} in the file and {tuple(own[wrong[0]].shape)} for this size: "
            "position embeddings are of one size; give the --size (image_size) that it was trained with"
        )
    kinds = ((missing, "lacks"), (surplus, "has beyond the network's"), (wrong, "has in other shapes"))
    found, what = next(kind for kind in kinds if kind[0])
    return (
        f"the file {what} {len(found)} tensors, first {found[0]!r}; give the checkpoint of this encoder, decoder and "
        "number of classes and channels"
    )


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
