"""One whole image through a loaded network: its mask and its overlay, written as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np

from unetbench.deploy import images, masks, tiles
from unetbench.deploy.costs import Costs
from unetbench.deploy.done import OVERLAY
from unetbench.deploy.images import Page
from unetbench.deploy.manifest import Manifest
from unetbench.deploy.tiles import Classes, Pixels, Plan
from unetbench.errors import BadInput, MissingPackage, WrongOutput, in_our_words
from unetbench.runtimes import Logits, Session

MEMORY_BYTES = 1 << 30  # for the buffers of an image, where nothing else is asked
FORMATS = ("png", "tiff")
_PNG_PIXELS = 100_000_000  # beyond it viewers give up on a PNG, and readers want windows
_SCRATCH_PIXELS = 1 << 22  # rows that are read back at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How images are cut and what masks are written. Units: overlap as a share of the tile."""

    overlap: float
    memory_bytes: int = MEMORY_BYTES
    format: str | None = None  # PNG, or TIFF of a large image or a stack


class Ticks(Protocol):
    """What hears of the tiles of an image."""

    def tiles(self, count: int) -> None:
        """So many will be computed."""

    def tile(self) -> None:
        """One is computed."""


class Network:
    """A loaded network with its normalisation: the pixels of a tile to logits."""

    def __init__(self, session: Session, manifest: Manifest) -> None:
        case = manifest.case()
        self.classes, self.channels = case.network.classes, case.network.in_channels
        self.tile = (case.height_px, case.width_px)
        self.unit = manifest.unit_px
        self._session = session
        self._mean = np.resize(np.asarray(manifest.mean, np.float32), self.channels)
        self._std = np.resize(np.asarray(manifest.std, np.float32), self.channels)
        self._input = np.zeros((1, self.channels, *self.tile), np.float32)

    def answer(self, page: Page, costs: Costs, pixels: Pixels) -> Logits:
        """Normalise and run; what a small image lacks of a tile is the mean. Shapes: (h, w, C) -> (classes, H, W)."""
        rows, columns = pixels.shape[:2]
        if (rows, columns) != self.tile:
            self._input[:] = 0.0
        for number, channel in enumerate(page.taken):
            place = self._input[0, number, :rows, :columns]
            np.divide(pixels[..., channel], np.float32(page.peak), out=place, casting="same_kind")
            place -= self._mean[number]
            place /= self._std[number]
        with in_our_words(lambda said: WrongOutput(f"the runtime cannot run it ({said}).")):
            self._session.bind(self._input, shared=True)
            costs.lap("tile")
            self._session.run()
            logits: Logits = np.asarray(self._session.answers()[0], np.float32)[0]
        if not np.isfinite(logits).all():
            raise WrongOutput("the network answers NaN or infinity: look at the image's values.")
        costs.lap("network")
        return logits


def segment(
    image: Path, out: Path, network: Network, settings: Settings, costs: Costs, ticks: Ticks
) -> tuple[Path, Path]:
    """Write an image's mask and overlay into a folder and return their paths.

    Raises: BadInput where the image cannot be read or the files not be written; WrongOutput.
    """
    costs.start()
    with images.opened(image, network.channels) as pages:
        mask = out / f"{image.stem}.mask.{_suffix(image, pages, settings.format)}"
        picture = out / f"{image.stem}{OVERLAY}"
        try:
            _write(image, mask, picture, pages, network, settings, costs, ticks)
        except OSError as error:  # what reading says has become a line of the image's own
            raise OSError(error.errno, error.strerror, str(mask)) from error
    return mask, picture


