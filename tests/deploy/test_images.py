"""Images are read as they are, by windows where they are TIFF, and refused in one line where they are none."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unetbench.deploy import images, tiff
from unetbench.errors import BadInput

SIZE = (150, 130)


def _pixels(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return random.random(shape).astype(dtype)
    if np.dtype(dtype).kind == "b":
        return random.random(shape) > 0.5
    return random.integers(0, np.iinfo(dtype).max, shape, dtype)


def _read(path: Path, in_channels: int) -> np.ndarray:
    """What a network would be given, from 0 to 1."""
    with images.opened(path, in_channels) as (page,):
        window = page.source.window(0, page.source.height, 0, page.source.width)
        return window[..., list(page.taken)].astype(np.float64) / page.peak


@pytest.mark.parametrize(
    ("shape", "in_channels"), [((*SIZE, 3), 3), (SIZE, 1), (SIZE, 3), ((*SIZE, 4), 3), ((*SIZE, 2), 1)]
)
def test_png_in_colours_and_grey_with_and_without_transparency(
    tmp_path: Path, shape: tuple[int, ...], in_channels: int
) -> None:
    pixels = _pixels(*shape)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    colours = pixels.reshape(*SIZE, -1)
    colours = colours[..., :3] if colours.shape[2] > 2 else colours[..., [0] * in_channels]
    assert np.array_equal(_read(tmp_path / "a.png", in_channels), colours / 255)


def test_16_bit_grey_png_and_a_palette(tmp_path: Path) -> None:
    deep = _pixels(*SIZE, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(_read(tmp_path / "deep.png", 1)[..., 0], deep / 65535)
    colours = Image.fromarray(_pixels(*SIZE, 3)).quantize(16)
    colours.save(tmp_path / "palette.png")
    assert np.array_equal(_read(tmp_path / "palette.png", 3), np.asarray(colours.convert("RGB")) / 255)


KINDS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (32, 48)},
    "deflated strips": {"rowsperstrip": 16, "compression": "zlib", "predictor": True},
    "lzw tiles": {"tile": (64, 16), "compression": "lzw"},
    "big-endian": {"rowsperstrip": 50},
    "planes in tiles": {"tile": (32, 32), "planarconfig": "separate"},
    "planes in strips": {"rowsperstrip": 40, "planarconfig": "separate"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_windows_are_those_of_the_image(tmp_path: Path, kind: str, dtype: Any) -> None:
    pixels = _pixels(*SIZE, 3, dtype=dtype)
    stored = pixels.transpose(2, 0, 1) if "planes" in kind else pixels
    order = ">" if kind == "big-endian" else "<"
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", byteorder=order, **KINDS[kind])
    random = np.random.default_rng(1)
    with images.opened(tmp_path / "a.tif", 3) as (page,):
        assert (page.source.height, page.source.width, page.source.channels) == (*SIZE, 3)
        for _ in range(20):
            top, left = (int(random.integers(0, side)) for side in SIZE)
            bottom, right = (
                int(random.integers(begin + 1, side + 1))
                for begin, side in zip((top, left), SIZE, strict=True)
            )
            assert np.array_equal(
                page.source.window(top, bottom, left, right), pixels[top:bottom, left:right]
            )


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), tile=st.sampled_from([(16, 16), (32, 16), (16, 48)])
)
def test_tiff_windows_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, tile: tuple[int, int]
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    pixels = _pixels(height, width)
    tifffile.imwrite(path, pixels, tile=tile, photometric="minisblack")
    assert np.array_equal(_read(path, 1)[..., 0], pixels / 255)


def test_tiff_colours_mean_what_they_mean_elsewhere(tmp_path: Path) -> None:
    grey = _pixels(*SIZE)
    tifffile.imwrite(tmp_path / "white.tif", 255 - grey, photometric="miniswhite")
    assert np.array_equal(_read(tmp_path / "white.tif", 1)[..., 0], grey / 255)
    colormap = _pixels(3, 256).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "palette.tif", grey, photometric="palette", colormap=colormap)
    assert np.array_equal(_read(tmp_path / "palette.tif", 3), (colormap.T >> 8)[grey] / 255)
    bits = _pixels(*SIZE, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "bits.tif", compression="group4")
    assert np.array_equal(_read(tmp_path / "bits.tif", 1)[..., 0], bits)
    twelve = _pixels(*SIZE, dtype=np.uint16) >> 4
    tifffile.imwrite(tmp_path / "twelve.tif", twelve, photometric="minisblack", bitspersample=12)
    assert np.array_equal(_read(tmp_path / "twelve.tif", 1)[..., 0], twelve / 4095)
    rgba = _pixels(*SIZE, 4)
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(_read(tmp_path / "rgba.tif", 3), rgba[..., :3] / 255)
    Image.fromarray(rgba[..., :3]).save(tmp_path / "jpeg.tif", compression="jpeg", quality=95)
    with Image.open(tmp_path / "jpeg.tif") as image:
        assert abs(_read(tmp_path / "jpeg.tif", 3) * 255 - np.asarray(image)).max() <= 2


def test_four_channels_are_four_for_a_network_of_four(tmp_path: Path) -> None:
    pixels = _pixels(*SIZE, 4)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(_read(tmp_path / "a.tif", 4), pixels / 255)
    with pytest.raises(BadInput, match=r"a\.tif.*4 channels beside transparency, the network takes 3"):
        _read(tmp_path / "a.tif", 3)


@pytest.mark.parametrize("extra", [["unassalpha", "unspecified"], ["assocalpha", "unspecified"]])
def test_transparency_between_the_channels_is_not_taken_for_one(tmp_path: Path, extra: list[str]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _pixels(*SIZE, 5), photometric="rgb", extrasamples=extra)
    with pytest.raises(BadInput, match=r"a\.tif.*transparency stands between its channels"):
        _read(tmp_path / "a.tif", 4)
    tifffile.imwrite(tmp_path / "b.tif", _pixels(*SIZE, 5), photometric="rgb", extrasamples=extra[::-1])
    assert np.array_equal(_read(tmp_path / "b.tif", 4), _pixels(*SIZE, 5)[..., :4] / 255)


def test_a_stack_has_pages_and_its_thumbnails_are_none(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number in range(3):
            file.write(np.full(SIZE, number, np.uint8), photometric="minisblack")
            file.write(np.full((9, 9), 9, np.uint8), photometric="minisblack", subfiletype=1)
    with images.opened(tmp_path / "a.tif", 1) as pages:
        assert [int(page.source.window(0, 1, 0, 1)[0, 0, 0]) for page in pages] == [0, 1, 2]


@pytest.mark.parametrize("bound", [1 << 20])
def test_an_uncompressed_image_of_one_strip_is_read_by_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    monkeypatch.setattr(tiff, "_SEGMENT_BYTES", bound)
    pixels = _pixels(1500, 1000)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    assert np.array_equal(_read(tmp_path / "a.tif", 1)[..., 0], pixels / 255)
    tifffile.imwrite(tmp_path / "b.tif", pixels, compression="zlib", rowsperstrip=1500)
    with pytest.raises(BadInput, match="save it in tiles"):
        _read(tmp_path / "b.tif", 1)


def test_strips_that_were_never_written_are_zero_and_a_short_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = _pixels(*SIZE, 3)
    tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=10)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        offsets, counts = list(tags[273].value), list(tags[279].value)
        tags[273].overwrite([0, *offsets[1:]])
        tags[279].overwrite([0, *counts[1:]])
    expected = pixels.copy()
    expected[:10] = 0
    assert np.array_equal(_read(path, 3), expected / 255)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[279].overwrite([0, counts[1] // 2, *counts[2:]])  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="cut short"):
        _read(path, 3)


def test_a_tile_that_reaches_far_beyond_the_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _pixels(16, 16), tile=(16, 16), photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        tags[322].overwrite(32768)
        tags[323].overwrite(32768)
    with pytest.raises(BadInput, match="one piece of it takes 1074 MB"):
        _read(path, 1)


def test_colours_that_only_jpeg_decodes_are_refused_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _pixels(*SIZE, 3), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[262].overwrite(6)  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="convert it to RGB"):
        _read(path, 3)


@pytest.mark.parametrize("compression", ["webp", "jpeg2000", "png"])
def test_pieces_that_may_decode_to_any_size_are_refused(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _pixels(*SIZE, 3), photometric="rgb", compression=compression)
    with pytest.raises(BadInput, match="decode to any size"):
        _read(path, 3)


def test_floats_are_taken_from_0_to_1_and_a_cameras_orientation_is_not_applied(tmp_path: Path) -> None:
    pixels = _pixels(*SIZE, dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    assert np.array_equal(_read(tmp_path / "a.tif", 1)[..., 0], pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    Image.fromarray(_pixels(*SIZE, 3)).save(tmp_path / "a.jpg", exif=turned)
    assert _read(tmp_path / "a.jpg", 3).shape == (*SIZE, 3), "mask and image have the same pixels"


def _bomb() -> bytes:
    """A PNG of a header that promises 20,000 × 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = (
        struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("text.png", b"no image at all"),
        ("torn.png", b"\x89PNG\r\n\x1a\nbroken"),
        ("bomb.png", _bomb()),
        ("header.tif", b"II*\0"),
        ("loop.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"),
        ("zeros.tif", b"II*\0" + b"\0" * 100),
        ("big.tif", b"II+\0\x08\0\0\0" + b"\xff" * 60),
        ("gif.png", b"GIF89a" + b"\0" * 20),
    ],
)
def test_what_is_no_image_is_told_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=name), images.opened(path, 3):
        pass


