"""Rows to the chart of throughput against size, as one Vega-Lite specification for PNG, SVG and a page.

It measures nothing and prints nothing. Altair is imported only where something is drawn: a table must
appear at once.
"""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, log, log10, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unetbench.amounts import counted
from unetbench.errors import BadInput, StoreError
from unetbench.records import REFERENCE
from unetbench.reporting.labels import Box, Target, place_labels, text_width
from unetbench.reporting.row import Row, named
from unetbench.reporting.rows import fastest_per_network

if TYPE_CHECKING:
    import altair as alt

WIDTH_PX, HEIGHT_PX = 900, 560
_AVOIDED = 200  # discs that names keep clear of
_NAMED = 60  # labels; with more, leader lines hide the points
_SCALE = 2  # image pixels per chart pixel: sharp on today's screens

_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # of one width, which the labels' places rely on
_LABEL_PX, _TEXT_PX = 11.5, 12
_TITLE_CHARACTERS, _SUBTITLE_CHARACTERS = 80, 140  # that fill the width in fonts of 20 and 13 px
_INK, _QUIET, _FAINT, _GRID = "#22272e", "#6b7280", "#8b939e", "#eceef1"

_BIGGEST_PX2 = 620.0  # symbol of the largest memory: 25 px across
_SMALLEST_PX2 = 30.0  # still visible, where one network needs 20 times another's memory
_TICK_PX = 12.0  # width of the reference's tick
_REFERENCE_NAME = f"{REFERENCE}, for comparison"
# How far a shape's corners reach, in radii of the circle; text may come a little nearer than that.
_SHAPES = {"circle": 1.0, "square": 1.12, "diamond": 1.0, "triangle-up": 1.12, "cross": 1.0}

_LEGEND_Y_PX = HEIGHT_PX + 72  # below the axis and its title
_COLOR_X_PX, _SIZE_X_PX = 535, 725  # of their legends; the recipes' starts at the left edge

_TEXTS = {"network": "Network", "recipe": "Fastest recipe", "input": "Input", "speedup": "Speed-up"}
_FIGURES = {  # fields of a row
    "images_per_s": "Images/s",
    "median_ms": "Median of a run (ms)",
    "parameters_m": "Parameters (millions)",
    "encoder_parameters_m": "Encoder parameters (millions)",
    "peak_mb": "Peak memory (MB)",
}

Point = dict[str, Any]  # one datum of the specification


def throughput_chart(rows: Sequence[Row], *, title: str, subtitle: str) -> alt.LayerChart:
    """Return the chart of images/s against parameters: one point a network, its fastest recipe.

    Area shows peak memory, colour the encoder's parameters, shape the recipe. A tick below a point is
    the reference recipe of the same network in the same session: on a logarithmic axis, its distance
    is the speed-up.
    Raises: BadInput where no row has a measurement.
    """
    import altair as alt

    winners = [row for row in fastest_per_network(rows) if _drawable(row)]
    if not winners:
        raise BadInput("nothing to draw: no case has a measurement yet; run the suite first.")
    points = _points(winners)
    speeds = [point[name] for point in points for name in ("images_per_s", "reference") if point[name]]
    x = _Axis.around([point["parameters_m"] for point in points], 0, WIDTH_PX)
    y = _Axis.around(speeds, HEIGHT_PX, 0)
    labels = _labels(points, x, y)
    lines = [part for line in subtitle.splitlines() for part in textwrap.wrap(line, _SUBTITLE_CHARACTERS)]
    if len(labels) < len(points):
        lines.append(f"{len(labels)} of {len(points)} networks are named.")
    heading = alt.TitleParams(textwrap.wrap(title, _TITLE_CHARACTERS) or "", subtitle=lines)
    layers = _layers(points, labels, x, y)
    return alt.LayerChart(layer=layers, width=WIDTH_PX, height=HEIGHT_PX, title=heading, config=_look())


def heading(title: str, subtitle: str) -> alt.TitleParams:
    """Return what stands above a chart: its name, and the conditions below it, line by line."""
    import altair as alt

    lines = subtitle.splitlines()
    return alt.TitleParams(title, subtitle=lines, anchor="start", fontSize=18, subtitleColor="#6b7280")


