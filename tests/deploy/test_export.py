"""Export: what travels and what does not, the bundle's own program, the card from a store."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from tests.deploy.bundles import CLASSES, RUNTIMES, SIDE, case, folder, shared
from tests.samples import machine, measurement
from unetbench import Network, parts, photos
from unetbench.cli import main
from unetbench.deploy import export, standalone
from unetbench.errors import BadInput, Unsupported
from unetbench.networks.weights import tensors
from unetbench.records import Recipe
from unetbench.store import writing


@pytest.mark.parametrize("name", parts.names("runtime"))
def test_a_runtime_travels_with_a_loader_or_not_at_all(name: str) -> None:
    travels = "TRAVELS" in parts.find("runtime", name).constants
    assert (Path(standalone.__file__).parent / f"{name}.py").is_file() == travels


@pytest.mark.parametrize(
    ("recipe", "instead"),
    [
        ("torch_eager/fp32+fold_head", "onnxruntime/fp32+fold_head"),
        ("torch_compile[freezing=1]/bf16", "openvino/bf16"),
        ("onnxruntime>torch_compile/fp32", "onnxruntime/fp32"),
    ],
)
def test_what_stays_is_refused_with_the_nearest_that_travels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, instead: str
) -> None:
    with pytest.raises(Unsupported, match="does not travel") as refused:
        export.refuse_what_stays(Recipe.parse(recipe))
    assert f"--recipe {instead} " in str(refused.value)
    assert main(["export", "test_resnet", "--recipe", recipe, "-o", str(tmp_path / "a")]) == 2
    assert instead in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet81", "--recipe", "mnn/fp32"], "did you mean resnet18"),
        (["resnet18/unett", "--recipe", "mnn/fp32"], "did you mean unet"),
        (["resnet18", "--recipe", "mnn/fp23"], "did you mean fp32"),
        (["resnet18", "--recipe", "mnn/fp32", "--weights", "nowhere.pt"], "nowhere.pt"),
        (["resnet18", "--recipe", "mnn/fp32", "--size", "20"], "out of range"),
        (["resnet18", "--recipe", "mnn/fp32", "--images", "."], "holds no JPEG"),
        (["resnet18", "--recipe", "mnn/fp32", "--store", "nowhere.sqlite"], "no store"),
        (["resnet18"], "required"),
    ],
)
def test_bad_options(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments, "-o", "bundle"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("notes")
    for to in (tmp_path, tmp_path / "mine"):
        with pytest.raises(BadInput, match="already"):
            export.export(export.Order(case=case(), to=to))
    assert (tmp_path / "mine").read_text() == "notes"


def test_the_folder_that_one_is_in_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "test_resnet", "--recipe", "onnxruntime/fp32", "-o", "."]) == 2
    assert "the folder that you are in" in capsys.readouterr().err


def test_a_checkpoint_and_a_stored_time_go_into_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user does: weights of a trained network, timed before by `run`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checkpoint, store = tmp_path / "trained.safetensors", tmp_path / "results.sqlite"
    asked = replace(case(), network=Network("test_resnet", classes=2, weights=str(checkpoint)))
    trained = Network("test_resnet", classes=2).build()
    with torch.no_grad():
        trained.head.weight.mul_(-1)
    save_file(tensors(trained), checkpoint)
    with writing(store) as opened_store:
        session = opened_store.open_session(
            machine(), preset="quick", images="x", command=["run"], fresh=True
        )
        opened_store.append(session.identifier, asked, measurement(12.5))
    bundle = tmp_path / "bundle"
    arguments = [
        "export",
        "test_resnet",
        "--recipe",
        "onnxruntime/fp32",
        "--size",
        str(SIDE),
        "--classes",
        "2",
    ]
    arguments += ["--weights", str(checkpoint), "--threads", "1", "--store", str(store), "-o", str(bundle)]
    assert main(arguments) == 0, capsys.readouterr().err
    assert "12.50 ms" in capsys.readouterr().out
    image = torch.from_numpy(np.load(bundle / "input.npy"))
    with torch.inference_mode():
        expected = trained(image).numpy()
    assert np.abs(np.load(bundle / "logits.npy") - expected).max() < 1e-3, (
        "of these weights, not of random ones"
    )


def test_the_card_is_the_latest_of_the_store_that_has_the_case(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        for milliseconds in (30.0, 20.0):
            session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
            store.append(session.identifier, case(), measurement(milliseconds))
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case("mnn/fp32"), measurement(5.0))
    card = export.stored_card(path, case())
    assert card.measurement == measurement(20.0)
    assert card.machine == machine()
    with pytest.raises(BadInput, match="leave --store out"):
        export.stored_card(path, replace(case(), threads=2))


def _sees_16_bits(place: Path, bundle: Path, grey: NDArray[np.uint8]) -> None:
    """Grey of 16 bits is the same image as of 8: Pillow's own conversion makes nearly all of it white."""
    masks = []
    for name, image in (("eight", grey), ("sixteen", grey.astype(np.uint16) * 257)):
        Image.fromarray(image).save(place / f"{name}.png")
        command = [sys.executable, bundle / "predict.py", place / f"{name}.png", place / f"{name}.npy"]
        subprocess.run([*map(str, command)], capture_output=True, check=True)
        masks.append(np.load(place / f"{name}.npy"))
    assert (masks[0] == masks[1]).mean() >= 0.999
    assert len(np.unique(masks[1])) > 1


