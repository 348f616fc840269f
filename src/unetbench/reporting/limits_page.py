"""Breakdowns to limits.md and limits.png: each network's fastest recipes, section by section, beside the machine's
limits. Computes no figure of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from unetbench.records import SectionsBy
from unetbench.reporting.attribution import UNTOLD, Attribution, Limits, names, session_lines
from unetbench.reporting.charts import heading
from unetbench.reporting.files import markdown_text
from unetbench.reporting.row import Row, apart, named, shorter_encoders
from unetbench.reporting.table import milliseconds

_NOTES: Final = (
    "Where sections come to more than 1.5 times the whole, or it to them, no share of them is said or drawn.",
    "At the limit: for each section the longer of its arithmetic at the peak of its precision and its convolutions' bytes "
    "at memory's bandwidth. A Winograd convolution multiplies less than is counted, a map that stays in a cache "
    "does not wait for memory: either may be over 100 %.",
)
# How sections were told, of those that are shown.
_HOW: Final[Mapping[SectionsBy, str]] = {
    "counters": "{}: sections by the runtime's own counters, operation by operation, in turn with the whole without them. "
    "An operation that others were fused into counts where its own kernel is (in onnxruntime where the last of them is), a change of "
    "layout with what it is made for.",
    "cuts": "{}: each section is converted and timed as a network of its own, with its real inputs, in turn with the whole; the "
    "sections together differ from the whole by what is fused across the cuts, and by maps that are written and read at "
    "them, in int8 in fp32.",
}
# Okabe and Ito's colours, told apart by eyes of every kind.
_COLOURS: Final = {
    "encoder": "#0072B2", "up-convolutions": "#E69F00", "skip convolutions": "#009E73", "decoder": "#009E73",
    "head": "#CC79A7", UNTOLD: "#999999",
}  # fmt: skip
WHOLE, LIMIT = "the whole", "at the machine's limits"
_BAR_PX, _WIDTH_PX = 34, 640


def shown(rows: Sequence[Row], limits: Limits) -> list[tuple[Row, Attribution]]:
    """Return the rows that were cut into sections, network by network, the fastest first."""
    found = [(row, limits.attribution(row.case)) for row in rows]
    return [(row, each) for row, each in found if each is not None]


def page(rows: Sequence[Row], limits: Limits, *, title: str, notes: Sequence[str]) -> str:
    """Return the table of sections in Markdown, the machine's limits and the failures below it."""
    cut = shown(rows, limits)
    sections = names(each for _, each in cut)
    header = ["encoder", "decoder", "recipe", *(f"{name} ms" for name in sections)]
    header += ["together ms", "whole ms", "GFLOP/s", "of the peak", "at the limit ms", "bound by memory"]
    body = [
        [row.encoder, decoder, row.recipe, *_cells(each, sections)]
        for (row, each), decoder in zip(cut, _decoders(cut), strict=True)
    ]
    said = [
        f"{name} {row.recipe}: not cut, {failure.stage}: {failure.message}."
        for name, row in zip(named(rows), rows, strict=True)
        if (failure := limits.failures.get(row.case))
    ]
    return markdown_text(title, header, body, (*session_lines(limits), *_how(cut), *_NOTES, *said, *notes))


def _how(cut: Sequence[tuple[Row, Attribution]]) -> Iterator[str]:
    """Say of each runtime how its sections were told."""
    for by, said in _HOW.items():
        runtimes = dict.fromkeys(row.recipe.partition("/")[0] for row, each in cut if each.by == by)
        if runtimes:
            yield said.format(", ".join(runtimes))


def _decoders(cut: Sequence[tuple[Row, Attribution]]) -> list[str]:
    """Return each row's decoder, with what else tells the rows apart."""
    rows = [row for row, _ in cut]
    return [row.decoder + behind for row, behind in zip(rows, apart(rows, but=("decoder",)), strict=True)]


