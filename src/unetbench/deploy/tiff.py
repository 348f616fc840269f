"""TIFF files by windows: only the strips or tiles that a window touches are read. Needs tifffile.

Writing: pages of masks, tile by tile as their rows come.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from unetbench.deploy.tiles import Classes, Pixels
from unetbench.errors import BadInput

_SEGMENT_BYTES = 256 << 20  # of one strip or tile, decoded: more would be the image in memory
_LONGEST_SIDE_PX = 1 << 20  # beyond it the header is damaged
_MOST_PAGES = 1 << 16
_TILE_PX = 256  # of what is written
_LEVEL = 6  # of deflate: masks shrink a hundredfold at any
_JPEG = (6, 7, 33007, 34892)
_NONE, _GREY_INVERTED, _GREY, _RGB, _PALETTE, _YCBCR = 1, 0, 1, 2, 3, 6
_ALPHA = (1, 2)  # extra samples that are transparency
_DOUBLE, _SHORT, _ASCII = 12, 3, 2
# Where the image lies on the earth, as TIFF's types; GDAL's no-data value is a word about pixels, not about their place.
_GEO_TAGS = {33550: _DOUBLE, 33922: _DOUBLE, 34264: _DOUBLE, 34735: _SHORT, 34736: _DOUBLE, 34737: _ASCII}
# What decoders keep within the size that the page's header gives: others' pieces have headers of their own.
_BOUNDED = (_NONE, 2, 3, 4, 5, *_JPEG, 8, 32773, 32946, 34925, 50000)

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters is raised


class TiffSource:
    """One page. Its windows are cut from the strips or tiles that they touch."""

    def __init__(self, page: Any) -> None:
        self._page = page
        _refuse(page)
        planes, _, self.height, self.width, contiguous = page.shaped
        self._planes = planes
        self._stored = np.dtype(page.dtype)
        self._colours: NDArray[Any] | None = None
        photometric = int(page.photometric)
        self._inverted = photometric == _GREY_INVERTED
        transparent = [int(kind) in _ALPHA for kind in page.extrasamples]
        self.alpha = sum(transparent)
        if transparent != sorted(transparent):
            raise BadInput("its transparency stands between its channels: put it behind them.")
        self.channels, self.dtype, self.peak = planes * contiguous, self._stored, _peak(page, self._stored)
        if photometric == _PALETTE and self.alpha:
            raise BadInput("its palette has transparency beside it: convert it to RGB.")
        if photometric == _PALETTE:
            self._colours = (np.asarray(page.colormap) >> 8).astype(np.uint8).T
            self.channels, self.dtype, self.peak = 3, np.dtype(np.uint8), 255.0

    def window(self, top: int, bottom: int, left: int, right: int) -> Pixels:
        shape = (bottom - top, right - left, self._planes * self._page.shaped[4])
        window = np.zeros(shape, self._stored)
        if _plain_strips(self._page):
            self._copy_rows(window, top, left)
        else:
            for segment in self._touched(top, bottom, left, right):
                self._paste(window, segment, top, left)
        if self._inverted:  # in place: a copy would be as large as all that --memory counts
            if self._stored.kind == "b":
                np.logical_not(window, out=window)
            else:
                np.subtract(self._stored.type(self.peak), window, out=window)
        if self._colours is None:
            return window
        coloured = np.empty((*window.shape[:2], 3), np.uint8)
        for row, indices in zip(coloured, window[..., 0], strict=True):  # NumPy makes 8 bytes of each index
            row[:] = self._colours[indices]
        return coloured

    def _touched(self, top: int, bottom: int, left: int, right: int) -> Iterator[int]:
        """Give the numbers of the strips or tiles that a window touches."""
        page = self._page
        high = page.tilelength if page.is_tiled else page.rowsperstrip
        wide = page.tilewidth if page.is_tiled else self.width
        down, across = -(-self.height // high), -(-self.width // wide)
        for plane in range(self._planes):
            for row in range(top // high, -(-bottom // high)):
                first = (plane * down + row) * across
                yield from range(first + left // wide, first - (-right // wide))

    def _paste(self, window: Pixels, number: int, top: int, left: int) -> None:
        """Decode one strip or tile and copy what a window has of it."""
        page, handle = self._page, self._page.parent.filehandle
        offset, count = page.dataoffsets[number], page.databytecounts[number]
        if not count:
            return  # a tile that was never written is zero, as GDAL has it
        if count > _SEGMENT_BYTES:
            raise BadInput(f"one piece of it has {count / 1e6:.0f} MB, more than it can decode to: mend it.")
        handle.seek(offset)
        data = handle.read(count)
        if len(data) < count:
            raise BadInput("it is cut short: copy it anew.")
        tables = (
            {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
            if int(page.compression) in _JPEG
            else {}
        )
        decoded, (plane, _, row, column, _), _ = page.decode(data, number, **tables)
        pixels = decoded[0]  # of depth one
        inside = slice(plane, plane + 1) if self._planes > 1 else slice(None)
        first, begin = max(row, top), max(column, left)
        last = min(row + pixels.shape[0], top + window.shape[0], self.height)
        end = min(column + pixels.shape[1], left + window.shape[1], self.width)
        window[first - top : last - top, begin - left : end - left, inside] = pixels[
            first - row : last - row, begin - column : end - column
        ]

    def _copy_rows(self, window: Pixels, top: int, left: int) -> None:
        """Copy rows of uncompressed strips straight from the file: a strip may be the whole image."""
        page, handle = self._page, self._page.parent.filehandle
        samples = page.shaped[4]
        stored = self._stored.newbyteorder(page.parent.byteorder)
        pixel_bytes = samples * stored.itemsize
        strips = -(-self.height // page.rowsperstrip)
        for plane in range(self._planes):
            inside = slice(plane, plane + 1) if self._planes > 1 else slice(None)
            for row in range(window.shape[0]):
                strip, within = divmod(top + row, page.rowsperstrip)
                number = plane * strips + strip
                if not page.databytecounts[number]:
                    continue  # never written, as above
                begin, size = (within * self.width + left) * pixel_bytes, window.shape[1] * pixel_bytes
                handle.seek(page.dataoffsets[number] + begin)
                data = handle.read(size)
                if len(data) < size or begin + size > page.databytecounts[number]:
                    raise BadInput("it is cut short: copy it anew.")
                window[row, :, inside] = np.frombuffer(data, stored).reshape(-1, samples)


@contextmanager
def opened(path: Path) -> Iterator[tuple[TiffSource, ...]]:
    """Open a TIFF file and give its pages; thumbnails, smaller copies and transparency masks are none."""
    with tifffile.TiffFile(path) as file:
        if len(file.pages) > _MOST_PAGES:
            raise BadInput(f"it has more than {_MOST_PAGES} pages: its header is damaged, or split it.")
        if file.is_imagej and any(each.is_truncated for each in file.series):
            raise BadInput(
                "its slices have no headers of their own (ImageJ beyond 4 GB): save it as BigTIFF."
            )
        pages: list[Any] = [page for page in file.pages if not (page.is_reduced or page.is_mask)]  # type: ignore[union-attr]
        if not pages:
            raise BadInput("it holds no image: take it out.")
        yield tuple(map(TiffSource, pages))


def geography(path: Path) -> tuple[tuple[int, int, int, Any, bool], ...]:
    """Return the tags that say where an image lies on the earth, as they are written; none where it has none."""
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        found = [tags[code] for code, kind in _GEO_TAGS.items() if code in tags and tags[code].dtype == kind]
        return tuple((tag.code, int(tag.dtype), tag.count, _stored(file, tag), True) for tag in found)


def _stored(file: tifffile.TiffFile, tag: Any) -> Any:
    """Names of places have letters beyond ASCII, and other tags tell where each begins: their bytes stay as they are."""
    if tag.dtype != _ASCII:
        return tag.value
    file.filehandle.seek(tag.valueoffset)
    return file.filehandle.read(tag.count)


def band_bytes(width: int, dtype: np.dtype[Any]) -> int:
    """Return what writing holds of a mask at a time: the rows of one row of tiles."""
    return -(-width // _TILE_PX) * _TILE_PX**2 * dtype.itemsize


def write(
    path: Path,
    pages: Iterator[Iterator[Classes]],
    sizes: Sequence[tuple[int, int]],
    colours: NDArray[np.uint8] | None,
    dtype: np.dtype[Any],
    tags: Sequence[tuple[int, int, int, Any, bool]] = (),
) -> None:
    """Write masks as pages of deflated tiles while their rows come. Shapes: rows (n, W), from top to bottom."""
    large = sum(height * width for height, width in sizes) * dtype.itemsize >= 1 << 31  # it might not shrink
    colormap = None
    if colours is not None:
        colormap = np.zeros((3, 256), np.uint16)
        colormap[:, : len(colours)] = colours.T.astype(np.uint16) * 257
    with tifffile.TiffWriter(path, bigtiff=large) as file:
        for rows, (height, width) in zip(pages, sizes, strict=True):
            file.write(
                _deflated(rows, height, width, dtype),
                shape=(height, width),
                dtype=dtype,
                photometric="minisblack" if colormap is None else "palette",
                colormap=colormap,
                tile=(_TILE_PX, _TILE_PX),
                compression="zlib",
                metadata=None,
                extratags=tags,
            )


def _deflated(rows: Iterator[Classes], height: int, width: int, dtype: np.dtype[Any]) -> Iterator[bytes]:
    """Give an image's tiles, deflated, in their order: from left to right, then down."""
    across = -(-width // _TILE_PX)
    for band in _bands(rows, height, width, dtype):
        for left in range(0, across * _TILE_PX, _TILE_PX):
            yield zlib.compress(band[:, left : left + _TILE_PX].tobytes(), _LEVEL)


def _bands(rows: Iterator[Classes], height: int, width: int, dtype: np.dtype[Any]) -> Iterator[Classes]:
    """Gather rows into bands of whole tiles, zero beyond the image."""
    shape = (_TILE_PX, -(-width // _TILE_PX) * _TILE_PX)
    band, filled, done = np.zeros(shape, dtype.newbyteorder("<")), 0, 0
    for block in rows:
        while len(block):
            some = block[: _TILE_PX - filled]
            band[filled : filled + len(some), :width] = some
            block, filled, done = block[len(some) :], filled + len(some), done + len(some)
            if filled == _TILE_PX or done == height:
                band[filled:] = 0
                yield band
                filled = 0


def _plain_strips(page: Any) -> bool:
    bits = np.dtype(page.dtype).itemsize * 8
    plain = int(page.compression) == _NONE and int(page.predictor) == 1 and int(page.fillorder) == 1
    return plain and not page.is_tiled and page.bitspersample == bits and np.dtype(page.dtype).kind in "uf"


def _peak(page: Any, dtype: np.dtype[Any]) -> float:
    """What is white: of 12 bits in 16, the largest of 12."""
    return float((1 << page.bitspersample) - 1) if dtype.kind == "u" else 1.0


def _refuse(page: Any) -> None:
    """Raise BadInput where a page is none that can be cut into windows."""
    if page.dtype is None:
        raise BadInput(
            f"its numbers of {page.bitspersample} bits are not known: give 8 or 16 bits a channel."
        )
    if page.shaped[1] != 1:
        raise BadInput("it is a volume in one page: save its slices as pages.")
    colours, compression = int(page.photometric), int(page.compression)
    known = (_GREY_INVERTED, _GREY, _RGB, _PALETTE, *((_YCBCR,) if compression in _JPEG else ()))
    if colours not in known:
        raise BadInput(f"its colours are {page.photometric!r}: convert it to RGB or grey.")
    if compression not in _BOUNDED:
        raise BadInput(
            f"it is compressed by {page.compression!r}, whose pieces may decode to any size: save it with deflate, "
            "LZW or JPEG."
        )
    high = page.tilelength if page.is_tiled else page.rowsperstrip
    wide = page.tilewidth if page.is_tiled else page.imagewidth
    if min(high, wide) < 1 or max(page.imagelength, page.imagewidth) > _LONGEST_SIDE_PX:
        raise BadInput(f"its size {page.imagelength}x{page.imagewidth} cannot be: its header is damaged.")
    if page.is_tiled:  # decoded whole, beyond the image's end too
        high *= max(1, int(page.tiledepth))
    else:
        high = min(high, page.imagelength)
    size = high * wide * page.shaped[4] * np.dtype(page.dtype).itemsize
    if size > _SEGMENT_BYTES and not _plain_strips(page):
        raise BadInput(
            f"one piece of it takes {size / 1e6:.0f} MB decoded, it cannot be read by windows: "
            "save it in tiles, as with `gdal_translate -co TILED=YES`."
        )
