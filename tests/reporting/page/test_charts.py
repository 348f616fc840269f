"""The page's specifications: they hold no data, and with rows in them they are pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from unetbench.reporting.charts import write_png
from unetbench.reporting.page import charts, source
from unetbench.store import reading

PUBLISHED = Path(__file__).parents[3] / "benchmarks" / "recipes" / "published"


def test_the_specifications_are_valid() -> None:
    every = [charts.pareto("gflop", "speedup"), charts.ablation(), charts.ablation(ticks=True)]
    for chart in (*every, charts.samples(), charts.histogram()):
        chart.to_dict(validate=True)


@pytest.fixture(scope="module")
def points() -> list[charts.Point]:
    with reading(PUBLISHED / "xeon-avx512-2-cores" / "results.sqlite") as store:
        return charts.points(source(store).report.rows)


def test_the_pages_specifications_hold_no_data() -> None:
    every = charts.specifications()
    for spec in (*every["pareto"]["gflop"].values(), every["ablation"], every["samples"], every["histogram"]):
        assert spec["data"] == {"name": "rows"} or spec["spec"]
        assert "datasets" not in spec


@pytest.mark.parametrize(
    "store", sorted(PUBLISHED.glob("*/results.sqlite")), ids=lambda path: path.parent.name
)
def test_no_two_runtimes_of_a_published_run_have_one_colour(store: Path) -> None:
    with reading(store) as read:
        drawn = charts.points(source(read).report.rows)
    scales = [
        layer["encoding"]["color"]["scale"]["range"]
        for layer in charts.pareto("parameters_m", rows=drawn).to_dict()["layer"]
        if "scale" in layer.get("encoding", {}).get("color", {})
    ]
    assert scales
    for colours in scales:
        assert len(set(colours)) == len(colours) >= len({point["runtime"] for point in drawn})


def test_the_same_front_is_a_picture(points: list[charts.Point], tmp_path: Path) -> None:
    write_png(charts.pareto("parameters_m", rows=points), tmp_path / "front.svg")
    drawn = (tmp_path / "front.svg").read_text(encoding="utf-8")
    assert "Throughput (images/s)" in drawn
    fastest = max(points, key=lambda point: point["images_per_s"])
    assert f">{fastest['network']}</text>" in drawn  # it is always on the front, and those are named


def test_the_same_panels_are_a_picture(points: list[charts.Point], tmp_path: Path) -> None:
    write_png(charts.ablation(points), tmp_path / "recipes.svg")
    drawn = (tmp_path / "recipes.svg").read_text(encoding="utf-8")
    for recipe in {point["recipe"] for point in points if point["speedup"] and len(point["recipe"]) < 40}:
        assert f">{recipe}</text>" in drawn
