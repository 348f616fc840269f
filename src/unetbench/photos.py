"""Photographs as network input: which files, and seeded crops of them. NumPy and Pillow only."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unetbench.errors import BadInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
MOST_PHOTOS = 16  # of a folder, by name: more would only cost time, runs cycle through a few crops

# Free photographs inside installed packages: scikit-learn's two (CC BY 2.0) and matplotlib's
# portrait of Grace Hopper (public domain).
_SHIPPED = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)


def default_photos() -> tuple[Path, ...]:
    """Return the photographs that installed libraries ship, without importing those libraries."""
    found = []
    for package, inside in _SHIPPED:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(root) / inside).is_file():
                found.append(path)
    if not found:
        raise BadInput("no photograph is installed: install scikit-learn, or give --images DIR.")
    return tuple(found)


def folder_photos(folder: Path | None) -> tuple[Path, ...]:
    """Return the first 16 images of a folder by name, each one opened to see that it can be read; () without one.

    Raises: BadInput where it holds none, or one is damaged.
    """
    if folder is None:
        return ()
    kinds = "JPEG, PNG or TIFF"
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise BadInput(
            f"images folder {str(folder)!r} cannot be read ({error.strerror}): "
            f"give --images a folder of {kinds} files."
        ) from error
    if not paths:
        raise BadInput(
            f"images folder {str(folder)!r} holds no {kinds} file: add some, or leave --images out."
        )
    for path in paths[:MOST_PHOTOS]:
        pixels(path)
    return tuple(paths[:MOST_PHOTOS])


def digest(paths: Sequence[Path]) -> str:
    """Return a name for the contents of a set of images."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def pixels(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Shapes: (H, W, 3). Raises: BadInput where it cannot be read, or is a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _grey_of_16_bits(image) if image.mode[0] in "IF" else np.asarray(image.convert("RGB"))
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(f"image {str(path)!r} cannot be read ({reason}): mend it or take it out.") from error


def _grey_of_16_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Pillow's own conversion cuts off what is beyond 255, which is nearly all."""
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > np.iinfo(np.uint16).max:
        raise ValueError("its numbers have no known white: 8 or 16 bits a channel are read")
    return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)


def crops(
    paths: Sequence[Path], count: int, *, height_px: int, width_px: int, channels: int = 3, seed: int = 0
) -> NDArray[np.float32]:
    """Cut seeded crops, flipped at random, from photographs taken in turn.

    A photograph smaller than the crop is enlarged first. With other than three channels the
    colours repeat.
    Shapes: (count, channels, height_px, width_px). Units: 0 to 1.
    """
    random = np.random.default_rng(seed)
    cut = [_crop(pixels(paths[index % len(paths)]), height_px, width_px, random) for index in range(count)]
    batch = np.stack(cut).astype(np.float32) / 255.0
    batch = batch[..., [channel % 3 for channel in range(channels)]]
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def normalised(
    batch: NDArray[np.float32], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Subtract the encoder's mean and divide by its std; they repeat over further channels.

    Shapes: (B, C, H, W) -> the same.
    """
    channels = batch.shape[1]
    shift = np.resize(np.asarray(mean, np.float32), channels).reshape(1, -1, 1, 1)
    scale = np.resize(np.asarray(std, np.float32), channels).reshape(1, -1, 1, 1)
    return np.ascontiguousarray((batch - shift) / scale)


def _crop(
    photo: NDArray[np.uint8], height_px: int, width_px: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    height, width = photo.shape[:2]
    scale = max(height_px / height, width_px / width, 1.0)
    if scale > 1.0:
        size = (max(width_px, round(width * scale)), max(height_px, round(height * scale)))
        photo = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
        height, width = photo.shape[:2]
    top = int(random.integers(height - height_px + 1))
    left = int(random.integers(width - width_px + 1))
    cut = photo[top : top + height_px, left : left + width_px]
    return cut[:, ::-1] if random.random() < 0.5 else cut
