"""Where tiles lie on an image and how their answers are blended, band by band. Arithmetic on NumPy arrays only.

Of an image it holds a band of one tile's height; of a very wide one, a panel of that band. A pixel's
answer is the same whatever the panels: each computes every tile that touches it.
Source: even spacing and Gaussian weights as nnU-Net has them (Isensee et al., "nnU-Net: a self-configuring
method for deep learning-based biomedical image segmentation", Nature Methods 18, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unetbench.amounts import counted
from unetbench.deploy.costs import Costs
from unetbench.errors import BadInput
from unetbench.runtimes import Logits

_SIGMA = 1 / 8  # of the tile's side, as nnU-Net
_FLOAT_BYTES = 4
_ARGMAX_PIXELS = 1 << 19  # decided at a time: the best logit and who is better take 5 bytes each
_TILES_IN_FLIGHT = 4  # copies of one tile's logits while it is weighted and added

Pixels = NDArray[Any]  # (rows, columns, channels), as the file has them
Classes = NDArray[np.unsignedinteger[Any]]
Weights = NDArray[np.float32]


class Source(Protocol):
    """An image of which rectangles can be read."""

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]

    def window(self, top: int, bottom: int, left: int, right: int) -> Pixels:
        """Return a rectangle of pixels."""


def starts(length: int, side: int, overlap: float, unit: int = 1) -> tuple[int, ...]:
    """Return where tiles begin: evenly spaced multiples of a unit, overlapping at least that much where it allows.

    The unit is the network's deepest stride: a tile that begins elsewhere puts its coarse maps on other pixels
    than the whole image does, and answers otherwise (decision 20). The last tile may reach beyond the end by
    less than the unit, as the network itself pads. Units: pixels.
    """
    if length <= side:
        return (0,)
    unit = min(unit, side)
    last = -(-(length - side) // unit)
    steps = -(-last // _most_units(side, overlap, unit))
    return tuple(round(step * last / steps) * unit for step in range(steps + 1))


def least_overlap(side: int, overlap: float, unit: int) -> float:
    """Return the overlap that neighbouring tiles have at least where one is asked for: a coarse unit leaves less."""
    unit = min(unit, side)
    return 1 - _most_units(side, overlap, unit) * unit / side


def _most_units(side: int, overlap: float, unit: int) -> int:
    """How many units the next tile may be away."""
    return max(1, int(side * (1 - overlap)) // unit)


def shares(begins: Sequence[int], length: int, side: int) -> tuple[Weights, ...]:
    """Return each tile's weights along one axis, over the pixels that it has; at every pixel they sum to 1.

    On a grid of tiles the two-dimensional Gaussian's shares are the products of these.
    """
    bell = np.exp(-0.5 * ((np.arange(side) - side // 2) / (side * _SIGMA)) ** 2)
    total = np.zeros(length)
    for begin in begins:
        total[begin : begin + side] += bell[: length - begin]
    return tuple(
        (bell[: length - begin] / total[begin : begin + side]).astype(np.float32) for begin in begins
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The tiles of one image, and the panels in which it is computed. Units: pixels."""

    height: int
    width: int
    tile: tuple[int, int]  # height and width
    rows: tuple[int, ...]  # where tiles begin
    columns: tuple[int, ...]
    panels: tuple[tuple[int, int], ...]  # left and right

    @property
    def tiles(self) -> int:
        """How many tiles are computed, those twice that touch two panels."""
        touching = sum(len(self.touching(panel)) for panel in self.panels)
        return len(self.rows) * touching

    def touching(self, panel: tuple[int, int]) -> tuple[int, ...]:
        """Return the numbers of the columns of tiles that touch a panel."""
        left, right = panel
        return tuple(
            number
            for number, begin in enumerate(self.columns)
            if begin < right and begin + self.tile[1] > left
        )


def plan(
    source: Source,
    tile: tuple[int, int],
    overlap: float,
    classes: int,
    memory_bytes: int,
    *,
    unit: int = 1,
    besides_bytes: int = 0,
) -> Plan:
    """Lay tiles over an image, in as many panels as keep its buffers, and what is beside them, within `memory_bytes`.

    Raises: BadInput where not even the narrowest panel fits.
    """
    height, width = tile
    fixed = besides_bytes + _ARGMAX_PIXELS * 8 + _TILES_IN_FLIGHT * classes * height * width * _FLOAT_BYTES
    pixels = height * source.channels * source.dtype.itemsize * 2  # the band, and what is read into it
    column = pixels + (classes + 1) * height * _FLOAT_BYTES
    fitting = (memory_bytes - fixed) // column - 2 * width  # the tiles that touch it reach out by so much
    if fitting < min(width, source.width):
        need = fixed + 3 * width * column
        raise BadInput(
            f"--memory {memory_bytes / 1e6:.0f} MB is too little for tiles of {height}x{width} with "
            f"{counted(classes, 'class', 'classes')}: give --memory {math.ceil(need / 1e6)}MB or more."
        )
    count = math.ceil(source.width / fitting)
    edges = [round(source.width * number / count) for number in range(count + 1)]
    return Plan(
        height=source.height,
        width=source.width,
        tile=tile,
        rows=starts(source.height, height, overlap, unit),
        columns=starts(source.width, width, overlap, unit),
        panels=tuple(pairwise(edges)),
    )