@pytest.mark.parametrize("kind", ["one strip", "deflated strips", "lzw tiles"])
def test_a_tiff_that_is_cut_short_is_told_when_it_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _pixels(*SIZE, 3), photometric="rgb", **KINDS[kind])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadInput, match=r"a\.tif"):
        _read(path, 3)


@settings(deadline=None, max_examples=60)
@given(damage=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=20))
def test_damage_is_read_or_told_but_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.tif"
    tifffile.imwrite(path, _pixels(60, 50, 3), photometric="rgb", tile=(32, 32), compression="zlib")
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        with images.opened(path, 3) as pages:
            for page in pages:
                if page.pixels < 10**6:  # a damaged size is another image, which may be a large one
                    page.source.window(0, page.source.height, 0, page.source.width)
    except BadInput as error:
        assert "a.tif" in str(error)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.float64, np.complex64])
def test_numbers_without_a_white_are_refused(tmp_path: Path, dtype: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SIZE, dtype), photometric="minisblack")
    with pytest.raises(BadInput, match="8 or 16 bits"), images.opened(tmp_path / "a.tif", 1):
        pass


def test_files_and_folders_are_found_once_each(tmp_path: Path) -> None:
    for name in ("b.png", "a.TIF", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert images.found([tmp_path, tmp_path / "b.png"]) == [tmp_path / "a.TIF", tmp_path / "b.png"]
    with pytest.raises(BadInput, match="is not there"):
        images.found([tmp_path / "c.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no image"):
        images.found([tmp_path / "empty"])
