"""The record of images that are done: a line of JSON for each, so that the same command goes on.

A line that was torn by a kill is passed over: its image is done again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

OVERLAY = ".overlay.jpg"  # behind the image's name
_NAME = "predict.jsonl"
_MOST_BYTES = 256 << 20  # a line is 300 bytes: a million images


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An image as it was, by what it was segmented, and what was written."""

    image: str
    bytes: int
    mtime_ns: int
    settings: str
    mask: str  # names within the output folder
    overlay: str
    mask_bytes: int
    ms: dict[str, float]  # by part of the work


class Record:
    """The record of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / _NAME
        self._known = {each.image: each for each in self._lines()}
        self._by_overlay = {each.overlay: Path(each.image) for each in self._known.values()}

    def mask(self, image: Path, settings: str) -> Path | None:
        """Return the mask that an image has already; None where it, its settings or its mask are others."""
        known, facts = self._known.get(str(image.resolve())), image.stat() if image.is_file() else None
        if known is None or facts is None:
            return None
        mask, overlay = self._folder / Path(known.mask).name, self._folder / Path(known.overlay).name
        same = (known.bytes, known.mtime_ns, known.settings) == (facts.st_size, facts.st_mtime_ns, settings)
        there = mask.is_file() and overlay.is_file() and mask.stat().st_size == known.mask_bytes
        return mask if same and there else None

    def twin(self, image: Path) -> Path | None:
        """Return another image, still there, whose mask that of this image would replace."""
        other = self._by_overlay.get(f"{image.stem}{OVERLAY}")
        return None if other is None or other == image.resolve() or not other.is_file() else other

    def add(
        self,
        image: Path,
        facts: os.stat_result,
        settings: str,
        mask: Path,
        overlay: Path,
        spent_ns: dict[str, int],
    ) -> None:
        """Note an image, with the facts of its file from before it was read; when this returns, it is on the disk."""
        done = Done(
            image=str(image.resolve()),
            bytes=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            settings=settings,
            mask=mask.name,
            overlay=overlay.name,
            mask_bytes=mask.stat().st_size,
            ms={part: round(ns / 1e6, 3) for part, ns in spent_ns.items()},
        )
        with self._file.open("ab+") as stream:
            if stream.tell() and not self._ends_well(stream.fileno(), stream.tell()):
                stream.write(b"\n")  # what a kill tore must not join what follows
            stream.write(msgspec.json.encode(done) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _lines(self) -> list[Done]:
        if not self._file.is_file() or self._file.stat().st_size > _MOST_BYTES:
            return []
        found = []
        for line in self._file.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=Done))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # torn, or not ours: that image is done again
        return found

    @staticmethod
    def _ends_well(descriptor: int, size: int) -> bool:
        return os.pread(descriptor, 1, size - 1) == b"\n"