def _write(
    image: Path,
    mask: Path,
    picture: Path,
    pages: Sequence[Page],
    network: Network,
    settings: Settings,
    costs: Costs,
    ticks: Ticks,
) -> None:
    middle = len(pages) // 2  # of a stack this one is shown
    overlay = masks.Overlay(pages[middle])
    watched = [*pages]
    watched[middle] = replace(pages[middle], source=overlay)
    colours, dtype = masks.palette(network.classes), masks.dtype_of(network.classes)
    plans = [
        tiles.plan(
            page.source,
            network.tile,
            settings.overlap,
            network.classes,
            settings.memory_bytes,
            unit=network.unit,
            besides_bytes=overlay.size_bytes + _written_bytes(mask, page.source.width, dtype),
        )
        for page in watched
    ]
    ticks.tiles(sum(plan.tiles for plan in plans))
    streams = (
        _rows(page, plan, network, costs, ticks, mask.parent)
        for page, plan in zip(watched, plans, strict=True)
    )
    passing = (overlay.passing(rows) if number == middle else rows for number, rows in enumerate(streams))
    sizes = [(page.source.height, page.source.width) for page in pages]
    costs.lap("read")
    with masks.whole(mask) as unfinished, masks.whole(picture) as unfinished_picture:
        if mask.suffix == ".png":
            masks.write_png(unfinished, next(passing), sizes[0], colours, dtype)
        else:
            from unetbench.deploy import tiff

            tiff.write(unfinished, passing, sizes, colours, dtype, images.geography(image))
        overlay.write(unfinished_picture, colours)
        costs.lap("write")
    costs.pixels += sum(height * width for height, width in sizes)


def _written_bytes(mask: Path, width: int, dtype: np.dtype[Any]) -> int:
    """What writing holds of a mask beside the rows that come."""
    if mask.suffix == ".png":
        return 0
    from unetbench.deploy import tiff

    return tiff.band_bytes(width, dtype)


def _rows(
    page: Page, plan: Plan, network: Network, costs: Costs, ticks: Ticks, scratch: Path
) -> Iterator[Classes]:
    """Give the rows of an image's mask from top to bottom; the time until the next are asked for is writing."""
    if len(plan.panels) == 1:
        (panel,) = plan.panels
        for classes in _panel(page, plan, panel, network, costs, ticks):
            yield classes
            costs.lap("write")
        return
    with TemporaryFile(dir=scratch) as stream:  # panels come side by side, files go from top to bottom
        _fill(stream.fileno(), page, plan, network, costs, ticks)
        stream.seek(0)
        dtype = masks.dtype_of(network.classes)
        for top in range(0, plan.height, at_once := max(1, _SCRATCH_PIXELS // plan.width)):
            count = min(at_once, plan.height - top)
            data = stream.read(count * plan.width * dtype.itemsize)
            yield np.frombuffer(data, dtype).reshape(count, plan.width)
    costs.lap("write")


def _fill(descriptor: int, page: Page, plan: Plan, network: Network, costs: Costs, ticks: Ticks) -> None:
    """Write each panel's rows to where they lie in the whole mask."""
    for left, right in plan.panels:
        row = 0
        for classes in _panel(page, plan, (left, right), network, costs, ticks):
            for line in classes:
                os.pwrite(descriptor, line.tobytes(), (row * plan.width + left) * classes.itemsize)
                row += 1
            costs.lap("write")


def _panel(
    page: Page, plan: Plan, panel: tuple[int, int], network: Network, costs: Costs, ticks: Ticks
) -> Iterator[Classes]:
    dtype = masks.dtype_of(network.classes)

    def answer(pixels: Pixels) -> Logits:
        logits = network.answer(page, costs, pixels)
        ticks.tile()
        return logits

    for logits in tiles.blended(page.source, plan, panel, network.classes, answer, costs):
        classes = tiles.decided(logits, dtype)
        costs.lap("argmax")
        yield classes


def _suffix(image: Path, pages: Sequence[Page], asked: str | None) -> str:
    """Return what a mask's file is: PNG, but TIFF of what is large or a stack."""
    large = sum(page.pixels for page in pages) > _PNG_PIXELS
    kind = asked or ("tiff" if large or len(pages) > 1 else "png")
    if kind == "png" and len(pages) > 1:
        raise BadInput(
            f"image {str(image)!r} is a stack of {len(pages)}, a PNG holds one: leave --format out."
        )
    if kind == "tiff":
        refuse_without_tifffile(f"the mask of {str(image)!r}, a TIFF")
    return "tif" if kind == "tiff" else kind


def refuse_without_tifffile(what: str) -> None:
    """Raise MissingPackage where masks cannot be written as TIFF."""
    if not find_spec("tifffile"):
        raise MissingPackage(
            f"{what} needs tifffile: install it with `uv pip install unetbench[tiff]`, or give --format png."
        )
