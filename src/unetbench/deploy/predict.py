"""Images through a bundle, one after the other: what cannot be read is told and passed over.

It imports no torch where the bundle's runtime is not torch's, and prints nothing.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from unetbench import machine
from unetbench.deploy import images, tiles
from unetbench.deploy.bundle import Bundle, opened
from unetbench.deploy.costs import Costs
from unetbench.deploy.done import Record
from unetbench.deploy.manifest import Manifest
from unetbench.deploy.segment import (
    FORMATS,
    MEMORY_BYTES,
    Network,
    Settings,
    Ticks,
    refuse_without_tifffile,
    segment,
)
from unetbench.errors import BadInput, UnetbenchError, unknown
from unetbench.measuring import memory, parity


class Observer(Ticks, Protocol):
    """What watches: a progress bar, or lines."""

    def started(self, image: Path, number: int, count: int) -> None:
        """An image is in hand."""

    def finished(self, image: Path, mask: Path, costs: Costs) -> None:
        """Its mask and overlay are on the disk."""

    def skipped(self, image: Path, mask: Path) -> None:
        """It was done by an earlier run."""

    def failed(self, image: Path, reason: str) -> None:
        """It cannot be segmented; the rest go on."""

    def close(self) -> None:
        """All is over, or was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to segment, with what, and how; None leaves it to the bundle, or to the image."""

    bundle: Path
    images: Sequence[Path]
    out: Path
    overlap: float | None = None
    threads: int | None = None
    memory_bytes: int = MEMORY_BYTES
    format: str | None = None


@dataclass(slots=True, kw_only=True)
class Summary:
    """What became of the images, and what those of this run cost. Units: bytes of resident memory."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    costs: Costs = field(default_factory=Costs)
    loaded_bytes: int = 0  # with the network in memory, before the first image
    peak_bytes: int = 0
    threads: int = 0


def predict(order: Order, observer: Callable[[], Observer]) -> Summary:
    """Segment all images; masks, overlays and a record of what is done go into a folder.

    Raises: BadInput for a bundle, a folder or an option that cannot be used, or a disk that is full.
    """
    if order.format is not None and order.format not in FORMATS:
        raise unknown("format", order.format, FORMATS, "Leave --format out for what fits the image.")
    bundle = opened(order.bundle)
    settings = Settings(
        overlap=bundle.manifest.overlap if order.overlap is None else order.overlap,
        memory_bytes=order.memory_bytes,
        format=order.format,
    )
    _refuse_impossible(bundle.manifest, settings)
    files = images.found(order.images)
    record = Record(order.out)
    _refuse_twins(files, order.out, record)
    _refuse_unwritable(order.out)
    return _Run(order, bundle, settings, files, record).all(observer())


class _Run:
    """The images of one command, the record of those done, and the network, loaded when it is needed."""

    def __init__(
        self, order: Order, bundle: Bundle, settings: Settings, files: Sequence[Path], record: Record
    ) -> None:
        self._order, self._bundle, self._settings, self._files = order, bundle, settings, files
        self._record = record
        self._name = f"{bundle.fingerprint} {settings.overlap:g} {settings.format or ''}".strip()
        self._network: Network | None = None
        self.summary = Summary()

    def all(self, watcher: Observer) -> Summary:
        """Segment what is not done yet."""
        try:
            for number, image in enumerate(self._files, 1):
                mask = self._record.mask(image, self._name)
                if mask is not None:
                    self.summary.skipped += 1
                    watcher.skipped(image, mask)
                    continue
                watcher.started(image, number, len(self._files))
                self._one(image, watcher)
        finally:
            watcher.close()
        return self.summary

    def _one(self, image: Path, watcher: Observer) -> None:
        network, costs = self._loaded(), Costs()
        try:
            facts = images.facts(image)
            mask, overlay = segment(image, self._order.out, network, self._settings, costs, watcher)
            self._record.add(image, facts, self._name, mask, overlay, costs.spent_ns)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.summary.failed += 1
                watcher.failed(
                    image, f"the name of its mask is too long for {str(self._order.out)!r}: rename the image"
                )
                return
            raise BadInput(
                f"{error.filename or str(self._order.out)!r} cannot be written ({error.strerror}): make room or "
                "give another -o DIR; what is done stays, the same command goes on from there."
            ) from error
        except (UnetbenchError, MemoryError) as error:
            self.summary.failed += 1
            watcher.failed(image, str(error) or "there is not enough memory for it")
            return
        self.summary.done += 1
        self.summary.costs.add(costs)
        self.summary.peak_bytes = memory.peak_rss_bytes()
        watcher.finished(image, mask, costs)

    def _loaded(self) -> Network:
        """Load the network once, and see that its answer is still what it was.

        Raises: BadInput where it is not: masks that are wrong help nobody.
        """
        if self._network is not None:
            return self._network
        manifest = self._bundle.manifest
        threads = machine.threads_or_granted(
            self._order.threads or min(manifest.threads, machine.granted_cores())
        )
        session = self._bundle.load(threads)
        expected, answer = self._bundle.expected().astype("float64"), self._bundle.answer(session)
        eager = manifest.certificate.parity.eager_relative_error
        found = (
            parity.compare(expected, answer, eager_relative_error=eager)
            if expected.shape == answer.shape and abs(answer).max() < float("inf")
            else None
        )
        fault = parity.fault(expected, answer, found, manifest.case().recipe.precision)
        if fault:
            raise BadInput(
                f"bundle {str(self._bundle.folder)!r} answers wrongly on this machine ({fault}): "
                "`unetbench verify` says more; no mask is written."
            )
        images.warm(self._files)
        memory.reset_peak()
        self.summary.loaded_bytes, self.summary.threads = memory.peak_rss_bytes(), threads
        self._network = Network(session, manifest)
        return self._network


def _refuse_twins(files: Sequence[Path], out: Path, record: Record) -> None:
    """Two images of one name would write one mask; masks beside the images would be taken for images next time."""
    if any(
        out.resolve() in (file.resolve().parent, file.parent.resolve()) for file in files
    ):  # a link, or its target
        raise BadInput(f"folder {str(out)!r} holds the images: give -o a folder of its own.")
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise BadInput(
                f"{str(other)!r} and {str(file)!r} would both write {file.stem}.mask: give them to two commands, "
                "each with a folder of its own."
            )
        earlier = record.twin(file)
        if earlier is not None:
            raise BadInput(
                f"{str(file)!r} would replace the mask of {str(earlier)!r} in {str(out)!r}: give -o another folder."
            )


def _refuse_impossible(manifest: Manifest, settings: Settings) -> None:
    """What can hold for no image is told once, before the first."""
    if settings.format == "tiff":
        refuse_without_tifffile("--format tiff")
    network = manifest.network
    one = images.Array(np.empty((1, 1, 1), np.uint8))  # the least that an image can be
    size = (manifest.height_px, manifest.width_px)
    tiles.plan(one, size, settings.overlap, network.classes, settings.memory_bytes, unit=manifest.unit_px)


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"folder {str(folder)!r} cannot be written ({error.strerror}): give another -o DIR."
        ) from error
