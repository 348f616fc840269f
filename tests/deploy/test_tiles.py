"""Tiles cover every image, their weights are a share of one, and streaming answers what the whole would."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetbench.deploy import tiles
from unetbench.deploy.costs import PARTS, Costs
from unetbench.deploy.images import Array
from unetbench.errors import BadInput

LENGTHS = st.integers(1, 400)
SIDES = st.integers(32, 96)
OVERLAPS = st.floats(0.0, 0.9)
UNITS = st.sampled_from([1, 16, 32])
AMPLE = 1 << 30


@settings(deadline=None, max_examples=200)
@given(length=LENGTHS, side=SIDES, overlap=OVERLAPS, unit=UNITS)
def test_tiles_cover_a_length_at_multiples_of_the_unit(
    length: int, side: int, overlap: float, unit: int
) -> None:
    begins = tiles.starts(length, side, overlap, unit)
    assert begins[0] == 0
    assert begins[-1] + side >= length
    assert begins[-1] < length
    assert begins[-1] + side < length + unit or begins == (0,)
    assert all(begin % unit == 0 for begin in begins)
    step = max(unit, side * (1 - overlap))
    assert all(0 < second - first <= min(step, side) for first, second in itertools.pairwise(begins))


@settings(deadline=None, max_examples=200)
@given(length=LENGTHS, side=SIDES, overlap=OVERLAPS, unit=st.sampled_from([1, 16, 32, 128]))
def test_the_overlap_that_is_told_is_kept(length: int, side: int, overlap: float, unit: int) -> None:
    least = tiles.least_overlap(side, overlap, unit)
    begins = tiles.starts(length, side, overlap, unit)
    assert all(second - first <= side * (1 - least) + 1e-9 for first, second in itertools.pairwise(begins))
    assert tiles.least_overlap(256, 0.75, 128) == 0.5
    assert tiles.least_overlap(128, 0.5, 128) == 0.0, "a coarse stride leaves none"


def test_tiles_lie_where_nnu_net_puts_them() -> None:
    """The example in the source of its compute_steps_for_sliding_window."""
    assert tiles.starts(110, 64, 0.5) == (0, 23, 46)


@settings(deadline=None, max_examples=60)
@given(length=LENGTHS, side=SIDES, overlap=OVERLAPS, unit=UNITS)
def test_weights_are_positive_and_sum_to_one(length: int, side: int, overlap: float, unit: int) -> None:
    begins = tiles.starts(length, side, overlap, unit)
    total = np.zeros(length)
    for begin, share in zip(begins, tiles.shares(begins, length, side), strict=True):
        assert len(share) == min(side, length - begin)
        assert (share > 0).all()
        total[begin : begin + len(share)] += share
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


@pytest.mark.parametrize("side", [32, 64, 96])
def test_weights_are_nnu_nets(side: int) -> None:
    """Its map is scipy's filter on a single point (sigma 1/8 of the tile), by which logits and counts are weighted."""
    from scipy.ndimage import gaussian_filter

    point = np.zeros(side)
    point[side // 2] = 1.0
    bell = gaussian_filter(point, side / 8, 0, mode="constant", cval=0)
    begins = (0, side // 2)
    counts = np.zeros(side + side // 2)
    for begin in begins:
        counts[begin : begin + side] += bell
    for begin, share in zip(begins, tiles.shares(begins, len(counts), side), strict=True):
        np.testing.assert_allclose(share, bell / counts[begin : begin + side], rtol=2e-4)


def _image(height: int, width: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, channels), np.uint8)


def _network(tile: tuple[int, int], classes: int) -> Any:
    """Answers that depend on where in the tile a pixel lies: blending by other weights shows."""
    drift = np.linspace(0.0, 50.0, tile[0] * tile[1], dtype=np.float32).reshape(tile)

    def answer(pixels: np.ndarray) -> np.ndarray:
        seen = np.zeros(tile, np.float32)
        seen[: pixels.shape[0], : pixels.shape[1]] = pixels.sum(axis=2)
        return np.stack([seen * (number + 1) + drift * (-1) ** number for number in range(classes)])

    return answer


def _whole(pixels: np.ndarray, tile: tuple[int, int], overlap: float, classes: int, unit: int) -> np.ndarray:
    """Everything in memory, with sums of weights, as nnU-Net does it."""
    height, width, _ = pixels.shape
    padded = [side + length for side, length in zip(tile, (height, width), strict=True)]
    total, weight = np.zeros((classes, *padded)), np.zeros(padded)
    bells = [np.exp(-0.5 * ((np.arange(side) - side // 2) / (side / 8)) ** 2) for side in tile]
    bell = np.outer(*bells)
    for top in tiles.starts(height, tile[0], overlap, unit):
        for left in tiles.starts(width, tile[1], overlap, unit):
            place = (slice(top, top + tile[0]), slice(left, left + tile[1]))
            total[:, *place] += _network(tile, classes)(pixels[place]) * bell
            weight[place] += bell
    return np.asarray(total[:, :height, :width] / weight[:height, :width])


def _streamed(
    pixels: np.ndarray, tile: tuple[int, int], overlap: float, classes: int, unit: int, panels: int = 1
) -> np.ndarray:
    source = Array(pixels)
    laid = tiles.plan(source, tile, overlap, classes, AMPLE, unit=unit)
    edges = [round(source.width * number / panels) for number in range(panels + 1)]
    found = np.zeros((classes, source.height, source.width), np.float32)
    for left, right in itertools.pairwise(edges):
        row = 0
        for logits in tiles.blended(source, laid, (left, right), classes, _network(tile, classes), Costs()):
            found[:, row : row + logits.shape[1], left:right] = logits
            row += logits.shape[1]
        assert row == source.height
    return found


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 200),
    width=st.integers(4, 200),
    tile=st.tuples(st.integers(32, 64), st.integers(32, 64)),
    overlap=OVERLAPS,
    classes=st.integers(1, 3),
    unit=UNITS,
    panels=st.integers(1, 4),
)
def test_streaming_answers_what_the_whole_would(
    height: int, width: int, tile: tuple[int, int], overlap: float, classes: int, unit: int, panels: int
) -> None:
    pixels = _image(height, width)
    found = _streamed(pixels, tile, overlap, classes, unit, panels)
    np.testing.assert_allclose(found, _whole(pixels, tile, overlap, classes, unit), rtol=1e-4, atol=1e-2)
    one = _streamed(pixels, tile, overlap, classes, unit)
    assert np.array_equal(found, one), "panels change no bit"


def test_a_pixel_is_read_once_in_a_panel() -> None:
    class Counting(Array):
        read = 0

        def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
            self.read += (bottom - top) * (right - left)
            return super().window(top, bottom, left, right)

    source = Counting(_image(300, 200))
    laid = tiles.plan(source, (64, 64), 0.75, 2, AMPLE)
    for _ in tiles.blended(source, laid, (0, 200), 2, _network((64, 64), 2), Costs()):
        pass
    assert source.read == 300 * 200


@settings(deadline=None, max_examples=60)
@given(width=st.integers(1, 100_000), classes=st.integers(1, 50), megabytes=st.integers(20, 400))
def test_panels_share_a_width_and_keep_within_the_memory(width: int, classes: int, megabytes: int) -> None:
    class Wide:
        height, channels, dtype = 1000, 3, np.dtype(np.uint8)

        def __init__(self) -> None:
            self.width = width

        def window(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
            raise AssertionError("planning reads nothing")

    try:
        laid = tiles.plan(Wide(), (64, 64), 0.5, classes, megabytes * 10**6)
    except BadInput as error:
        assert "give --memory" in str(error)
        return
    assert laid.panels[0][0] == 0
    assert laid.panels[-1][1] == width
    assert all(a[1] == b[0] and b[0] < b[1] for a, b in zip(laid.panels, laid.panels[1:], strict=False))
    widest = max(right - left for left, right in laid.panels)
    assert 64 * (widest + 128) * (classes * 4 + 4 + 2 * 3) <= megabytes * 10**6 or len(laid.panels) == 1
    covered = set()
    for panel in laid.panels:
        covered |= set(laid.touching(panel))
    assert covered == set(range(len(laid.columns)))


def test_the_memory_that_is_asked_for_is_enough() -> None:
    source = Array(_image(100, 3000))
    with pytest.raises(BadInput, match="give --memory") as refused:
        tiles.plan(source, (64, 64), 0.5, 9, 1000)
    asked = int(str(refused.value).rpartition("--memory ")[2].partition("MB")[0])
    assert len(tiles.plan(source, (64, 64), 0.5, 9, asked * 10**6).panels) > 1


@settings(deadline=None, max_examples=60)
@given(classes=st.integers(1, 5), rows=st.integers(1, 20), columns=st.integers(1, 20))
def test_a_pixels_class_is_the_largest_logits(classes: int, rows: int, columns: int) -> None:
    logits = np.random.default_rng(classes).normal(size=(classes, rows, columns)).astype(np.float32)
    found = tiles.decided(logits, np.dtype(np.uint8))
    expected = logits[0] > 0 if classes == 1 else logits.argmax(axis=0)
    assert np.array_equal(found, expected)
    assert found.dtype == np.uint8


def test_large_masks_are_decided_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_ARGMAX_PIXELS", 100)
    logits = np.random.default_rng(0).normal(size=(4, 33, 30)).astype(np.float32)
    assert np.array_equal(tiles.decided(logits, np.dtype(np.uint16)), logits.argmax(axis=0))


def test_costs_give_every_stretch_of_time_to_a_part() -> None:
    now = iter([0, 5, 7, 100])
    costs = Costs(clock=lambda: next(now))
    costs.start()
    for part in ("read", "tile", "read"):
        costs.lap(part)
    assert costs.spent_ns == dict.fromkeys(PARTS, 0) | {"read": 98, "tile": 2}
    costs.pixels = 1_000_000
    total = Costs()
    total.add(costs)
    total.add(costs)
    assert total.ms_per_megapixel()["whole image"] == pytest.approx(100 / 1e6)
