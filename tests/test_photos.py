"""Photographs as input: seeded crops, folders of one's own, damaged files told."""

from __future__ import annotations

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


def test_crops_are_seeded_and_of_the_size_asked() -> None:
    def cut(seed: int) -> np.ndarray:
        return photos.crops(photos.default_photos(), 4, height_px=70, width_px=50, seed=seed)

    assert cut(0).shape == (4, 3, 70, 50)
    assert cut(0).dtype == np.float32
    assert 0 <= cut(0).min() < cut(0).max() <= 1
    assert np.array_equal(cut(0), cut(0))
    assert not np.array_equal(cut(0), cut(1))
    assert len({crop.tobytes() for crop in cut(0)}) == 4, "distinct inputs"


def test_a_small_photograph_is_enlarged(tmp_path: Path) -> None:
    path = _save(tmp_path / "small.png", 20, 30)
    assert photos.crops([path], 1, height_px=100, width_px=40).shape == (1, 3, 100, 40)


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
    for name in ("b.png", "a.jpg", "c.tiff", "d.JPEG"):
        _save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in photos.folder_photos(tmp_path)] == ["a.jpg", "b.png", "c.tiff", "d.JPEG"]


def test_a_large_folder_gives_its_first_by_name(tmp_path: Path) -> None:
    for index in range(20):
        _save(tmp_path / f"{index:02}.png", 8, 8)
    assert len(photos.folder_photos(tmp_path)) == photos.MOST_PHOTOS


def test_a_folder_that_gives_nothing(tmp_path: Path) -> None:
    for folder, said in ((tmp_path, "holds no JPEG"), (tmp_path / "nowhere", "cannot be read")):
        with pytest.raises(BadInput, match=said):
            photos.folder_photos(folder)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_damaged_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.jpg.*mend it"):
        photos.folder_photos(tmp_path)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", 200, 200)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"a\.png"):
        photos.folder_photos(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "a.png", 50, 50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(BadInput, match="mend it"):
        photos.pixels(path)


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    a, b = _save(tmp_path / "a.png"), _save(tmp_path / "b.png", seed=1)
    assert photos.digest([a]) == photos.digest([a])
    assert len({photos.digest([a]), photos.digest([b]), photos.digest([a, b])}) == 3
