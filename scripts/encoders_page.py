"""The generated part of docs/encoders.md, from the table of encoders alone. Writes no file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from unetbench.encoders import KnownEncoder

BEGIN, END = "<!-- encoders: begin (scripts/list_encoders) -->", "<!-- encoders: end -->"


def page(text: str, encoders: Iterable[KnownEncoder]) -> str:
    """Return the page with its generated part made anew."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n" + "\n".join(_lines(list(encoders))) + f"\n\n{END}{after}"


def _lines(encoders: list[KnownEncoder]) -> Iterator[str]:
    working = [encoder for encoder in encoders if not encoder.reason]
    refused = [encoder for encoder in encoders if encoder.reason]
    ran = [encoder for encoder in working if encoder.ran]
    yield f"**{len(working)} of {len(encoders)} models work**, {len(refused)} are refused with the reason below."
    yield f"One of each family ran for real: {len(ran)} of {len({each.family for each in encoders})} families."
    yield ""
    yield from _counted("pyramid", working, _form)
    yield ""
    yield from _counted("size of the image", working, _size)
    yield ""
    yield from _families(encoders)
    if refused:
        yield ""
        yield "| refused | reason |"
        yield "|---|---|"
        yield from (f"| `{encoder.name}` | {encoder.reason.replace('|', '/')} |" for encoder in refused)


def _form(encoder: KnownEncoder) -> str:
    strides = ", ".join(map(str, encoder.strides))
    return f"flat ({encoder.flat_stride}), resampled to {strides}" if encoder.flat_stride else strides


def _size(encoder: KnownEncoder) -> str:
    return "any that is asked for" if encoder.size == "512x512" else f"at most {encoder.size}"


def _counted(what: str, encoders: list[KnownEncoder], key: Callable[[KnownEncoder], str]) -> Iterator[str]:
    yield f"| {what} | models |"
    yield "|---|--:|"
    counts = Counter(map(key, encoders))
    yield from (f"| {form} | {count} |" for form, count in sorted(counts.items(), key=lambda each: -each[1]))


def _families(encoders: list[KnownEncoder]) -> Iterator[str]:
    families: dict[str, list[KnownEncoder]] = defaultdict(list)
    for encoder in encoders:
        families[encoder.family].append(encoder)
    yield "| family (timm's module) | models | work | run for real | on an image of |"
    yield "|---|--:|--:|---|---|"
    for family, members in sorted(families.items()):
        ran = [encoder for encoder in members if encoder.ran]
        working = sum(1 for encoder in members if not encoder.reason)
        names, sizes = ("<br>".join(each) for each in ([f"`{e.name}`" for e in ran], [e.ran for e in ran]))
        yield f"| {family} | {len(members)} | {working} | {names} | {sizes} |"
