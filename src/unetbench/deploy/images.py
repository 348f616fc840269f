"""Image files as sources of pixels: TIFF by windows, what Pillow reads as a whole, within its limit.

It changes no pixel but what the file's colours mean (palette, white as zero): scaling is the network's affair.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unetbench.deploy.tiles import Pixels, Source
from unetbench.errors import BadInput, MissingPackage, UnetbenchError

_TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", *_TIFF_SUFFIXES)
_PILLOW = ("PNG", "JPEG", "WEBP", "BMP")  # its other readers are not asked: fewer doors
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF
_ALPHA = {"LA": 1, "RGBA": 1, "La": 1, "RGBa": 1}
_MEANT = {"P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}  # what Pillow can say in red, green and blue
_PEAKS = {"b": 1.0, "f": 1.0}  # by kind of dtype; whole numbers go up to their type's largest


@dataclass(slots=True, kw_only=True)
class Page:
    """One image of a file: a source, which of its channels the network takes, and what is white."""

    source: Source
    taken: tuple[int, ...]
    peak: float

    @property
    def pixels(self) -> int:
        return self.source.height * self.source.width


class Array:
    """An image that is in memory as a whole. Shapes: (H, W, C)."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.height, self.width, self.channels = pixels.shape
        self.dtype = pixels.dtype

    def window(self, top: int, bottom: int, left: int, right: int) -> Pixels:
        return self.pixels[top:bottom, left:right]


class Guarded:
    """A source whose decoder's complaints become one line, whenever they come."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source, self._path = source, path
        self.height, self.width, self.channels = source.height, source.width, source.channels
        self.dtype = source.dtype

    def window(self, top: int, bottom: int, left: int, right: int) -> Pixels:
        with _told(self._path):
            return self._source.window(top, bottom, left, right)


@contextmanager
def opened(path: Path, in_channels: int) -> Iterator[tuple[Page, ...]]:
    """Open an image file and give its images: one, or those of a stack.

    Raises: BadInput where it is no image, is damaged, or its channels are not the network's; MissingPackage.
    """
    if not _is_tiff(path):
        with _told(path):
            pixels, alpha = _whole(path)
            one = page(Array(pixels), in_channels, alpha)
        yield (one,)
        return
    try:
        from unetbench.deploy import tiff
    except ImportError as error:
        raise MissingPackage(
            "TIFF is read by windows with tifffile, which is not installed: "
            "install it with `uv pip install unetbench[tiff]`."
        ) from error
    with ExitStack() as stack:
        with _told(path):
            found = stack.enter_context(tiff.opened(path))
            pages = tuple(page(Guarded(each, path), in_channels, each.alpha, each.peak) for each in found)
        yield pages


def geography(path: Path) -> tuple[tuple[int, int, int, Any, bool], ...]:
    """Return the tags of a TIFF that say where it lies on the earth; none of other files. Raises: as `opened`."""
    if not _is_tiff(path):
        return ()
    from unetbench.deploy import tiff

    with _told(path):
        return tiff.geography(path)


def facts(path: Path) -> os.stat_result:
    """Return what tells whether a file is still the same. Raises: BadInput where it is gone."""
    with _told(path):
        return path.stat()


def page(source: Source, in_channels: int, alpha: int = 0, peak: float | None = None) -> Page:
    """Choose the channels that a network of that many takes; transparency is none of them.

    Raises: BadInput where they do not fit, or the numbers are of a kind that has no white.
    """
    colours = source.channels - alpha
    kind = source.dtype.kind
    if kind not in "buf" or source.dtype.itemsize > 4 or (kind == "u" and source.dtype.itemsize == 4):
        raise BadInput(f"its numbers are {source.dtype}: give 8 or 16 bits a channel, or floats from 0 to 1.")
    if not (source.height and source.width):
        raise BadInput("it has no pixel: take it out.")
    if colours == in_channels:
        taken = tuple(range(colours))
    elif colours == 1:
        taken = (0,) * in_channels  # grey for each of them
    else:
        raise BadInput(
            f"it has {colours} channels beside transparency, the network takes {in_channels}: "
            "convert it, or export a network for these channels."
        )
    return Page(
        source=source, taken=taken, peak=peak or _PEAKS.get(kind) or float(np.iinfo(source.dtype).max)
    )


def warm(paths: Sequence[Path]) -> None:
    """Import what will read these files: that is no part of what an image costs."""
    if any(path.suffix.lower() in _TIFF_SUFFIXES for path in paths) and find_spec("tifffile"):
        from unetbench.deploy import tiff  # noqa: F401


def found(paths: Sequence[Path]) -> list[Path]:
    """Return image files: those given, and of a folder those that its names say are images.

    Raises: BadInput where a path is not there, or a folder holds none.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise BadInput(f"image {str(path)!r} is not there: give image files, or folders of them.")
            files.append(path)
            continue
        inside = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        if not inside:
            raise BadInput(f"folder {str(path)!r} holds no image ({', '.join(SUFFIXES)}): give another.")
        files += inside
    return list(dict.fromkeys(files))


def _is_tiff(path: Path) -> bool:
    with _told(path), path.open("rb") as stream:
        return stream.read(4) in _TIFF_STARTS


def _whole(path: Path) -> tuple[Pixels, int]:
    """Read what Pillow reads, with its limit on pixels as an error; return it, and its transparent channels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=_PILLOW) as image:
            meant = _MEANT.get(image.mode, image.mode)
            if image.mode == "P" and "transparency" in image.info:
                meant = "RGBA"
            alpha = _ALPHA.get(meant, 0)
            pixels: Pixels = np.asarray(image if meant == image.mode else image.convert(meant))
    if pixels.dtype == np.int32 and pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max:
        pixels = pixels.astype(np.uint16)  # Pillow's mode I: 16 bits of grey
    return (pixels[..., None] if pixels.ndim == 2 else pixels), alpha


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn whatever a decoder says of a file into one line."""
    try:
        yield
    except UnetbenchError as error:
        raise type(error)(f"image {str(path)!r}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they please for a damaged file
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(f"image {str(path)!r} cannot be read ({reason}): mend it or take it out.") from error
