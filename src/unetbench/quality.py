"""How good a network's answers are: the user's own figures, or the encoder's published ImageNet accuracy.

The second is a proxy, and is called so wherever it is shown: nobody trained these networks here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from unetbench.errors import BadInput

_TABLE = Path(__file__).parent / "data" / "imagenet.tsv"
_MOST_BYTES = 1 << 20  # a table of networks is a page
# Points of top-1 that two models may differ by and mean nothing: 1.96 × √2 × √(0.75 × 0.25 / 50,000 images).
SAME_ACCURACY = 0.5

Source = Callable[[str], "Quality | None"]  # by a network's name, encoder/decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a network is thought to be; more is better."""

    value: float
    told: str  # where the figure is from


def published(network: str) -> Quality | None:
    """Return the published accuracy of a network's encoder: of its tag, or the best of its tags."""
    encoder = network.partition("/")[0]
    found = _published().get(encoder)
    if found is None:
        return None
    top1, model, size_px = found
    return Quality(value=top1, told=f"ImageNet top-1 {top1:.1f} % ({model}, {size_px} px)")


def from_csv(path: Path) -> Source:
    """Return the user's own figures: lines of a network or an encoder, and a value.

    Raises: BadInput for what is no such table.
    """
    values = _read(path)

    def quality(network: str) -> Quality | None:
        encoder = network.partition("/")[0]
        for name in (network, encoder, encoder.partition(".")[0]):
            if name in values:
                return Quality(value=values[name], told=f"quality {values[name]:g} ({path.name})")
        return None

    return quality


@cache
def _published() -> Mapping[str, tuple[float, str, int]]:
    """By model.tag and by model alone, the best: top-1, model.tag, test size."""
    best: dict[str, tuple[float, str, int]] = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        model, size_px, top1 = line.split("\t")
        for name in (model, model.partition(".")[0]):
            entry = (float(top1), model, int(size_px))
            best[name] = max(best.get(name, entry), entry)
    return best


def _read(path: Path) -> dict[str, float]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadInput(
                f"quality {str(path)!r} is larger than 1 MiB: give lines of a network and a value."
            )
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"quality {str(path)!r} cannot be read ({error}): give a CSV file.") from error
    values: dict[str, float] = {}
    for number, cells in enumerate(lines, 1):
        if not any(cell.strip() for cell in cells) or (
            number == 1 and len(cells) == 2 and not _is_number(cells[1])
        ):
            continue  # empty, or a heading
        if len(cells) != 2 or not _is_number(cells[1]):
            raise BadInput(
                f"quality {str(path)!r}, line {number}: {','.join(cells)!r} is no network and value: "
                "write it as resnet18/unet,0.81."
            )
        values[cells[0].strip()] = float(cells[1])
    if not values:
        raise BadInput(f"quality {str(path)!r} names no network: write lines such as resnet18/unet,0.81.")
    return values


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
