"""Photographs as input: seeded crops, folders of one's own, damaged files told."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unetbench import photos
from unetbench.errors import BadInput


def _save(path: Path, height: int = 40, width: int = 60, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_there_are_photographs_without_being_given_any() -> None:
    found = photos.default_photos()
    assert [path.name for path in found] == ["china.jpg", "flower.jpg", "grace_hopper.jpg"]
    assert all(photos.pixels(path).ndim == 3 for path in found)


def test_grey_of_16_bits_is_no_white_image(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert np.array_equal(photos.pixels(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(BadInput, match="no known white"):
        photos.pixels(tmp_path / "a.tif")


def test_crops_are_seeded_and_of_the_size_asked() -> None:
    def cut(seed: int) -> np.ndarray:
        return photos.crops(photos.default_photos(), 4, height_px=70, width_px=50, seed=seed)

    assert cut(0).shape == (4, 3, 70, 50)
    assert cut(0).dtype == np.float32
    assert cut(0).flags.c_contiguous
    assert 0 <= cut(0).min() < cut(0).max() <= 1
    assert np.array_equal(cut(0), cut(0))
    assert not np.array_equal(cut(0), cut(1))
    assert len({crop.tobytes() for crop in cut(0)}) == 4, "distinct inputs"


def _grid(path: Path, height: int, width: int) -> Path:
    """A photograph that tells where each pixel was: red is the row, green the column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    Image.fromarray(np.stack([rows, columns, np.full_like(rows, 200)], axis=-1)).save(path)
    return path


def test_a_crop_is_a_window_of_the_photograph_as_it_is_or_mirrored(tmp_path: Path) -> None:
    path = _grid(tmp_path / "grid.png", 60, 80)
    found = set()
    for crop in np.rint(photos.crops([path], 40, height_px=32, width_px=48) * 255).astype(int):
        row, column, step = crop[0, 0, 0], crop[1, 0, 0], crop[1, 0, 1] - crop[1, 0, 0]
        assert abs(step) == 1, "not scaled"
        assert np.array_equal(crop[0], np.broadcast_to(row + np.arange(32)[:, None], (32, 48)))
        assert np.array_equal(crop[1], np.broadcast_to(column + step * np.arange(48), (32, 48)))
        assert (crop[2] == 200).all(), "colours keep their order"
        found.add((int(row), int(step)))
    assert {step for _, step in found} == {1, -1}, "both ways"
    assert len({row for row, _ in found}) > 10, "from all over"


def test_the_whole_photograph_may_be_the_crop(tmp_path: Path) -> None:
    path = _grid(tmp_path / "grid.png", 32, 40)
    crop = photos.crops([path], 1, height_px=32, width_px=40)[0]
    whole = photos.pixels(path).transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(crop, whole) or np.array_equal(crop, whole[..., ::-1])


def test_photographs_are_taken_in_turn(tmp_path: Path) -> None:
    paths = []
    for level in (10, 20, 30):
        paths.append(tmp_path / f"{level}.png")
        Image.new("RGB", (40, 40), (level, level, level)).save(paths[-1])
    crops = photos.crops(paths, 5, height_px=32, width_px=32)
    assert np.rint(crops.mean(axis=(1, 2, 3)) * 255).tolist() == [10, 20, 30, 10, 20]


@pytest.mark.parametrize("size", [(100, 40), (40, 100), (33, 97)])
def test_a_small_photograph_is_enlarged_in_proportion(tmp_path: Path, size: tuple[int, int]) -> None:
    path = _grid(tmp_path / "small.png", 20, 30)
    (crop,) = photos.crops([path], 1, height_px=size[0], width_px=size[1])
    assert crop.shape == (3, *size)
    scale = max(size[0] / 20, size[1] / 30)
    steps = np.abs(np.diff(crop[:2] * 255, axis=2)[1]).mean(), np.diff(crop[0] * 255, axis=0).mean()
    assert steps == pytest.approx((1 / scale, 1 / scale), rel=0.15), "the same in both directions"


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_colours_repeat_over_other_numbers_of_channels(tmp_path: Path, channels: int) -> None:
    path = _save(tmp_path / "a.png")
    three = photos.crops([path], 1, height_px=32, width_px=32)
    many = photos.crops([path], 1, height_px=32, width_px=32, channels=channels)
    assert all(np.array_equal(many[:, index], three[:, index % 3]) for index in range(channels))
    assert photos.normalised(many, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)).shape == many.shape


