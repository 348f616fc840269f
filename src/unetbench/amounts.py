"""Numbers, times, sizes and shares as a person writes them: read and checked; and counts as one reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from unetbench.errors import BadInput

_BYTES = {"": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30}
_COUNTS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}
_MOST_BYTES = 1e15  # of memory: more is a typing error


def counted(number: int | str, one: str, several: str = "") -> str:
    """Return a number of things in words: `1 channel`, `2 classes`; several: where it is not one with an s."""
    return f"{number} {one if str(number) == '1' else several or one + 's'}"


def positive(text: str) -> int:
    """Read a whole number of at least 1. Raises: BadInput."""
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{text!r} is no positive whole number: give 1 or more.")
    return int(text)


def count(text: str) -> int:
    """Read `10M`, `500k` or a plain number, of parameters. Raises: BadInput."""
    read = _amount(text, _COUNTS, "number of parameters: give it as 10M, 500k or 25000000")
    return max(1, round(read))


def share(text: str) -> float:
    """Read `3%` as 0.03; the sign must be there, since 0.03 may be meant by `0.03`. Raises: BadInput."""
    read = re.fullmatch(r"\s*([0-9]+\.?[0-9]*)\s*%\s*", text)
    value = float(read[1]) / 100 if read else -1.0
    if not 0.0 <= value < 10.0:
        raise BadInput(f"{text!r} is no share: give it as 3%, with the sign.")
    return value


def percentile(text: str) -> float:
    """Read `95` or `p95`. Raises: BadInput."""
    read = _amount(text.removeprefix("p") + "%", {"%": 1.0}, "percentile: give it as 95")
    if not 50.0 <= read <= 99.9:
        raise BadInput(f"percentile {text!r} is out of range: it takes 50 to 99.9.")
    return read


def milliseconds(text: str) -> float:
    """Read `60ms` or `0.1s`. Units: ms. Raises: BadInput."""
    return _amount(text, {"MS": 1.0, "S": 1000.0, "US": 0.001}, "time: give it as 60ms or 0.1s")


def megabytes(text: str) -> float:
    """Read `20MB` or `1GB`; the unit must be there. Units: MB of 10⁶ bytes. Raises: BadInput."""
    units = {name: size / _BYTES["MB"] for name, size in _BYTES.items() if name}
    return _amount(text, units, "size: give it as 20MB or 1GB")


def byte_count(text: str) -> int:
    """Read `512MB`, `2GB`, or plain bytes. Raises: BadInput."""
    what = "size: give it as 512MB or 2GB"
    read = _amount(text, _BYTES, what)
    if not 1.0 <= read < _MOST_BYTES:
        raise BadInput(f"{text!r} is no {what}.")
    return round(read)


def _amount(text: str, units: Mapping[str, float], what: str) -> float:
    """Read a number with one of the units, in capitals here, in any case there."""
    read = re.fullmatch(r"\s*([0-9.]{1,20})\s*([A-Za-z%]*)\s*", text)
    try:
        value = float(read[1]) * units[read[2].upper()] if read else 0.0
    except (KeyError, ValueError):
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise BadInput(f"{text!r} is no {what}.")
    return value