def blended(
    source: Source,
    laid: Plan,
    panel: tuple[int, int],
    classes: int,
    answer: Callable[[Pixels], Logits],
    costs: Costs,
) -> Iterator[Logits]:
    """Give the blended logits of a panel from top to bottom, as rows are finished; each is valid until the next.

    `answer` runs the network on the pixels of a tile, which are fewer at the end of a small image.
    Shapes: each (classes, rows, right - left); answer (rows, columns, channels) -> (classes, ≥ rows, ≥ columns).
    """
    band = _Band(source, laid, panel)
    left, right = panel
    total = np.zeros((classes, laid.tile[0], right - left), np.float32)
    wide = shares(laid.columns, laid.width, laid.tile[1])
    high = shares(laid.rows, laid.height, laid.tile[0])
    for number, top in enumerate(laid.rows):
        band.go_to(top)
        costs.lap("read")
        for column in laid.touching(panel):
            begin = laid.columns[column]
            logits = answer(band.tile(begin))
            first, last = max(begin, left), min(begin + laid.tile[1], right)
            _add(
                total[:, :, first - left : last - left],
                logits[:, :, first - begin : last - begin],
                high[number],
                wide[column][first - begin : last - begin],
            )
            costs.lap("blend")
        finished = (*laid.rows, laid.height)[number + 1] - top
        yield total[:, :finished]
        for plane in total:  # one by one: the whole would be copied aside
            plane[:-finished] = plane[finished:]
            plane[-finished:] = 0.0
        costs.lap("blend")


def decided(logits: Logits, dtype: np.dtype[Any]) -> Classes:
    """Return the class of each pixel, the first of the largest logits; of a single class, whether it is above zero.

    Shapes: (classes, rows, columns) -> (rows, columns).
    """
    if len(logits) == 1:
        marked: Classes = (logits[0] > 0).astype(dtype)
        return marked
    rows, columns = logits.shape[1:]
    chosen: Classes = np.zeros((rows, columns), dtype)
    at_once = max(1, _ARGMAX_PIXELS // columns)
    for top in range(0, rows, at_once):
        place, some = chosen[top : top + at_once], logits[:, top : top + at_once]
        best = some[0].copy()
        for number, each in enumerate(some[1:], 1):  # plane by plane: NumPy's argmax walks across them
            np.copyto(place, dtype.type(number), where=each > best)
            np.maximum(best, each, out=best)
    return chosen


def _add(total: Logits, logits: Logits, high: Weights, wide: Weights) -> None:
    rows, columns = len(high), len(wide)
    total[:, :rows, :columns] += logits[:, :rows, :columns] * (high[:, None] * wide)


class _Band:
    """The rows of an image that a row of tiles needs; each pixel is read once in a panel."""

    def __init__(self, source: Source, laid: Plan, panel: tuple[int, int]) -> None:
        touching = laid.touching(panel)
        self._source, self._laid = source, laid
        self._left = laid.columns[touching[0]]
        self._right = min(laid.columns[touching[-1]] + laid.tile[1], laid.width)
        shape = (min(laid.tile[0], laid.height), self._right - self._left, source.channels)
        self._pixels = np.empty(shape, source.dtype)
        self._top = self._bottom = 0

    def go_to(self, top: int) -> None:
        """Read on, down to the last row of the tiles that begin there."""
        kept = max(0, self._bottom - top)
        if kept:
            self._pixels[:kept] = self._pixels[top - self._top :][:kept]
        bottom = min(top + len(self._pixels), self._laid.height)
        if kept < bottom - top:
            self._pixels[kept : bottom - top] = self._source.window(
                top + kept, bottom, self._left, self._right
            )
        self._top, self._bottom = top, bottom

    def tile(self, begin: int) -> Pixels:
        """Return the pixels of the tile that begins at that column, as many as the image has."""
        return self._pixels[: self._bottom - self._top, begin - self._left :][:, : self._laid.tile[1]]