def _cells(found: Attribution, sections: Sequence[str]) -> list[str]:
    times = {section.name: milliseconds(section.ms) for section in found.sections}
    waiting = ", ".join(section.name for section in found.sections if section.bound == "memory")
    return [
        *(times.get(name, "") for name in sections),
        milliseconds(found.together_ms),
        milliseconds(found.whole_ms),
        f"{found.gflop_per_s:.3g}",
        "" if found.of_peak is None else f"{found.of_peak:.0%}",
        milliseconds(found.limit_ms),
        waiting,
    ]


def chart(rows: Sequence[Row], limits: Limits, *, title: str, subtitle: str) -> Any:
    """Return the chart: a bar of sections for each case, ticks for the whole and for the machine's limits."""
    import altair as alt

    cut = shown(rows, limits)
    short = shorter_encoders([row for row, _ in cut])
    labels = [
        f"{short[row.encoder]}/{decoder}\n{row.recipe}"
        for (row, _), decoder in zip(cut, _decoders(cut), strict=True)
    ]
    order = drawn_order(name for _, each in cut for name, _ in each.bars)
    bars = [
        {"case": label, "section": name, "ms": ms, "place": order.index(name)}
        for label, (_, each) in zip(labels, cut, strict=True)
        for name, ms in each.bars
    ]
    ticks = [
        {"case": label, "ms": ms, "what": what}
        for label, (_, each) in zip(labels, cut, strict=True)
        for what, ms in ((WHOLE, each.whole_ms), (LIMIT, each.limit_ms))
        if ms is not None
    ]
    drawn = _layers(alt.InlineData(values=bars), alt.InlineData(values=ticks), order, labels, "#22272e")
    return drawn.properties(width=_WIDTH_PX, height=_BAR_PX * len(cut), title=heading(title, subtitle))


def drawn_order(names_of_bars: Iterable[str]) -> list[str]:
    """Return the names of all bars in the order in which the sections run; what is none comes last."""
    return list(dict.fromkeys(sorted(names_of_bars, key=lambda name: name == UNTOLD)))


def page_chart(order: Sequence[str], data: str) -> Any:
    """Return the same chart for a page, which hands it bars (`section`) and ticks (`what`) under a name.

    The whole's tick is of a grey that is seen by day and by night.
    """
    import altair as alt

    handed = alt.NamedData(name=data)
    chart = _layers(handed, handed, order, None, "#8b939e")
    bars, ticks = chart.layer
    chart.layer = [
        bars.transform_filter("isValid(datum.section)"),
        ticks.transform_filter("isValid(datum.what)"),
    ]
    # Of one bar: the page multiplies it, since a step for each is no height that could be fitted to the place.
    return chart.properties(width="container", height=_BAR_PX)


def _layers(bars: Any, ticks: Any, order: Sequence[str], labels: Sequence[str] | None, whole: str) -> Any:
    import altair as alt

    axis = alt.Axis(labelExpr="split(datum.value, '\\n')", labelLimit=420, labelLineHeight=13, ticks=False)
    y = alt.Y("case:N", title=None, sort=labels, axis=axis)
    colours = alt.Scale(domain=list(order), range=[_COLOURS[name] for name in order])
    stacked = alt.Chart(bars).mark_bar(height=_BAR_PX * 0.6)
    stacked = stacked.encode(
        y=y,
        x=alt.X("ms:Q", title="ms of a run", stack="zero"),
        color=alt.Color("section:N", title="Section", scale=colours),
        order=alt.Order("place:Q"),
    )
    marks = alt.Scale(domain=[WHOLE, LIMIT], range=[whole, "#D55E00"])
    ticked = alt.Chart(ticks).mark_tick(thickness=3, height=_BAR_PX * 0.85)
    ticked = ticked.encode(y=y, x="ms:Q", color=alt.Color("what:N", title="Marked", scale=marks))
    return alt.layer(stacked, ticked).resolve_scale(color="independent")
