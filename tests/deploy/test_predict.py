"""Whole images for real: the plain network's answer, any size, bounded memory, going on after anything."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from rich.console import Console

from tests.deploy.bundles import CLASSES, RUNTIMES, SIDE, case, folder, plain, shared
from unetbench import photos
from unetbench.cli import main
from unetbench.deploy import predict as predicting
from unetbench.deploy import segment
from unetbench.deploy.predict import Order, Summary, predict
from unetbench.deploy.progress import Lines, observer
from unetbench.errors import BadInput

PLACE = "WGS 84 / Österreich|".encode()


@pytest.fixture(autouse=True)
def _denormals_are_left_as_they_were() -> Iterator[None]:
    """Runtimes flush denormals in this thread; other tests count on them."""
    yield
    torch.set_flush_denormal(False)


def _run(bundle: Path, paths: list[Path], out: Path, **asked: object) -> tuple[Summary, list[str], list[str]]:
    said: list[str] = []
    complained: list[str] = []
    order = Order(bundle=bundle, images=paths, out=out, **asked)  # type: ignore[arg-type]
    return predict(order, lambda: Lines(said.append, complained.append)), said, complained


def _photo(place: Path, height: int, width: int, name: str = "photo.png") -> Path:
    place.mkdir(exist_ok=True)
    crop = photos.pixels(photos.default_photos()[0])[:height, :width]
    Image.fromarray(crop).save(place / name)
    return place / name


def _mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _plain(pixels: np.ndarray) -> np.ndarray:
    """What PyTorch answers to an image as a whole. Shapes: (H, W, 3) -> (H, W)."""
    model = plain()
    batch = photos.normalised(
        pixels[None].transpose(0, 3, 1, 2).astype(np.float32) / 255, model.encoder.mean, model.encoder.std
    )
    with torch.inference_mode():
        logits = model(torch.from_numpy(batch))[0]
    answer: np.ndarray = logits.argmax(dim=0).numpy()
    return answer


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_tile_answers_what_the_plain_network_does(tmp_path: Path, runtime: str) -> None:
    image = _photo(tmp_path / "in", SIDE, SIDE)
    summary, said, complained = _run(shared(case(f"{runtime}/fp32")).folder, [image], tmp_path / "out")
    assert (summary.done, summary.failed, complained) == (1, 0, [])
    mask = _mask(tmp_path / "out" / "photo.mask.png")
    expected = _plain(photos.pixels(image))
    assert (mask == expected).mean() >= 0.999
    assert len(np.unique(mask)) == CLASSES
    assert "photo.mask.png" in said[0]


def test_two_runtimes_segment_too(tmp_path: Path) -> None:
    image = _photo(tmp_path / "in", 100, 90)
    bundle = shared(case("openvino>onnxruntime/fp32")).folder
    assert (bundle / "network" / "encoder" / "network.xml").is_file()
    assert _run(bundle, [image], tmp_path / "a")[0].done == 1
    assert _run(shared().folder, [image], tmp_path / "b")[0].done == 1
    agreeing = _mask(tmp_path / "a" / "photo.mask.png") == _mask(tmp_path / "b" / "photo.mask.png")
    assert agreeing.mean() >= 0.999


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (64, 65), (200, 31), (150, 210)])
def test_images_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    image = _photo(tmp_path / "in", *size)
    assert _run(shared().folder, [image], tmp_path / "out")[0].done == 1
    mask = _mask(tmp_path / "out" / "photo.mask.png")
    assert mask.shape == size
    with Image.open(tmp_path / "out" / "photo.overlay.jpg") as overlay:
        assert overlay.size == size[::-1]
    if max(size) <= SIDE:
        assert (mask == _plain(photos.pixels(image))).mean() >= 0.999, "padded as the network itself pads"


def test_narrow_memory_changes_no_pixel(tmp_path: Path) -> None:
    image = _photo(tmp_path / "in", 150, 600)
    _run(shared().folder, [image], tmp_path / "a")
    with pytest.raises(BadInput, match="--memory 0 MB is too little"):
        _run(shared().folder, [image], tmp_path / "b", memory_bytes=1000)
    fixed = 4_194_304 + 4 * CLASSES * SIDE * SIDE * 4 + 150 * 600 * (3 + 3 + 2)
    column = SIDE * (3 * 2 + (CLASSES + 1) * 4)
    summary, _, _ = _run(shared().folder, [image], tmp_path / "c", memory_bytes=fixed + 300 * column)
    assert summary.done == 1
    assert np.array_equal(_mask(tmp_path / "a" / "photo.mask.png"), _mask(tmp_path / "c" / "photo.mask.png"))


def test_a_stack_gives_a_stack_and_keeps_its_place_on_the_earth(tmp_path: Path) -> None:
    crops = [photos.pixels(photos.default_photos()[0])[top : top + 80, :90] for top in (0, 100, 200)]
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for crop in crops:
            tags = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (42113, "s", 2, "0", True)]
            tags.append((34737, "s", len(PLACE), PLACE, True))  # type: ignore[arg-type]
            file.write(crop, photometric="rgb", extratags=tags)
    summary, _, _ = _run(shared().folder, [tmp_path / "stack.tif"], tmp_path / "out")
    assert summary.done == 1
    with tifffile.TiffFile(tmp_path / "out" / "stack.mask.tif") as file:
        assert len(file.pages) == 3
        assert file.pages[0].tags[33550].value == (0.5, 0.5, 0.0)  # type: ignore[union-attr]
        assert PLACE in (tmp_path / "out" / "stack.mask.tif").read_bytes(), "its name, beyond ASCII"
        assert 42113 not in file.pages[0].tags, "what is no data in the image is a class in the mask"  # type: ignore[union-attr]
        for found, crop in zip(file.pages, crops, strict=True):
            Image.fromarray(crop).save(tmp_path / "one.png")
            _run(shared().folder, [tmp_path / "one.png"], tmp_path / "ones")
            assert np.array_equal(found.asarray(), _mask(tmp_path / "ones" / "one.mask.png"))
    summary, _, complained = _run(shared().folder, [tmp_path / "stack.tif"], tmp_path / "png", format="png")
    assert summary.failed == 1
    assert "a PNG holds one" in complained[0]


def test_a_corrupt_image_is_told_and_the_rest_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "in"
    for name in ("a.png", "c.png"):
        _photo(images, 80, 80, name)
    (images / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    Image.fromarray(np.zeros((9, 9, 4), np.uint8)).convert("CMYK").save(images / "d.jpg")
    tifffile.imwrite(images / "e.tif", np.zeros((70, 70, 5), np.uint8), planarconfig="contig")
    out = tmp_path / "out"
    arguments = ["predict", str(shared().folder), str(images), "-o", str(out)]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 2
    assert "b.png" in said.err
    assert "e.tif" in said.err
    assert "5 channels" in said.err
    assert "3 done, 2 failed" in said.out
    for part in ("read", "tile", "network", "blend", "argmax", "write", "whole image"):
        assert f"{part} " in said.out
    assert "peak memory: " in said.out
    assert sorted(path.name for path in out.iterdir() if "mask" in path.name) == [
        "a.mask.png", "c.mask.png", "d.mask.png",
    ]  # fmt: skip

    # The same command does only what is not done; a torn line of the record is no trouble.
    with (out / "predict.jsonl").open("ab") as stream:
        stream.write(b'{"image": "half')
    (images / "b.png").unlink()
    _photo(images, 70, 70, "b.png")
    (out / "c.mask.png").unlink()
    _photo(images, 60, 60, "a.png")
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "3 done, 1 there already, 1 failed" in said.out
    assert _mask(out / "a.mask.png").shape == (60, 60)
    (images / "e.tif").unlink()
    assert main(arguments) == 0
    assert "4 there already" in capsys.readouterr().out
    assert main([*arguments, "--overlap", "25%"]) == 0
    assert "4 done" in capsys.readouterr().out, "other settings are another mask"
    lines = [
        json.loads(line) for line in (out / "predict.jsonl").read_bytes().splitlines() if b"half" not in line
    ]
    assert set(lines[0]["ms"]) == {"read", "tile", "network", "blend", "argmax", "write"}


def _error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(each) for each in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, bundle, out = _photo(tmp_path / "in", 64, 64), shared().folder, tmp_path / "out"
    assert "No such file" in _error(capsys, "predict", tmp_path, image, "-o", out)
    assert "No such file" in _error(capsys, "predict", tmp_path / "nowhere", image, "-o", out)
    assert "is not there" in _error(capsys, "predict", bundle, tmp_path / "b.png", "-o", out)
    assert "holds the images" in _error(capsys, "predict", bundle, image, "-o", tmp_path / "in")
    assert "512MB" in _error(capsys, "predict", bundle, image, "-o", out, "--memory", "much")
    assert "give --memory" in _error(capsys, "predict", bundle, image, "-o", out, "--memory", "1MB")
    assert "with the sign" in _error(capsys, "predict", bundle, image, "-o", out, "--overlap", "0.5")
    assert "up to 90%" in _error(capsys, "predict", bundle, image, "-o", out, "--overlap", "95%")
    assert "did you mean tiff" in _error(capsys, "predict", bundle, image, "-o", out, "--format", "tif")
    assert "CPUs" in _error(capsys, "predict", bundle, image, "-o", out, "--threads", "4096")
    twin = _photo(tmp_path / "other", 64, 64)
    assert "would both write" in _error(capsys, "predict", bundle, image, twin, "-o", out)
    (tmp_path / "file").write_text("mine")
    assert "cannot be written" in _error(capsys, "predict", bundle, image, "-o", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_name_that_is_too_long_is_that_images_trouble_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file system takes names of 255 bytes."""
    images, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", f"{'b' * 251}.png", f"{'c' * 240}.png", "d.png"):
        _photo(images, 64, 64, name)
    assert main(["predict", str(shared().folder), str(images), "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert "3 done, 1 failed" in said.out
    assert "rename the image" in said.err
    assert {path.name[0] for path in out.glob("*.mask.png")} == {"a", "c", "d"}


def test_masks_are_not_put_beside_links_to_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would be taken for images next time, wherever the links lead."""
    image = _photo(tmp_path / "elsewhere", 64, 64)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(image)
    for folder_ in ("in", "elsewhere"):
        assert "holds the images" in _error(
            capsys, "predict", shared().folder, tmp_path / "in", "-o", tmp_path / folder_
        )


def test_no_mask_by_a_bundle_that_answers_wrongly_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.deploy.test_bundle import _rehashed

    bundle = folder(tmp_path)
    np.save(bundle / "logits.npy", -np.load(bundle / "logits.npy"))
    _rehashed(bundle, "logits.npy")
    image = _photo(tmp_path / "in", 64, 64)
    assert main(["predict", str(bundle), str(image), "-o", str(tmp_path / "out")]) == 2
    assert "answers wrongly on this machine" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_network_that_its_runtime_refuses_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.deploy.test_bundle import _rehashed

    bundle = folder(tmp_path, case("openvino/fp32"))
    (bundle / "network" / "network.xml").write_text("<net>")
    _rehashed(bundle, "network/network.xml")
    image = _photo(tmp_path / "in", 64, 64)
    assert "does not load into openvino here" in _error(
        capsys, "predict", bundle, image, "-o", tmp_path / "out"
    )


def test_a_test_input_that_is_no_array_is_told_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.deploy.test_bundle import _rehashed

    bundle = folder(tmp_path)
    (bundle / "input.npy").write_bytes(b"noise")
    _rehashed(bundle, "input.npy")
    image = _photo(tmp_path / "in", 64, 64)
    err = _error(capsys, "predict", bundle, image, "-o", tmp_path / "out")
    assert "is no array" in err
    assert "does not run here" not in err


def test_an_image_that_the_runtime_cannot_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [_photo(tmp_path / "in", 64, 64, name) for name in ("a.png", "b.png")]
    answer = segment.Network.answer

    class Failing:
        def bind(self, *_: object, **__: object) -> None:
            raise RuntimeError("out of\nscratchpad")

    def failing(network: segment.Network, page: Any, *rest: Any) -> Any:
        session, calls[0] = network._session, calls[0] + 1
        network._session = Failing() if calls[0] == 1 else session  # type: ignore[assignment]
        try:
            return answer(network, page, *rest)
        finally:
            network._session = session

    calls = [0]
    monkeypatch.setattr(segment.Network, "answer", failing)
    summary, _, complained = _run(shared().folder, paths, tmp_path / "out")
    assert (summary.done, summary.failed) == (1, 1)
    assert "the runtime cannot run it (RuntimeError: out of scratchpad)" in complained[0]


def test_an_image_of_nan_is_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "nan.tif", np.full((70, 70, 3), np.nan, np.float32), photometric="rgb")
    summary, _, complained = _run(shared().folder, [tmp_path / "nan.tif"], tmp_path / "out")
    assert summary.failed == 1
    assert "NaN" in complained[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [], "nothing half-written is left"


def _child(arguments: list[str], before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "unetbench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        preexec_fn=before,
    )


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    bundle = shared().folder
    paths = [_photo(tmp_path / "in", 90, 90, "a.png"), _photo(tmp_path / "in", 400, 600, "b.png")]
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    Image.fromarray(noise).save(paths[1])
    out = tmp_path / "out"
    limit = 12_000  # bytes a file may have: enough for the first image's files, not for the second's
    arguments = ["predict", str(bundle), *map(str, paths), "-o", str(out)]
    with _child(arguments, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) as child:
        said, complained = child.communicate(timeout=120)
    assert child.returncode == 2, complained
    assert complained.count("\n") == 1
    assert "make room" in complained
    assert "a.mask.png" in said
    assert sorted(path.name for path in out.iterdir()) == ["a.mask.png", "a.overlay.jpg", "predict.jsonl"]
    assert _run(bundle, paths, out)[0].skipped == 1


def test_ctrl_c_and_the_same_command_goes_on(tmp_path: Path) -> None:
    bundle = shared().folder
    paths = [_photo(tmp_path / "in", 90, 90, "a.png")]
    tifffile.imwrite(tmp_path / "in" / "b.tif", np.zeros((4000, 4000, 3), np.uint8), photometric="rgb")
    paths.append(tmp_path / "in" / "b.tif")
    out = tmp_path / "out"
    arguments = ["predict", str(bundle), *map(str, paths), "-o", str(out), "--overlap", "90%"]
    with _child(arguments, lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as child:
        assert child.stdout is not None
        assert "a.mask.png" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, complained = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "the same command goes on" in complained
    assert sorted(path.name for path in out.iterdir()) == ["a.mask.png", "a.overlay.jpg", "predict.jsonl"]
    summary, _, _ = _run(bundle, paths[:1], out, overlap=0.9)
    assert (summary.skipped, summary.done) == (1, 0)


_BOUND = """
import sys
from pathlib import Path
import numpy as np
from unetbench.deploy import images, masks, segment, tiles
from unetbench.deploy.costs import Costs
from unetbench.measuring import memory

class Session:
    logits = np.arange(5 * 256 * 256, dtype=np.float32).reshape(1, 5, 256, 256) % 7
    def bind(self, image, shared): pass
    def run(self): pass
    def answers(self): return (self.logits,)

class Manifest:
    mean, std, unit_px = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 32
    def case(self):
        from unetbench.records import Case, Network, Recipe
        recipe = Recipe.parse("onnxruntime/fp32")
        return Case(network=Network("test_resnet", classes=5), recipe=recipe, height_px=256, width_px=256, threads=1)

class Ticks:
    def tiles(self, count): print(count)
    def tile(self): pass

network = segment.Network(Session(), Manifest())
import tifffile, zlib
before = memory.peak_rss_bytes()
memory.reset_peak()
before = memory.peak_rss_bytes()
settings = segment.Settings(overlap=0.25, memory_bytes=int(sys.argv[3]))
segment.segment(Path(sys.argv[1]), Path(sys.argv[2]), network, settings, Costs(), Ticks())
print(memory.peak_rss_bytes() - before)
"""


@pytest.mark.parametrize(("height", "width"), [(6000, 6000), (300, 60_000)])
def test_memory_stays_below_what_was_asked_whatever_the_image(
    tmp_path: Path, height: int, width: int
) -> None:
    path, allowed = tmp_path / "a.tif", 100_000_000
    tile = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)

    def pieces() -> Iterator[np.ndarray]:
        for _ in range(-(-height // 512) * -(-width // 512)):
            yield tile

    tifffile.imwrite(
        path, pieces(), shape=(height, width, 3), dtype=np.uint8, tile=(512, 512), photometric="rgb"
    )
    assert height * width * 3 >= 54_000_000
    done = subprocess.run(
        [sys.executable, "-c", _BOUND, str(path), str(tmp_path), str(allowed)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    taken = int(done.stdout.split()[-1])
    assert taken <= allowed, f"{taken / 1e6:.0f} MB"
    with (
        tifffile.TiffFile(tmp_path / "a.mask.tif")
        if (tmp_path / "a.mask.tif").exists()
        else Image.open(tmp_path / "a.mask.png") as mask
    ):
        assert mask is not None


def test_predict_imports_no_torch(tmp_path: Path) -> None:
    image = _photo(tmp_path / "in", 70, 70)
    code = (
        "import sys; from unetbench.cli import main\n"
        f"assert main(['predict', {str(shared().folder)!r}, {str(image)!r}, '-o', {str(tmp_path / 'out')!r}]) == 0\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "onnxruntime" in loaded.split()
    assert not {"torch", "timm", "scipy", "altair", "matplotlib"} & set(loaded.split())


def test_the_record_is_of_one_bundle(tmp_path: Path) -> None:
    image = _photo(tmp_path / "in", 70, 70)
    _run(shared().folder, [image], tmp_path / "out")
    other = shared(case("openvino/fp32")).folder
    summary, _, _ = _run(other, [image], tmp_path / "out")
    assert (summary.done, summary.skipped) == (1, 0)


def test_the_mask_of_a_png_may_be_a_tiff(tmp_path: Path) -> None:
    image = _photo(tmp_path / "in", 70, 90)
    _run(shared().folder, [image], tmp_path / "png")
    summary, _, _ = _run(shared().folder, [image], tmp_path / "tiff", format="tiff")
    assert summary.done == 1
    assert np.array_equal(
        tifffile.imread(tmp_path / "tiff" / "photo.mask.tif"), _mask(tmp_path / "png" / "photo.mask.png")
    )


def test_the_mask_of_a_large_image_is_a_tiff_of_the_same_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _photo(tmp_path / "in", 70, 90)
    _run(shared().folder, [image], tmp_path / "small")
    monkeypatch.setattr("unetbench.deploy.segment._PNG_PIXELS", 1000)
    _run(shared().folder, [image], tmp_path / "large")
    large = tifffile.imread(tmp_path / "large" / "photo.mask.tif")
    assert np.array_equal(large, _mask(tmp_path / "small" / "photo.mask.png"))
    assert not (tmp_path / "large" / "photo.mask.png").exists()


def test_damaged_words_about_the_place_on_the_earth_stop_nothing(tmp_path: Path) -> None:
    pixels = photos.pixels(photos.default_photos()[0])[:70, :90]
    tags = [(33550, "H", 1, 7, True), (34737, "s", 4, "abc", True)]  # a scale is three doubles
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tags)
    summary, _, _ = _run(shared().folder, [tmp_path / "a.tif"], tmp_path / "out", format="tiff")
    assert summary.done == 1
    with tifffile.TiffFile(tmp_path / "out" / "a.mask.tif") as file:
        assert 33550 not in file.pages[0].tags  # type: ignore[union-attr]


def test_another_image_of_that_name_replaces_no_mask(tmp_path: Path) -> None:
    first, second = _photo(tmp_path / "a", 70, 70), _photo(tmp_path / "b", 90, 90)
    _run(shared().folder, [first], tmp_path / "out")
    with pytest.raises(BadInput, match=r"would replace the mask of .*a/photo\.png"):
        _run(shared().folder, [second], tmp_path / "out")
    first.unlink()  # it was moved: its mask is of nobody
    summary, _, _ = _run(shared().folder, [second], tmp_path / "out")
    assert summary.done == 1


def test_an_image_that_changes_while_it_is_segmented_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _photo(tmp_path / "in", 70, 70)
    true = predicting.segment

    def changing(*arguments: Any) -> Any:
        found = true(*arguments)
        _photo(tmp_path / "in", 80, 80)
        return found

    monkeypatch.setattr(predicting, "segment", changing)
    _run(shared().folder, [image], tmp_path / "out")
    monkeypatch.undo()
    summary, _, _ = _run(shared().folder, [image], tmp_path / "out")
    assert (summary.done, summary.skipped) == (1, 0)
    assert _mask(tmp_path / "out" / "photo.mask.png").shape == (80, 80)


def test_an_unknown_format_is_told() -> None:
    with pytest.raises(BadInput, match="unknown format"):
        predicting.predict(
            Order(bundle=Path("a"), images=[], out=Path("b"), format="jpeg"), lambda: Lines(print, print)
        )


def test_a_terminal_sees_a_bar_and_what_failed(tmp_path: Path) -> None:
    image = _photo(tmp_path / "in", 90, 90, "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    console, complained = Console(force_terminal=True, width=120, file=io.StringIO()), []
    order = Order(bundle=shared().folder, images=[image, tmp_path / "in" / "b.png"], out=tmp_path / "out")
    predict(order, lambda: observer(console, print, complained.append))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a.mask.png" in shown
    assert "tiles" in shown
    assert len(complained) == 1
