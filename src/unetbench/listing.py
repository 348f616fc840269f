"""What can be named in a suite or on the command line: encoders and parts. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import get_args

from unetbench import encoders, parts
from unetbench.errors import BadInput, unknown

_KINDS: dict[str, parts.Kind] = {f"{kind}s": kind for kind in get_args(parts.Kind)}

_SHOWN = 12  # values of an option: smp has more than a hundred encoders of its own


def lines(
    what: str | None,
    pattern: str,
    *,
    most_parameters: int | None = None,
    levels: str | None = None,
    failing: bool = False,
) -> Iterator[str]:
    """Give the lines of a listing; all parts, and the number of encoders, where `what` is None.

    Encoders can be chosen by parameters and pyramid; `failing` tells of those that do not work too.
    Raises: BadInput for a kind that is not known, or a pattern that matches nothing.
    """
    if what != "encoders" and (most_parameters is not None or levels is not None or failing):
        raise BadInput(
            "--max-params, --pyramid and --all choose among encoders: `unetbench list encoders --help`."
        )
    if what is None:
        working = sum(1 for encoder in encoders.known().values() if not encoder.reason)
        yield f"encoders: {working} of timm, `unetbench list encoders [PATTERN]` shows them"
        for kind in _KINDS:
            yield ""
            yield f"{kind}:"
            yield from _part_lines(_KINDS[kind], "*")
    elif what == "encoders":
        found = encoders.matching(pattern, most_parameters=most_parameters, levels=levels)
        yield from encoders.lines(found, failing=failing)
    elif what in _KINDS:
        yield from _part_lines(_KINDS[what], pattern)
    else:
        raise unknown("listing", what, ("encoders", *_KINDS), "Name one of these kinds.")


def _part_lines(kind: parts.Kind, pattern: str) -> Iterator[str]:
    for name in _matching(f"{kind}s", pattern, parts.names(kind)):
        part = parts.find(kind, name)
        lacking = f"  (unavailable: {', '.join(part.missing)} is not installed)" if part.missing else ""
        yield f"  {name:<18} {part.summary}{lacking}"
        precisions = part.constants.get("PRECISIONS")
        if precisions:
            yield f"  {'':<18} precisions {', '.join(precisions)}"
        for key, values in part.constants.get("OPTIONS", {}).items():
            more = f", {len(values)} in all" if len(values) > _SHOWN else ""
            yield f"  {'':<18} option {name}[{key}={'|'.join(values[:_SHOWN])}]{more}"


def _matching(what: str, pattern: str, names: tuple[str, ...] | list[str]) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise unknown(what.removesuffix("s"), pattern, names, f"`unetbench list {what}` shows all.")
    return found