def write_png(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart as PNG, or as SVG where the suffix says so, whole or not at all.

    Raises: BadInput for another suffix; StoreError where the folder cannot be written.
    """
    kinds: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"chart file {str(path)!r} is neither .png nor .svg: give it one of these suffixes.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            chart.save(temporary, format=kind, scale_factor=_SCALE)
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written ({error.strerror}): give another path.") from error


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis between two pixels: what the labels need to know of the drawing."""

    low: float
    high: float
    start_px: float
    end_px: float

    @classmethod
    def around(cls, values: Sequence[float], start_px: float, end_px: float) -> _Axis:
        """Return the axis of some values, with a margin in which a symbol fits."""
        low, high = min(values), max(values)
        margin = max(0.06 * log(high / low), log(1.25))  # a quarter more where all are nearly the same
        return cls(low * exp(-margin), high * exp(margin), start_px, end_px)

    def pixel(self, value: float) -> float:
        share = log(value / self.low) / log(self.high / self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def value(self, pixel: float) -> float:
        share = (pixel - self.start_px) / (self.end_px - self.start_px)
        return self.low * exp(share * log(self.high / self.low))

    def channel(self, title: str) -> dict[str, Any]:
        """Return what every layer must say alike: title, scale and, where it can be, five round ticks."""
        import altair as alt

        decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        for steps in ("1", "1 3", "1 2 5", "1 1.5 2 3 5 7", "1 2 3 4 5 6 7 8 9"):
            every = [float(f"{step}e{decade}") for decade in decades for step in steps.split()]
            ticks = [tick for tick in every if self.low <= tick <= self.high]
            if len(ticks) >= 5:
                break
        axis = alt.Axis(values=ticks, format="~g") if len(ticks) > 1 else alt.Axis(format=".3~g")
        scale = alt.Scale(type="log", domain=[self.low, self.high], nice=False)
        return {"title": title, "scale": scale, "axis": axis}


def _drawable(row: Row) -> bool:
    """Whether a row has a place on two logarithmic axes, a size and a colour."""
    return bool(row.parameters_m and row.images_per_s) and None not in (row.peak_mb, row.encoder_parameters_m)


def _points(winners: Sequence[Row]) -> list[Point]:
    """Return what is drawn and told of each network, the fastest first."""
    return [
        {field: getattr(row, field) for field in ("recipe", *_FIGURES)}
        | {
            "label": name,
            "network": row.network,
            "input": f"{row.batch} × {row.size} px, {counted(row.threads, 'thread')}",
            # At the distance that is told: the reference's own time may be of another kind, or none that counts.
            "reference": row.images_per_s / row.speedup
            if row.images_per_s and row.speedup and row.recipe != str(REFERENCE)
            else None,
            "speedup": f"{row.speedup:.2f} times {REFERENCE}" if row.speedup else "not known",
        }
        for row, name in zip(winners, named(winners, short=True), strict=True)
    ]


def _labels(points: Sequence[Point], x: _Axis, y: _Axis) -> list[Point]:
    """Return the places of the names and of their leader lines, in the axes' units."""
    largest, shapes, worthy = _largest(points, "peak_mb"), _shapes(points), _worth_a_name(points)
    targets, ticks = [], []
    if len(points) > _AVOIDED:  # in such a cloud names cannot keep clear of every disc
        points = [point for index, point in enumerate(points) if index in worthy]
        worthy = set(range(len(points)))
    for index, point in enumerate(points):
        across, up = x.pixel(point["parameters_m"]), y.pixel(point["images_per_s"])
        area = max(_SMALLEST_PX2, _BIGGEST_PX2 * point["peak_mb"] / largest)
        radius = sqrt(area) / 2 * _SHAPES[shapes[point["recipe"]]]
        width = text_width(point["label"], _LABEL_PX) if index in worthy else 0.0
        targets.append(Target(x=across, y=up, radius=radius, width=width, height=_LABEL_PX))
        if point["reference"]:
            ticks.append(Target(x=across, y=y.pixel(point["reference"]), radius=_TICK_PX / 4))
    places = place_labels([*targets, *ticks], Box(4, 4, WIDTH_PX - 4, HEIGHT_PX - 4))
    labels = []
    for point, place in zip(points, places[: len(points)], strict=True):
        if place:
            x0, y0 = place.box.centre
            ends = zip(("x1", "y1", "x2", "y2"), place.leader or (), (x, y, x, y), strict=False)
            leader = {name: axis.value(pixel) for name, pixel, axis in ends}
            labels.append({"label": point["label"], "x": x.value(x0), "y": y.value(y0)} | leader)
    return labels


def _worth_a_name(points: Sequence[Point]) -> set[int]:
    """Return which points are named: first those that no smaller network outruns, then the fastest."""
    outrun, smallest = [], float("inf")
    for point in points:  # the fastest first
        outrun.append(point["parameters_m"] >= smallest)
        smallest = min(smallest, point["parameters_m"])
    return set(sorted(range(len(points)), key=lambda index: (outrun[index], index))[:_NAMED])


def _layers(points: list[Point], labels: list[Point], x: _Axis, y: _Axis) -> list[alt.Chart]:
    """Return the layers from the back to the front."""
    import altair as alt

    across, up = x.channel("Parameters of the whole network (millions)"), y.channel("Throughput (images/s)")

    def at(data: list[Point], horizontal: str, vertical: str) -> alt.Chart:
        chart = alt.Chart(alt.InlineData(values=data))
        return chart.encode(x=alt.X(f"{horizontal}:Q", **across), y=alt.Y(f"{vertical}:Q", **up))

    compared = at([point for point in points if point["reference"]], "parameters_m", "reference")
    led = at([label for label in labels if "x1" in label], "x1", "y1")
    small_in_front = sorted(points, key=lambda point: -float(point["peak_mb"]))
    names = at(labels, "x", "y").encode(text="label:N")
    return [
        compared.mark_rule(color="#d5dae1", strokeWidth=1).encode(y2="images_per_s"),
        # `filled` although a tick has no inside: the recipes' legend takes its symbols from here.
        compared.mark_point(filled=True, fill=_QUIET, stroke=_FAINT, strokeWidth=1.6, opacity=1).encode(
            size=alt.value(_TICK_PX**2), shape=alt.datum(_REFERENCE_NAME)
        ),
        led.mark_rule(color=_FAINT, strokeWidth=0.8).encode(x2="x2", y2="y2"),
        at(small_in_front, "parameters_m", "images_per_s")
        .mark_point(filled=True, opacity=0.92, stroke="white", strokeWidth=0.8)
        .encode(**_channels(points)),
        names.mark_text(stroke="white", strokeWidth=3, strokeJoin="round"),
        names.mark_text(color=_INK),
    ]


def _shapes(points: Sequence[Point]) -> dict[str, str]:
    """Return a shape for each recipe, the most frequent first; they repeat where there are too many."""
    recipes = Counter(point["recipe"] for point in points).most_common()
    return {recipe: list(_SHAPES)[place % len(_SHAPES)] for place, (recipe, _) in enumerate(recipes)}


def _channels(points: Sequence[Point]) -> dict[str, Any]:
    """Return size, colour, shape and tooltip of the points, each with its scale and legend."""
    import altair as alt

    peak_mb, encoder_m = _largest(points, "peak_mb"), _largest(points, "encoder_parameters_m")
    least_mb = peak_mb * _SMALLEST_PX2 / _BIGGEST_PX2  # above it, area is in proportion
    size = alt.Scale(domain=[least_mb, peak_mb], range=[_SMALLEST_PX2, _BIGGEST_PX2], clamp=True)
    sizes = alt.Legend(legendX=_SIZE_X_PX, values=_round_values(peak_mb)[-3:], symbolFillColor=_QUIET)
    # Without viridis's yellow, which is too pale on white; by the root, since most encoders are small.
    scheme = alt.SchemeParams(name="viridis", extent=[0, 0.82])
    color = alt.Scale(scheme=scheme, domain=[0, encoder_m], type="sqrt")
    colors = alt.Legend(legendX=_COLOR_X_PX, values=_round_values(encoder_m)[-5::2])
    shapes = _shapes(points)
    if any(point["reference"] for point in points):
        shapes[_REFERENCE_NAME] = "stroke"  # a level line
    shape = alt.Scale(domain=list(shapes), range=list(shapes.values()))
    column_px = max(text_width(name, _TEXT_PX) for name in shapes) + 40  # with its symbol and padding
    columns = 2 if 2 * column_px < _COLOR_X_PX else 1
    recipes = alt.Legend(legendX=0, columns=columns, symbolSize=100, symbolFillColor=_QUIET)
    color_title = _FIGURES["encoder_parameters_m"]
    return {
        "size": alt.Size("peak_mb:Q", title=_FIGURES["peak_mb"], scale=size, legend=sizes),
        "color": alt.Color("encoder_parameters_m:Q", title=color_title, scale=color, legend=colors),
        "shape": alt.Shape("recipe:N", title="Fastest recipe", scale=shape, legend=recipes),
        "tooltip": [alt.Tooltip(f"{field}:N", title=title) for field, title in _TEXTS.items()]
        + [alt.Tooltip(f"{field}:Q", title=title, format=".3~r") for field, title in _FIGURES.items()],
    }


def _largest(points: Sequence[Point], field: str) -> float:
    return max(float(point[field]) for point in points) or 1.0


def _round_values(largest: float) -> list[float]:
    """Return the round values up to the largest."""
    values = [step * 10.0**decade for decade in range(-3, 7) for step in (1, 2, 5)]
    return [value for value in values if value <= largest]


def _look() -> dict[str, Any]:
    """Return the theme: a quiet grid, no frame, margins all around, the legends below."""
    text = {"labelColor": _QUIET, "titleColor": _INK, "labelFontSize": _TEXT_PX}
    lines = {"gridColor": _GRID, "domainColor": "#c4cad2", "tickColor": "#c4cad2", "labelPadding": 6}
    axis = text | lines | {"titleFontSize": 13, "titleFontWeight": "normal", "titlePadding": 12}
    legend = text | {"orient": "none", "legendY": _LEGEND_Y_PX, "direction": "horizontal", "labelLimit": 490}
    legend |= {"titleFontSize": _TEXT_PX, "rowPadding": 5, "columnPadding": 16}
    legend |= {"gradientLength": 150, "gradientThickness": 10}
    title = {"anchor": "start", "frame": "group", "offset": 22, "fontSize": 20, "color": _INK}
    title |= {"subtitleFontSize": 13, "subtitleColor": _QUIET, "subtitlePadding": 6}
    page: dict[str, Any] = {"font": _FONT, "background": "white", "padding": 24, "view": {"stroke": None}}
    page["text"] = {"fontSize": _LABEL_PX}  # upright and centred on its anchor, as the labels' places are
    return page | {"axis": axis, "legend": legend, "title": title}
