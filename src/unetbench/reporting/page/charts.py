"""The charts of a page as Vega-Lite specifications; with rows in them the same ones give PNG and SVG.

In a page the rows come from its table, filtered: the specifications name them. It computes no figure itself:
what is drawn are fields of rows, and the Pareto front is a transform within the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import altair as alt

from unetbench.reporting.page.table import runtime
from unetbench.reporting.row import Row

DATA = "rows"  # the name under which a page hands its rows to a specification
ACROSS: Final[Mapping[str, str]] = {  # what speed is drawn against
    "parameters_m": "Parameters of the whole network (millions)",
    "gflop": "GFLOP a run",
    "peak_mb": "Peak memory (MB)",
    "relative_error": "Relative error against fp64",
    "artifact_mb": "Size of the files that are loaded (MB)",
}
UP: Final[Mapping[str, str]] = {
    "images_per_s": "Throughput (images/s)",
    "speedup": "Speed-up over torch_eager/fp32",
}
# Okabe and Ito, "Color Universal Design", 2008: told apart by the colour-blind, on white and on black; then grey, brown,
# violet, olive and wine for two runtimes in one network.
_COLORS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8b939e", "#8C510A", "#7A5FD0", "#8A8B00", "#9B2C55",
)  # fmt: skip
_MARKS: Final = {"exact": "circle", "near": "diamond", "approximate": "triangle-up"}
_ACCENT, _MUTED = "#D55E00", "#8b939e"
_HEIGHT_PX = 380
_PANEL_PX = 220
_BARS_AT_MOST = 24  # networks with a line each in a panel; more are drawn as ticks

Point = dict[str, Any]


def points(rows: Sequence[Row]) -> list[Point]:
    """Return what the charts draw of measured rows, as a page's table names it."""
    fields = (*ACROSS, *UP, "encoder", "decoder", "recipe", "measured_class", "median_ms")
    fields += ("speedup_low", "speedup_high")
    return [
        {name: getattr(row, name) for name in fields}
        | {"runtime": runtime(row.recipe), "network": row.short_network}
        for row in rows
        if row.status == "ok"
    ]


def pareto(across: str, up: str = "images_per_s", rows: Sequence[Point] | None = None) -> alt.LayerChart:
    """Return speed against a cost, with the front: no other case is both faster and cheaper.

    Approximate answers have a front of their own: what is less exact beats nothing. Without rows it is a page's, as wide as its place.
    """
    x = alt.X(f"{across}:Q", title=ACROSS[across], scale=alt.Scale(type="log", nice=False, padding=18))
    y = alt.Y(f"{up}:Q", title=UP[up], scale=alt.Scale(type="log", nice=False, padding=18))
    best: Any = {"op": "max", "field": up, "as": "best"}  # of all that are as cheap or cheaper
    before: Any = {"op": "lag", "field": "best", "as": "before"}
    cheap_first: Any = [
        {"field": across, "order": "ascending"},
        {"field": up, "order": "descending"},
    ]
    base = (
        alt.Chart(_data(rows))
        .transform_filter(f"datum.{across} > 0 && datum.{up} > 0")
        .transform_calculate(kind="datum.measured_class == 'approximate' ? 'approximate' : 'exact or near'")
        .transform_window([best], sort=cheap_first, frame=[None, 0], groupby=["kind"])
        .transform_window([before], sort=cheap_first, groupby=["kind"])
        .transform_calculate(front=f"!isValid(datum.before) || datum.{up} > datum.before")
        .encode(x=x, y=y)
    )
    on_front = base.transform_filter("datum.front")
    line = on_front.mark_line(interpolate="step-after", color=_MUTED, strokeDash=[4, 3], strokeWidth=1.4)
    line = line.encode(detail="kind:N")
    dots = base.mark_point(filled=True, strokeWidth=1).encode(
        color=_by_runtime(),
        shape=alt.Shape(
            "measured_class:N",
            title="Answer",
            legend=alt.Legend(orient="top"),
            scale=alt.Scale(domain=list(_MARKS), range=list(_MARKS.values())),
        ),
        opacity=alt.condition("datum.front", alt.value(1.0), alt.value(0.7)),
        size=alt.condition("datum.front", alt.value(110), alt.value(50)),
        tooltip=[alt.Tooltip("network:N"), alt.Tooltip("recipe:N")],
    )
    of_network: Any = {"op": "max", "field": up, "as": "own"}
    named = on_front.transform_joinaggregate([of_network], groupby=["kind", "network"])
    named = named.transform_filter(f"datum.{up} == datum.own")  # one name a network
    place: Any = {"op": "row_number", "as": "place"}
    named = named.transform_window([place], sort=cheap_first)
    aside: Any = alt.expr("datum.place % 2 ? -8 : 13")  # neighbours' names above and below in turn
    names = named.mark_text(align="left", dx=9, dy=aside, fontSize=11).encode(text="network:N")
    width: Any = "container" if rows is None else 860
    return alt.LayerChart(layer=[line, dots, names], width=width, height=_HEIGHT_PX)


