"""Masks and overlays as files: whole under their name, or not there. Rows are written as they come.

A mask's numbers are the classes; a palette gives them colours in viewers.
"""

from __future__ import annotations

import colorsys
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unetbench.deploy.images import Page
from unetbench.deploy.tiles import Classes, Pixels

_PALETTE_CLASSES = 256  # of an 8-bit image
_GOLDEN = 0.61803398875  # turns of the colour wheel between two classes: none comes close to another soon
_LEVEL = 6  # of deflate
_CHUNK_BYTES = 1 << 20
_OVERLAY_PX = 2048  # its longest side: a screen
_SHARE = 0.5  # of a class's colour over the image
_QUALITY = 88
_FLAT = 1e-12  # an image of one value is stretched to nothing


def dtype_of(classes: int) -> np.dtype[Any]:
    """Return what holds the number of any class."""
    return np.dtype(np.uint8 if classes <= _PALETTE_CLASSES else np.uint16)


def palette(classes: int) -> NDArray[np.uint8] | None:
    """Return a colour for each class, black for the first; of one class, white where it is; None beyond 256."""
    if classes > _PALETTE_CLASSES:
        return None
    if classes == 1:
        return np.array([(0, 0, 0), (255, 255, 255)], np.uint8)
    hues = ((number * _GOLDEN) % 1.0 for number in range(classes - 1))
    return np.array([(0, 0, 0), *(_bright(hue) for hue in hues)], np.uint8)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file's; what was written there takes its place at the end, synced."""
    # Not longer than the name itself may be: a file system takes 255 bytes.
    temporary = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_png(
    path: Path,
    rows: Iterator[Classes],
    size: tuple[int, int],
    colours: NDArray[np.uint8] | None,
    dtype: np.dtype[Any],
) -> None:
    """Write a mask as PNG while its rows come. Shapes: rows (n, W), from top to bottom; size (H, W)."""
    kind = 0 if colours is None else 3  # grey, or palette
    header = struct.pack(">IIBBBBB", size[1], size[0], dtype.itemsize * 8, kind, 0, 0, 0)
    squeezer = zlib.compressobj(_LEVEL)
    with path.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header))
        if colours is not None:
            stream.write(_chunk(b"PLTE", colours.tobytes()))
        waiting = b""
        for block in rows:
            big = np.ascontiguousarray(block, dtype.newbyteorder(">")).view(np.uint8)
            unfiltered = np.pad(
                big.reshape(len(block), -1), ((0, 0), (1, 0))
            )  # each row begins with its filter
            waiting += squeezer.compress(unfiltered.tobytes())
            if len(waiting) >= _CHUNK_BYTES:
                stream.write(_chunk(b"IDAT", waiting))
                waiting = b""
        stream.write(_chunk(b"IDAT", waiting + squeezer.flush()) + _chunk(b"IEND", b""))


class Overlay:
    """A picture of an image with its classes in colours, gathered while both pass: every nth pixel."""

    def __init__(self, page: Page) -> None:
        self._page, source = page, page.source
        self.height, self.width, self.channels = source.height, source.width, source.channels
        self.dtype = source.dtype
        self._step = max(1, -(-max(self.height, self.width) // _OVERLAY_PX))
        shape = (-(-self.height // self._step), -(-self.width // self._step))
        shown = page.taken[:3] if len(page.taken) >= 3 else page.taken[:1] * 3
        self._shown = list(shown)
        self._pixels = np.zeros((*shape, 3), self.dtype)
        self._classes = np.zeros(shape, np.uint16)
        self._row = 0

    @property
    def size_bytes(self) -> int:
        """What it keeps in memory, the picture that is written at the end included."""
        return self._pixels.nbytes + self._classes.nbytes + self._pixels.size

    def window(self, top: int, bottom: int, left: int, right: int) -> Pixels:
        """Read as the image does, and keep some of it: an overlay stands in for its image."""
        pixels = self._page.source.window(top, bottom, left, right)
        down, across = -top % self._step, -left % self._step
        some = pixels[down :: self._step, across :: self._step][..., self._shown]
        row, column = (top + down) // self._step, (left + across) // self._step
        self._pixels[row : row + some.shape[0], column : column + some.shape[1]] = some
        return pixels

    def passing(self, rows: Iterator[Classes]) -> Iterator[Classes]:
        """Give the rows on, and keep some of them."""
        for block in rows:
            some = block[-self._row % self._step :: self._step, :: self._step]
            first = -(-self._row // self._step)
            self._classes[first : first + len(some)] = some
            self._row += len(block)
            yield block

    def write(self, path: Path, colours: NDArray[np.uint8] | None) -> None:
        """Write it as JPEG. What has more than 8 bits is stretched: it is there to look at."""
        low, high = 0.0, 255.0
        if self.dtype != np.uint8:
            low, high = float(np.nanmin(self._pixels)), float(np.nanmax(self._pixels))
        known = palette(_PALETTE_CLASSES) if colours is None else colours
        assert known is not None
        shown = np.empty(self._pixels.shape, np.uint8)
        for row, (pixels, classes) in enumerate(zip(self._pixels, self._classes, strict=True)):
            line = np.clip((pixels - np.float32(low)) / max(high - low, _FLAT), 0.0, 1.0) * 255.0
            marked = classes > 0
            line[marked] = (1 - _SHARE) * line[marked] + _SHARE * known[classes[marked] % len(known)]
            shown[row] = np.nan_to_num(line)
        Image.fromarray(shown).save(path, format="JPEG", quality=_QUALITY)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bright(hue: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
