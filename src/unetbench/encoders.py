"""What is known of timm's models, from a table that scripts/list_encoders writes. Imports neither torch nor timm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from unetbench.errors import BadInput

TABLE = Path(__file__).parent / "data" / "encoders.tsv"
_GAP = "  "
_WIDTH = 80  # characters of a line: what every terminal has
_HEADINGS = ("encoder", "levels", "channels", "params", "GFLOP")
_KIND = re.compile(r"[a-z]+?(?=v?\d|_|$)")  # the word that a name begins with, before its version
_USUAL_SIZE = "512x512"  # pixels; another one stands beside the operations


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEncoder:
    """A model as the table has it; where it does not work, `reason` says why and the rest is empty."""

    name: str
    family: str = ""  # timm's module
    tags: tuple[str, ...] = ()  # of pretrained weights
    strides: tuple[int, ...] = ()  # finest first
    channels: tuple[int, ...] = ()
    flat_stride: int = 0  # of a model whose maps have one stride at every depth; else 0
    parameters: int = 0
    flop: int = 0  # of the encoder for one image of `size`, a multiply-add as 2
    size: str = ""  # height x width, in pixels
    ran: str = ""  # the size of an image that it was run on, of the smallest of each family
    reason: str = ""

    def row(self) -> str:
        """Return its line of the table."""
        values = (getattr(self, each.name) for each in fields(self))
        return "\t".join(",".join(map(str, v)) if isinstance(v, tuple) else str(v or "") for v in values)

    @classmethod
    def parse(cls, row: str) -> KnownEncoder:
        """Read a line of the table."""
        texts = dict(zip((each.name for each in fields(cls)), row.split("\t"), strict=True))
        return cls(
            name=texts["name"],
            family=texts["family"],
            tags=tuple(filter(None, texts["tags"].split(","))),
            strides=_integers(texts["strides"]),
            channels=_integers(texts["channels"]),
            flat_stride=int(texts["flat_stride"] or 0),
            parameters=int(texts["parameters"] or 0),
            flop=int(texts["flop"] or 0),
            size=texts["size"],
            ran=texts["ran"],
            reason=texts["reason"],
        )


@cache
def known() -> Mapping[str, KnownEncoder]:
    """Return timm's models by name."""
    rows = TABLE.read_text(encoding="utf-8").splitlines()
    found = (KnownEncoder.parse(row) for row in rows if not row.startswith("#"))
    return {encoder.name: encoder for encoder in found}


def matching(
    pattern: str, *, most_parameters: int | None = None, levels: str | None = None
) -> list[KnownEncoder]:
    """Choose by name, size and pyramid: `flat`, `4…32` (also 4-32) or `2,4,8,16,32`.

    Raises: BadInput where a pyramid is not understood, or nothing matches.
    """
    accepted = None if levels is None else _Levels.parse(levels)
    architecture, _, tag = pattern.partition(".")  # as suites name pretrained weights
    found = [
        encoder
        for encoder in known().values()
        if (fnmatchcase(encoder.name, pattern) or (encoder.name == architecture and tag in encoder.tags))
        and (most_parameters is None or 0 < encoder.parameters <= most_parameters)
        and (accepted is None or accepted.fits(encoder))
    ]
    if not found:
        asked = [repr(pattern)]
        asked += [f"--max-params {most_parameters}"] if most_parameters is not None else []
        asked += [f"--pyramid {levels}"] if levels is not None else []
        raise BadInput(f"no encoders match {' '.join(asked)}: {_nearest(pattern)}")
    return found


def _nearest(pattern: str) -> str:
    """What to try in the place of a pattern that matches nothing, with what was asked besides."""
    if any(fnmatchcase(name, pattern) for name in known()):
        return (
            "the pattern alone matches some; --max-params takes 10M or 500k, --pyramid 2,4,8,16,32 or flat."
        )
    bare = pattern.strip("*").partition(".")[0]
    kinds = {f"{name[: found.end()]}*" for name in known() if (found := _KIND.match(name))}
    near = get_close_matches(
        f"{bare}*" if pattern.endswith("*") else bare, {*known(), *kinds}, n=3, cutoff=0.75
    )
    return f"did you mean {' or '.join(near)}?" if near else f"try a wider pattern, such as '*{bare[:4]}*'."


def lines(encoders: Iterable[KnownEncoder], *, failing: bool = False) -> Iterator[str]:
    """Give a table of 80 characters; those that do not work are counted, or told with the reason."""
    rows = list(encoders)
    working = [encoder for encoder in rows if not encoder.reason]
    refused = [encoder for encoder in rows if encoder.reason]
    if working:
        yield from _columns([_HEADINGS, *map(_cells, working)])
        yield from _notes(working)
    if refused and not failing:
        yield f"{len(refused)} more do not work: --all shows them with the reason"
    if failing:
        yield from (f"{encoder.name}{_GAP}{encoder.reason}" for encoder in refused)


def _cells(encoder: KnownEncoder) -> tuple[str, ...]:
    flat = "*" if encoder.flat_stride else ""
    size = "" if encoder.size == _USUAL_SIZE else f" {encoder.size}"
    return (
        encoder.name,
        " ".join(map(str, encoder.strides)) + flat,
        " ".join(map(str, encoder.channels)),
        _shortened(encoder.parameters),
        f"{encoder.flop / 1e9:.3g}{size}",
    )


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Lay rows out; a name that leaves no room for the rest has a line of its own."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rest = sum(widths[1:]) + len(_GAP) * (len(widths) - 1)
    widths[0] = min(widths[0], max(len(_HEADINGS[0]), _WIDTH - rest))
    for row in rows:
        name, *cells = row
        if len(name) > widths[0]:
            yield name
            name = ""
        levels, channels, *numbers = cells
        texts = [name.ljust(widths[0]), levels.ljust(widths[1]), channels.ljust(widths[2])]
        texts += [number.rjust(width) for number, width in zip(numbers, widths[3:], strict=True)]
        yield _GAP.join(texts).rstrip()


def _notes(encoders: Iterable[KnownEncoder]) -> Iterator[str]:
    yield "levels: strides in pixels; GFLOP: at 512x512 pixels, a multiply-add as 2"
    if any(encoder.flat_stride for encoder in encoders):
        yield "* flat: one stride at every depth, resampled (docs/encoders.md)"


def _shortened(count: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)


@dataclass(frozen=True, slots=True)
class _Levels:
    """Which pyramids are asked for: flat ones, exactly these strides, or from one to another."""

    strides: tuple[int, ...]
    exactly: bool = False

    @classmethod
    def parse(cls, text: str) -> _Levels:
        if text == "flat":
            return cls(())
        numbers = re.split(r"\s*(?:,|…|\.{2,3}|-)\s*", text)
        ranged = re.fullmatch(r"\d{1,4}\s*(?:…|\.{2,3}|-)\s*\d{1,4}", text)
        if not (ranged or re.fullmatch(r"\d{1,4}(?:\s*,\s*\d{1,4})*", text)):
            raise BadInput(
                f"pyramid {text!r} is not understood: give flat, its strides as 2,4,8,16,32, or the first and "
                "the last as 4…32 or 4-32."
            )
        return cls(tuple(map(int, numbers)), exactly=not ranged)

    def fits(self, encoder: KnownEncoder) -> bool:
        if not self.strides:
            return encoder.flat_stride > 0
        if self.exactly:
            return encoder.strides == self.strides
        return (*encoder.strides[:1], *encoder.strides[-1:]) == self.strides


def _integers(text: str) -> tuple[int, ...]:
    return tuple(map(int, filter(None, text.split(","))))