def test_normalising() -> None:
    batch = np.full((1, 3, 2, 2), 0.5, np.float32)
    out = photos.normalised(batch, (0.5, 0.4, 0.3), (0.1, 0.2, 0.4))
    np.testing.assert_allclose(out[0, :, 0, 0], [0, 0.5, 0.5], atol=1e-6)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.tiff", "d.JPEG", "e.tif"):
        _save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    names = ["a.jpg", "b.png", "c.tiff", "d.JPEG", "e.tif"]
    assert [path.name for path in photos.folder_photos(tmp_path)] == names


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_what_is_read_is_what_was_saved(tmp_path: Path, name: str) -> None:
    path = _grid(tmp_path / name, 40, 60)
    pixels = photos.pixels(path)
    assert (pixels.shape, pixels.dtype) == ((40, 60, 3), np.uint8)
    rows, columns = np.mgrid[:40, :60]
    lossy = name.endswith("jpg")
    np.testing.assert_allclose(pixels[..., 0], rows, atol=12 if lossy else 0)
    np.testing.assert_allclose(pixels[..., 1], columns, atol=12 if lossy else 0)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (50, 40), (255, 255, 255)).convert(mode).save(tmp_path / "a.tif")
    pixels = photos.pixels(tmp_path / "a.tif")
    assert pixels.shape == (40, 50, 3)
    assert (pixels == 255).all()


def test_a_large_folder_gives_its_first_by_name(tmp_path: Path) -> None:
    for index in range(20):
        _save(tmp_path / f"{index:02}.png", 8, 8)
    assert len(photos.folder_photos(tmp_path)) == photos.MOST_PHOTOS


def test_a_folder_that_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cases = (
        (tmp_path, "holds no JPEG"),
        (tmp_path / "nowhere", "cannot be read"),
        (tmp_path / "file", "cannot be read"),
    )
    for folder, said in cases:
        with pytest.raises(BadInput, match=rf"^[^\n]*{said}[^\n]*--images[^\n]*$"):
            photos.folder_photos(folder)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_damaged_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadInput, match=r"^[^\n]*a\.jpg[^\n]*mend it[^\n]*$"):
        photos.folder_photos(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_truncated_image_is_named(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path / name, 200, 200)
    photos.folder_photos(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match=rf"^[^\n]*{name}[^\n]*$"):
        photos.folder_photos(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_damage_anywhere_is_told_or_harmless(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path / name, 24, 24)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole[: int(random.integers(1, len(whole) + 1))])
        for place in random.integers(len(damaged), size=4):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow's, of damaged metadata
                assert photos.pixels(path).shape[2] == 3
        except BadInput as error:
            assert name in str(error)


@pytest.mark.parametrize("pixels", [1_500, 4_000])
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    """Pillow only warns up to twice its limit, and refuses from there."""
    path = _save(tmp_path / "a.png", 10, pixels // 10)
    assert photos.pixels(path).size == 3 * pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(BadInput, match=r"^[^\n]*a\.png[^\n]*decompression bomb[^\n]*mend it[^\n]*$"):
        photos.pixels(path)


def test_the_digest_follows_the_content_and_its_order(tmp_path: Path) -> None:
    a, b = _save(tmp_path / "a.png"), _save(tmp_path / "b.png", seed=1)
    sets = [[a], [b], [a, b], [b, a], [a, a], []]
    assert len({photos.digest(paths) for paths in sets}) == len(sets)
    before = photos.digest([a])
    assert photos.digest([a.rename(tmp_path / "c.png")]) == before, "names do not count"
    content = bytearray((tmp_path / "c.png").read_bytes())
    content[-1] ^= 1
    (tmp_path / "c.png").write_bytes(content)
    assert photos.digest([tmp_path / "c.png"]) != before
