"""What a bundle says of itself: its manifest, written as JSON and read as data from a stranger.

It checks form alone; whether the files are those that it names is `bundle.opened`'s affair.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from unetbench.errors import BadInput
from unetbench.records import Case, Machine, Measurement, Network, Parity, RewriteReport
from unetbench.suite import checked_recipe

NAME: Final = "manifest.json"
FORMAT: Final = 1
INPUT, LOGITS = "input.npy", "logits.npy"  # the test input and the fp64 reference's answer, both float32
NETWORK: Final = "network"  # the folder of what the runtime loads
OVERLAP = (
    0.5  # of neighbouring tiles, where nothing else is asked (proof 16 of docs/reliability.md has the curve)
)
MOST_OVERLAP = 0.9  # beyond it every pixel is computed a hundred times
_MOST_BYTES = 1 << 20  # a manifest is a few kB
_LARGEST_UNIT_PX = 1024  # encoders have strides to 64
_MOST_CLASSES = 4096  # masks hold 16 bits; more is a damaged number


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was done to the network and how its answer, by this bundle, compares with fp64."""

    rewrites: tuple[RewriteReport, ...]
    parity: Parity
    parameters: int
    encoder_parameters: int
    flop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What was measured, where and when: raw, so that nothing has to be believed."""

    measured_utc: str
    machine: Machine
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A bundle in one page. Units: mean and std of pixels from 0 to 1; overlap as a share of the tile."""

    format: int
    made_utc: str
    versions: tuple[tuple[str, str], ...]
    network: Network
    recipe: str
    height_px: int
    width_px: int
    threads: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    overlap: float
    unit_px: int  # the network's deepest stride: tiles begin at its multiples
    certificate: Certificate
    card: Card
    files: dict[str, str]  # their SHA-256 by path
    onnx: str | None = None  # of them, plain ONNX for any other consumer

    def case(self, threads: int | None = None) -> Case:
        """Return the case that the bundle runs; its weights are in its files."""
        return Case(
            network=replace(self.network, weights="random"),
            recipe=checked_recipe(self.recipe),
            height_px=self.height_px,
            width_px=self.width_px,
            threads=threads or self.threads,
        )


def encoded(manifest: Manifest) -> bytes:
    """Return a manifest as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decoded(text: bytes, place: Path) -> Manifest:
    """Read a manifest.

    Raises: BadInput where it is none, of a newer format, or says what cannot be.
    """
    refused = f"{str(place)!r} is no bundle's manifest"
    try:
        known = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        number = msgspec.json.decode(known.get("format", b"0"), type=int)
        if number > FORMAT:
            raise BadInput(
                f"{str(place)!r} has format {number}, this program reads up to {FORMAT}: "
                "install a newer unetbench."
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{refused} ({error}): give a folder that `unetbench export` wrote.") from error
    fault = _fault(manifest)
    if fault:
        raise BadInput(f"{refused} ({fault}): export it anew.")
    return manifest


def read_bytes(place: Path) -> bytes:
    """Read a manifest's file, no further than one may be long.

    Raises: BadInput where it is not there, a link, no file, or too large.
    """
    try:
        # A pipe would be waited for.
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BadInput(
            f"{str(place)!r} cannot be read ({error.strerror}): give a folder that `unetbench export` wrote."
        ) from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput(f"{str(place)!r} is no file: give a folder that `unetbench export` wrote.")
        text = stream.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise BadInput(f"{str(place)!r} is larger than 1 MiB: no manifest is; export it anew.")
    return text


def _fault(manifest: Manifest) -> str | None:
    """Say what cannot be in a manifest; None where all can."""
    case = manifest.case()  # a wrong recipe, size or number of threads is told by their own checks
    channels = case.network.in_channels
    numbers = (*manifest.mean, *manifest.std)
    if not (manifest.mean and manifest.std and all(map(math.isfinite, numbers)) and min(manifest.std) > 0):
        return f"mean {manifest.mean} and std {manifest.std} normalise nothing"
    if not 0.0 <= manifest.overlap <= MOST_OVERLAP:
        return f"overlap {manifest.overlap} is not within 0 and {MOST_OVERLAP}"
    if not 1 <= manifest.unit_px <= _LARGEST_UNIT_PX:
        return f"unit_px {manifest.unit_px} is no stride"
    if max(case.network.classes, channels) > _MOST_CLASSES:
        return f"{case.network.classes} classes of {channels} channels are too many"
    if min(manifest.card.measurement.run_ns, default=0) <= 0:
        return "its card holds no time"
    if manifest.onnx is not None and manifest.onnx not in manifest.files:
        return f"{manifest.onnx!r} is not among its files"
    for name in manifest.files:
        if not _inside(name):
            return f"path {name!r} leaves the folder"
    if not all(text.isprintable() for text in _texts(msgspec.to_builtins(manifest))):
        return "it holds text that cannot be printed"  # it would write to a terminal what it likes
    return None


def _texts(value: Any) -> Iterator[str]:
    """Give all text within plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for each in value.items() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))


def _inside(name: str) -> bool:
    """Whether a name is a plain relative path: no root, no `..`, nothing that another system reads otherwise."""
    pieces = name.split("/")
    odd = any(character in name for character in "\\:\0") or not name.isprintable()
    return not odd and all(piece not in ("", ".", "..") for piece in pieces) and name != NAME