def ablation(rows: Sequence[Point] | None = None, *, ticks: bool = False) -> alt.FacetChart:
    """Return a small panel a recipe: its speed-up over the reference on each network, intervals where known.

    With `ticks` the networks share one line, for more of them than can have one each.
    """
    x = alt.X("speedup:Q", title="× torch_eager/fp32", scale=alt.Scale(type="log", nice=False, padding=10))
    even = alt.Chart().mark_rule(color=_MUTED, strokeDash=[3, 3]).encode(x=alt.datum(1.0))
    color = _by_runtime(legend=False)
    if ticks:
        layers = [even, alt.Chart().mark_tick(opacity=0.6, thickness=1.5).encode(x=x, color=color)]
    else:
        y = alt.Y("network:N", title=None, axis=alt.Axis(labelLimit=150, grid=True))
        interval = alt.Chart().mark_rule(strokeWidth=2, opacity=0.6)
        dot = alt.Chart().mark_point(filled=True, size=60, opacity=1)
        layers = [
            even,
            interval.encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=color),
            dot.encode(x=x, y=y, color=color, tooltip=[alt.Tooltip("network:N"), alt.Tooltip("speedup:Q")]),
        ]
    order = alt.EncodingSortField(field="speedup", op="mean", order="descending")
    heading = alt.Header(title=None, labelLimit=300, labelAnchor="start", labelFontWeight="bold")
    panel = alt.layer(*layers, data=_data(rows)).properties(
        width=_PANEL_PX, height=44 if ticks else alt.Step(15)
    )
    facet = alt.Facet("recipe:N", sort=order, header=heading, title=None)
    ends = {
        end: f"isValid(datum.speedup_{end}) ? datum.speedup_{end} : datum.speedup" for end in ("low", "high")
    }
    drawn = panel.transform_filter("datum.speedup > 0").transform_calculate(**ends)
    return drawn.facet(facet=facet, columns=3)


def samples() -> alt.Chart:
    """Return one case's runs in the order in which they were made."""
    kinds = ["timed", "warm-up", "disturbed, made again"]
    colors = alt.Scale(domain=kinds, range=["#0072B2", "#8b939e", "#D55E00"])
    drawn: alt.Chart = (
        alt.Chart(alt.NamedData(name=DATA))
        .mark_point(filled=True, size=28, opacity=0.8)
        .encode(
            x=alt.X("at:Q", title="Run, in order", scale=alt.Scale(nice=False, zero=False)),
            y=alt.Y("ms:Q", title="ms", scale=alt.Scale(zero=False)),
            color=alt.Color("kind:N", title=None, scale=colors, legend=alt.Legend(orient="top")),
        )
        .properties(width="container", height=170)
    )
    return drawn


def histogram() -> alt.Chart:
    """Return how one case's timed runs spread."""
    drawn: alt.Chart = (
        alt.Chart(alt.NamedData(name=DATA))
        .mark_bar(color="#0072B2")
        .encode(
            x=alt.X("low:Q", title="ms of a timed run", scale=alt.Scale(zero=False, nice=False)),
            x2="high:Q",
            y=alt.Y("count:Q", title="Runs", axis=alt.Axis(tickMinStep=1)),
            y2=alt.datum(0),
        )
        .properties(width="container", height=170)
    )
    return drawn


@cache
def specifications() -> dict[str, Any]:
    """Return every specification that a page uses, without data."""
    fronts = {across: {up: _plain(pareto(across, up)) for up in UP} for across in ACROSS}
    return {
        "across": dict(ACROSS),
        "up": dict(UP),
        "pareto": fronts,
        "ablation": _plain(ablation()),
        "ablationTicks": _plain(ablation(ticks=True)),
        "barsAtMost": _BARS_AT_MOST,
        "samples": _plain(samples()),
        "histogram": _plain(histogram()),
    }


def _plain(chart: alt.TopLevelMixin) -> dict[str, Any]:
    return chart.to_dict(validate=False)  # the tests validate them; it would take seconds


def _data(rows: Sequence[Point] | None) -> Any:
    return alt.NamedData(name=DATA) if rows is None else alt.InlineData(values=list(rows))


def _by_runtime(legend: bool = True) -> alt.Color:
    shown = alt.Legend(title="Runtime", orient="top") if legend else None
    return alt.Color("runtime:N", scale=alt.Scale(range=list(_COLORS)), legend=shown)
