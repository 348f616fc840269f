"""Prepare a network once for all its cases: weights, inputs and the fp64 answers. Runs in a worker.

What it writes is what every case of the network loads, so that all are compared on the same weights
and the same pixels. Files are trusted only if their digests agree; else they are made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unetbench.keys import digest
from unetbench.measuring.parity import Floats, relative_error
from unetbench.records import Case
from unetbench.runtimes import Image

INPUTS = 4  # distinct crops that the timed runs cycle through, more where more are checked
_CROP_SEED = 1234  # other crops than those that gave the batch-norm statistics
FILES = ("weights.safetensors", "images.npy", "answers.npy")


def name(case: Case, *, images: str, checked_inputs: int) -> str:
    """Return the name of a network's reference: a hash of all that it is made from. `images` is a digest."""
    from unetbench.measuring import artifacts  # a worker that only reads starts the sooner

    made_by = artifacts.made_by(artifacts.builders(case.network))
    return digest((case.network_key(), images, checked_inputs, made_by, artifacts.sources(())))


def ready(folder: Path) -> bool:
    """Return whether a folder holds a whole reference, undamaged."""
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return all(facts["digests"][name] == _digest(folder / name) for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def there(folder: Path) -> bool:
    """Return whether a folder has all files of a reference, whatever is in them."""
    return all((folder / name).is_file() for name in (*FILES, "facts.json"))


def weights_digest(folder: Path) -> str:
    """Return the digest of a reference's weights."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return str(facts["digests"][FILES[0]])


def images(folder: Path) -> list[Image]:
    """Return the inputs. Shapes: each (B, C, H, W), normalised."""
    return list(np.load(folder / "images.npy", allow_pickle=False))


def first_image(folder: Path) -> Image:
    """Return the first of the inputs; the others are not read. Shapes: (B, C, H, W), normalised."""
    return np.array(np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)[0])


def answers(folder: Path) -> tuple[Floats, tuple[float, ...]]:
    """Return the fp64 logits of the first inputs, and eager fp32's relative error on each.

    Shapes: (inputs, B, classes, H, W).
    """
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return np.load(folder / "answers.npy", allow_pickle=False), tuple(facts["eager_relative_errors"])


def intake_facts(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Return a network's mean and std by channel, of pixels from 0 to 1, and the stride of its deepest map in pixels."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return tuple(facts["mean"]), tuple(facts["std"]), int(facts["stride_px"])


def write_answers(
    folder: Path, images: Image, answers: Floats, eager_relative_errors: Sequence[float]
) -> None:
    """Write what a case is checked with where its weights are not known: a bundle's inputs and answers.

    Shapes: images (inputs, B, C, H, W), answers (inputs, B, classes, H, W).
    """
    np.save(folder / "images.npy", images)
    np.save(folder / "answers.npy", answers)
    facts = {"eager_relative_errors": list(eager_relative_errors)}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def make(case: Case, folder: Path, image_files: Sequence[Path], *, checked_inputs: int) -> None:
    """Build the case's network and write its weights, inputs and fp64 answers into a folder.

    Raises: Unsupported, BadInput as `Network.build` does.
    """
    import torch
    from safetensors.torch import save_file

    from unetbench import photos
    from unetbench.networks.weights import tensors
    from unetbench.networks.whole import intake
    from unetbench.runtimes._torch_session import set_threads

    set_threads(case.threads)
    size = (case.height_px, case.width_px)
    network = replace(case.network, image_size=case.network.image_size or size)
    model = network.build()
    taker = intake(model)
    count = max(INPUTS, checked_inputs)
    crops = photos.crops(
        image_files,
        count * case.batch,
        height_px=size[0],
        width_px=size[1],
        channels=network.in_channels,
        seed=_CROP_SEED,
    )
    pixels = photos.normalised(crops, taker.mean, taker.std)
    inputs = pixels.reshape(count, case.batch, *pixels.shape[1:])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "facts.json").unlink(missing_ok=True)
    save_file(tensors(model), folder / "weights.safetensors")
    np.save(folder / "images.npy", inputs)
    checked = [torch.from_numpy(image) for image in inputs[:checked_inputs]]
    with torch.inference_mode():
        eager = [model(image).numpy() for image in checked]
        model.double()
        exact = [model(image.double()).numpy() for image in checked]
    np.save(folder / "answers.npy", np.stack(exact))
    errors = [relative_error(a, b) for a, b in zip(exact, eager, strict=True)]
    facts = {"mean": list(taker.mean), "std": list(taker.std), "stride_px": taker.stride_px}
    seal(folder, {"eager_relative_errors": errors, **facts})


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a reference's facts with the digests of its files: from now on it is ready."""
    whole = {**facts, "digests": {name: _digest(folder / name) for name in FILES}}
    (folder / "facts.json").write_text(json.dumps(whole), encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