@pytest.mark.parametrize(
    "recipe",
    [
        *(f"{name}/fp32" for name in RUNTIMES),
        "openvino>mnn[winograd=1]/fp32",
        "openvino>ncnn[winograd=4]/fp32",
    ],
)
def test_a_bundles_own_program_needs_the_runtime_and_numpy_alone(tmp_path: Path, recipe: str) -> None:
    bundle = folder(tmp_path, case(recipe))
    pixels = photos.pixels(photos.default_photos()[0])[:100, :150]
    np.save(tmp_path / "image.npy", pixels / 255)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    refuse = (
        "import sys\nfor name in ('unetbench', 'torch', 'timm', 'onnx', 'PIL'): sys.modules[name] = None\n"
    )
    code = f"{refuse}sys.argv = sys.argv[1:]\nimport runpy; runpy.run_path(sys.argv[0], run_name='__main__')"

    def ran(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, bundle / "predict.py", *arguments]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    def run(*arguments: object) -> str:
        done = ran(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert "relative error" in (said := run())
    assert float(said.split()[2].rstrip(";")) < 1e-3
    assert "wrote" in run(tmp_path / "image.npy", tmp_path / "mask.npy")
    assert main(["predict", str(bundle), str(tmp_path / "image.png"), "-o", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "image.mask.png") as mask:
        agreeing = np.asarray(mask) == np.load(tmp_path / "mask.npy")
    assert agreeing.mean() >= 0.999, "it blends as `unetbench predict` does"
    if recipe == "onnxruntime/fp32":
        _sees_16_bits(tmp_path, bundle, pixels[..., 0])
    assert len((bundle / "predict.py").read_text().splitlines()) < 140
    if recipe == "onnxruntime/fp32":
        assert "usage: " in ran(tmp_path / "image.npy").stderr
        np.save(bundle / "logits.npy", np.load(bundle / "logits.npy")[:, ::-1])
        assert "WRONG ANSWER" in (wrong := ran()).stderr
        assert wrong.returncode == 1


@pytest.mark.parametrize("decoder", RUNTIMES)
def test_a_bundle_of_two_runtimes_may_leave_features_unread(tmp_path: Path, decoder: str) -> None:
    """As decoders that begin at a stride of 4 do: what nobody reads is no answer."""
    asked = case(f"openvino>{decoder}/fp32")
    asked = replace(asked, network=Network("test_resnet", decoder="semantic_fpn", classes=CLASSES))
    bundle = folder(tmp_path, asked)
    done = subprocess.run(
        [sys.executable, bundle / "predict.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("relative error")[1].split()[0].rstrip(";")) < 1e-3


@pytest.mark.parametrize("answer", ["nan", "noise"])
def test_a_bundles_own_program_refuses_what_is_no_answer_in_any_precision(
    tmp_path: Path, answer: str
) -> None:
    bundle = folder(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(
        json.dumps(manifest | {"recipe": manifest["recipe"].replace("fp32", "int8")})
    )
    logits = np.load(bundle / "logits.npy")
    other = (
        np.full_like(logits, np.nan)
        if answer == "nan"
        else np.random.default_rng(0).normal(size=logits.shape)
    )
    np.save(bundle / "logits.npy", other.astype(np.float32))
    done = subprocess.run(
        [sys.executable, bundle / "predict.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "WRONG ANSWER" in done.stderr) == (1, True)


def test_the_onnx_of_a_bundle_is_plain(tmp_path: Path) -> None:
    bundle = shared()
    model = onnx.load(bundle.folder / str(bundle.manifest.onnx))
    onnx.checker.check_model(model)
    assert {each.domain for each in model.opset_import} <= {"", "ai.onnx"}
    (given,) = model.graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [1, 3, SIDE, SIDE]
    (answer,) = model.graph.output
    assert [d.dim_value for d in answer.type.tensor_type.shape.dim] == [1, CLASSES, SIDE, SIDE]


@pytest.mark.parametrize(("precision", "place"), [("fp32", "network/network.onnx"), ("int8", None)])
def test_what_a_runtime_takes_in_int8_is_no_plain_onnx(
    tmp_path: Path, precision: str, place: str | None
) -> None:
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "network.onnx").write_bytes(b"x")
    asked = case(f"onnxruntime/{precision}")
    assert export._plain_onnx(tmp_path, asked) == place
    (tmp_path / "network.onnx").write_bytes(b"x")
    assert export._plain_onnx(tmp_path, asked) == "network.onnx"


def test_the_readme_says_what_is_needed_to_feed_it() -> None:
    text = (shared().folder / "README.md").read_text(encoding="utf-8")
    for said in (
        "pip install numpy onnxruntime",
        "[1, 3, 64, 64]".strip("[]"),
        "mean [",
        "input.npy",
        "exact",
    ):
        assert said in text
    assert "None" not in text
