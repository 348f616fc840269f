"""Labels stay apart, off the points and within the plot, however the points lie."""

from __future__ import annotations

from itertools import combinations
from math import hypot, nan
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetbench.reporting.labels import Box, Placement, Target, place_labels, text_width

PLOT = Box(0, 0, 900, 560)

targets = st.builds(
    Target,
    x=st.floats(0, 900),
    y=st.floats(0, 560),
    radius=st.floats(2, 13),
    width=st.floats(20, 140),
    height=st.just(11.5),
)


def assert_legible(points: list[Target], places: tuple[Placement | None, ...], bounds: Box) -> None:
    placed = [place.box for place in places if place]
    for one, other in combinations(placed, 2):
        apart = one.right <= other.left or other.right <= one.left
        assert apart or one.bottom <= other.top or other.bottom <= one.top
    for box in placed:
        assert box.within(bounds)
        for point in points:
            x, y = box.nearest(point.x, point.y)
            assert hypot(x - point.x, y - point.y) >= point.radius - 1e-6


def cluster(count: int, spread_px: float) -> list[Target]:
    random = Random(count)
    return [
        Target(
            x=random.gauss(450, spread_px),
            y=random.gauss(280, spread_px / 2),
            radius=random.uniform(4, 12),
            width=random.uniform(40, 130),
            height=11.5,
        )
        for _ in range(count)
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(targets, max_size=25))
def test_random_points(points: list[Target]) -> None:
    places = place_labels(points, PLOT)
    assert len(places) == len(points)
    assert all(places)  # 25 labels fill at most a tenth of the plot
    assert_legible(points, places, PLOT)


@settings(max_examples=25, deadline=None)
@given(st.lists(targets, max_size=12), st.floats(0, 250), st.floats(0, 120))
def test_small_plot_drops_labels_rather_than_overlaps(
    points: list[Target], width: float, height: float
) -> None:
    bounds = Box(0, 0, width, height)
    assert_legible(points, place_labels(points, bounds), bounds)


def test_fifty_clustered_points_all_find_a_place() -> None:
    points = cluster(50, spread_px=110)
    places = place_labels(points, PLOT)
    assert all(places)
    assert_legible(points, places, PLOT)


def test_same_points_same_places() -> None:
    points = cluster(20, spread_px=60)
    assert place_labels(points, PLOT) == place_labels(points, PLOT)


def test_a_lone_label_stands_to_the_right_without_a_line() -> None:
    (place,) = place_labels([Target(x=300, y=200, radius=8, width=60, height=12)], PLOT)
    assert place is not None and place.leader is None
    assert 308 < place.box.left < 316
    assert place.box.centre[1] == pytest.approx(200)


def test_at_the_right_edge_it_turns_to_the_left() -> None:
    (place,) = place_labels([Target(x=890, y=200, radius=8, width=60, height=12)], PLOT)
    assert place is not None and place.box.right < 882


def test_a_label_far_from_its_point_has_a_line_between_the_two() -> None:
    points = [Target(x=450, y=280, radius=6, width=100, height=12) for _ in range(12)]
    places = place_labels(points, PLOT)
    led = [place for place in places if place and place.leader]
    assert led  # not all twelve fit around one point
    for place in led:
        x1, y1, x2, y2 = place.leader or (nan,) * 4
        assert hypot(x1 - 450, y1 - 280) == pytest.approx(6)
        assert place.box.nearest(x2, y2) == (x2, y2)


def test_a_disc_without_label_is_only_in_the_way() -> None:
    named = Target(x=300, y=200, radius=6, width=60, height=12)
    obstacle = Target(x=330, y=200, radius=10)
    place, nothing = place_labels([named, obstacle], PLOT)
    assert nothing is None and place is not None
    assert_legible([named, obstacle], (place,), PLOT)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_odd_figures_never_raise(count: int) -> None:
    odd = [Target(x=nan, y=-1e9, radius=0, width=1e6, height=12)] * count
    assert len(place_labels(odd, PLOT)) == count
    assert place_labels(odd, Box(0, 0, 0, 0)) == (None,) * count


def test_text_width_follows_the_letters() -> None:
    assert text_width("", 12) == 0
    assert text_width("mmm", 12) > text_width("iii", 12)
    assert text_width("resnet18", 24) == pytest.approx(2 * text_width("resnet18", 12))
    assert text_width("网", 10) >= 10  # a letter not in the table counts as the widest
