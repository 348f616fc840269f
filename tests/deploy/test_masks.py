"""Masks hold the classes exactly, overlays show them, and nothing half-written keeps a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unetbench.deploy import masks, tiff
from unetbench.deploy.images import Array, page
from unetbench.deploy.tiles import Classes


def _mask(height: int, width: int, classes: int) -> Classes:
    random = np.random.default_rng(height + width)
    return random.integers(0, max(2, classes), (height, width)).astype(masks.dtype_of(classes))


def _blocks(mask: Classes, rows: int) -> Iterator[Classes]:
    yield from (mask[top : top + rows] for top in range(0, len(mask), rows))


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    rows=st.integers(1, 30),
    classes=st.sampled_from([1, 2, 256]),
)
def test_png_masks_come_back(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, rows: int, classes: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    mask = _mask(height, width, classes)
    masks.write_png(path, _blocks(mask, rows), mask.shape, masks.palette(classes), mask.dtype)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), mask)


def test_png_masks_of_many_classes_have_16_bits(tmp_path: Path) -> None:
    mask = _mask(50, 40, 300)
    assert mask.max() > 255
    masks.write_png(tmp_path / "a.png", _blocks(mask, 7), mask.shape, masks.palette(300), mask.dtype)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), mask)


@pytest.mark.parametrize("classes", [1, 5, 300])
@pytest.mark.parametrize("size", [(1, 1), (256, 256), (257, 300), (600, 90)])
def test_tiff_masks_come_back_page_by_page(tmp_path: Path, classes: int, size: tuple[int, int]) -> None:
    pages = [_mask(*size, classes), 1 - _mask(*size, 1).astype(masks.dtype_of(classes))]
    streams = (_blocks(mask, 100) for mask in pages)
    tiff.write(tmp_path / "a.tif", streams, [size] * 2, masks.palette(classes), pages[0].dtype)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 2
        for found, mask in zip(file.pages, pages, strict=True):
            assert np.array_equal(found.asarray(), mask)
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(np.asarray(image), pages[0])


def test_every_class_has_a_colour_of_its_own() -> None:
    colours = masks.palette(100)
    assert colours is not None
    assert len({tuple(colour) for colour in colours.tolist()}) == 100
    assert masks.palette(300) is None


def test_an_overlay_shows_image_and_classes(tmp_path: Path) -> None:
    pixels = np.full((5000, 300, 3), 100, np.uint8)
    overlay = masks.Overlay(page(Array(pixels), 3))
    mask = np.zeros((5000, 300), np.uint8)
    mask[2500:] = 1
    for top in range(0, 5000, 700):
        overlay.window(top, min(top + 700, 5000), 0, 300)
    assert sum(len(block) for block in overlay.passing(_blocks(mask, 333))) == 5000
    overlay.write(tmp_path / "a.jpg", masks.palette(2))
    with Image.open(tmp_path / "a.jpg") as image:
        shown = np.asarray(image).astype(int)
    assert max(shown.shape) <= 2048
    assert abs(shown[: len(shown) // 2 - 20] - 100).max() < 10
    assert (
        abs(shown[len(shown) // 2 + 20 :].mean(axis=(0, 1)) - (0.5 * 100 + 0.5 * masks.palette(2)[1])).max()
        < 10
    )  # type: ignore[index]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_an_overlay_of_other_channels_and_bits_is_still_a_picture(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 30, channels), np.uint16)
    overlay = masks.Overlay(page(Array(pixels), channels))
    overlay.window(0, 40, 0, 30)
    list(overlay.passing(_blocks(np.zeros((40, 30), np.uint8), 40)))
    overlay.write(tmp_path / "a.jpg", masks.palette(2))
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.asarray(image).std() > 20, "it is stretched to what can be seen"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), masks.whole(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before"
    with masks.whole(path) as unfinished:
        unfinished.write_bytes(b"after")
    assert path.read_bytes() == b"after"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
