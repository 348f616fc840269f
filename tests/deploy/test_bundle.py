"""A bundle is opened as a stranger's folder: whatever is not exactly what was exported is refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deploy.bundles import CLASSES, SIDE, case, folder, shared
from unetbench.deploy import manifest as manifests
from unetbench.deploy.bundle import opened
from unetbench.errors import BadInput


def _changed(place: Path, **changes: Any) -> None:
    text = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps(text | changes))


def _rehashed(place: Path, name: str) -> None:
    """As somebody would who tampers with care."""
    files = json.loads((place / "manifest.json").read_text())["files"]
    _changed(place, files=files | {name: hashlib.sha256((place / name).read_bytes()).hexdigest()})


def test_a_whole_bundle_opens(tmp_path: Path) -> None:
    bundle = opened(folder(tmp_path))
    assert bundle.manifest.case() == case()
    assert bundle.check_input().shape == (1, 3, SIDE, SIDE)
    assert bundle.expected().shape == (1, CLASSES, SIDE, SIDE)
    assert bundle.manifest.onnx == "network/network.onnx"
    assert bundle.fingerprint == hashlib.sha256((bundle.folder / "manifest.json").read_bytes()).hexdigest()


def test_a_manifest_comes_back() -> None:
    manifest = shared().manifest
    assert manifests.decoded(manifests.encoded(manifest), Path("a")) == manifest


NAMES = ["input.npy", "logits.npy", "network/network.onnx", "predict.py", "README.md"]


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_counts(tmp_path: Path, name: str) -> None:
    place = folder(tmp_path)
    content = bytearray((place / name).read_bytes())
    content[len(content) // 2] ^= 1
    (place / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"{name} is not what was exported"):
        opened(place)
    (place / name).write_bytes(content[:-1])
    with pytest.raises(BadInput, match=f"{name} is not what was exported"):
        opened(place)
    (place / name).unlink()
    with pytest.raises(BadInput, match=f"lacks '{name}'"):
        opened(place)


def test_what_the_runtime_needs_must_be_named(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "network" / "network.onnx").unlink()
    files = json.loads((place / "manifest.json").read_text())["files"]
    del files["network/network.onnx"]
    _changed(place, files=files, onnx=None)
    with pytest.raises(BadInput, match=r"lacks 'network/network\.onnx'"):
        opened(place)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a/../../b", "./a", "a//b", "", "c:\\a", "a\\b", "a\nb", "manifest.json"],
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    place = folder(tmp_path)
    (tmp_path / "secret").write_text("mine")
    files = json.loads((place / "manifest.json").read_text())["files"]
    _changed(place, files=files | {name: "0" * 64})
    with pytest.raises(BadInput, match="leaves the folder"):
        opened(place)


@pytest.mark.parametrize(
    ("part", "changed", "said"),
    [
        ("measurement", {"run_ns": [0]}, "holds no time"),
        ("measurement", {"run_ns": []}, "holds no time"),
        ("machine", {"cpu": "x\nVERIFIED: every file is whole"}, "cannot be printed"),
        ("machine", {"kernel": "\x1b[2J"}, "cannot be printed"),
    ],
)
def test_a_strangers_card_cannot_speak_for_us(
    tmp_path: Path, part: str, changed: dict[str, object], said: str
) -> None:
    place = folder(tmp_path)
    card = json.loads((place / "manifest.json").read_text())["card"]
    card[part] |= changed
    _changed(place, card=card)
    with pytest.raises(BadInput, match=said):
        opened(place)


def test_links_are_refused_wherever_they_lead(tmp_path: Path) -> None:
    place = folder(tmp_path)
    target = tmp_path / "elsewhere"
    (place / "input.npy").rename(target)
    (place / "input.npy").symlink_to(target)
    with pytest.raises(BadInput, match=r"'input\.npy' is a link"):
        opened(place)
    (place / "input.npy").unlink()
    target.rename(place / "input.npy")
    opened(place)
    (place / "network").rename(tmp_path / "network")
    (place / "network").symlink_to(tmp_path / "network")
    with pytest.raises(BadInput, match="'network' is a link"):
        opened(place)


def test_a_manifest_that_is_a_link_a_pipe_or_huge_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "manifest.json").rename(tmp_path / "manifest.json")
    (place / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(BadInput, match="cannot be read"):
        opened(place)
    (place / "manifest.json").unlink()
    with (place / "manifest.json").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(BadInput, match="larger than 1 MiB"):
        opened(place)
    (place / "manifest.json").unlink()
    os.mkfifo(place / "manifest.json")
    with pytest.raises(BadInput, match="is no file"):
        opened(place)
    (place / "manifest.json").unlink()
    with pytest.raises(BadInput, match="No such file"):
        opened(place)


@pytest.mark.parametrize("name", ["surplus.so", "network/surplus", ".hidden"])
def test_what_the_manifest_does_not_name_is_refused(tmp_path: Path, name: str) -> None:
    place = folder(tmp_path)
    (place / name).write_text("x")
    with pytest.raises(BadInput, match=f"holds '{name}'"):
        opened(place)


def test_folders_below_folders_are_refused(tmp_path: Path) -> None:
    """However many: a stranger's thousand would exhaust whoever goes down into each."""
    place = folder(tmp_path)
    (place / "a" / "b" / "c" / "d").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"^[^\n]*'a/b/c' lies deeper"):
        opened(place)


@pytest.mark.parametrize("name", ["network/compiled.blob", "network/deeper/network.onnx"])
def test_what_a_runtime_might_prefer_to_its_network_is_refused_though_it_is_named(
    tmp_path: Path, name: str
) -> None:
    place = folder(tmp_path)
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_bytes(b"machine code")
    files = json.loads((place / "manifest.json").read_text())["files"]
    _changed(place, files=files | {name: hashlib.sha256(b"machine code").hexdigest()})
    with pytest.raises(BadInput, match=f"names '{name}'"):
        opened(place)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    place = folder(tmp_path)
    os.mkfifo(place / "pipe")
    with pytest.raises(BadInput, match="'pipe' is no file"):
        opened(place)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "install a newer unetbench"),
        ({"format": "one"}, "is no bundle's manifest"),
        ({"recipe": "onnxruntime/fp7"}, "unknown precision"),
        ({"recipe": "torch_eager/fp32"}, "of no use elsewhere"),
        ({"recipe": "../../evil/fp32"}, "is not a part"),
        ({"height_px": 3}, "too small"),
        ({"threads": 0}, "must be at least 1"),
        ({"std": [0.0]}, "normalise nothing"),
        ({"mean": []}, "normalise nothing"),
        ({"overlap": 1.0}, "overlap"),
        ({"unit_px": 0}, "is no stride"),
        ({"overlap": "half"}, "is no bundle's manifest"),
        ({"onnx": "elsewhere.onnx"}, "is not among its files"),
        ({"files": {"a": 1}}, "is no bundle's manifest"),
        ({"network": {"encoder": "resnet18", "classes": 10**9}}, "too many"),
        ({"network": {"encoder": "resnet18", "classes": 0}}, "at least 1 class"),
        ({"width_px": 96}, "the manifest says"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    place = folder(tmp_path)
    _changed(place, **changes)
    with pytest.raises(BadInput, match=said) as refused:
        opened(place).check_input()
    assert "\n" not in str(refused.value)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_a_manifest_of_any_bytes_is_told_in_one_line(content: bytes) -> None:
    with pytest.raises(BadInput):
        manifests.decoded(content, Path("manifest.json"))


@settings(deadline=None, max_examples=60)
@given(damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_manifest_is_told_or_still_well_formed(damage: list[tuple[int, int]]) -> None:
    content = bytearray(manifests.encoded(shared().manifest))
    for place, value in damage:
        content[place % len(content)] = value
    try:
        assert isinstance(manifests.decoded(bytes(content), Path("manifest.json")), manifests.Manifest)
    except BadInput as error:
        assert str(error)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    place = folder(tmp_path)

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    np.save(place / "input.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    _rehashed(place, "input.npy")
    with pytest.raises(BadInput, match="is no array"):
        opened(place).check_input()
    assert not (tmp_path / "owned").exists()
    with (place / "input.npy").open("wb") as stream:
        np.savez(stream, a=np.zeros(3))
    _rehashed(place, "input.npy")
    with pytest.raises(BadInput, match="is no array"):
        opened(place).check_input()


def test_an_array_that_promises_terabytes_allocates_none(tmp_path: Path) -> None:
    place = folder(tmp_path)
    content = (place / "input.npy").read_bytes()
    shape = f"(1, 3, {SIDE}, {SIDE})".encode()
    assert shape in content
    longer = content.replace(shape, b"(1, 3, 9999999, 9999999)".ljust(len(shape)))
    header = longer[:8] + (len(longer.partition(b"\n")[0]) + 1 - 10).to_bytes(2, "little") + longer[10:]
    (place / "input.npy").write_bytes(header)
    _rehashed(place, "input.npy")
    with pytest.raises(BadInput, match="is no array"):
        opened(place).check_input()


@pytest.mark.parametrize("nested", [False, True])
def test_onnx_that_takes_weights_from_another_file_is_refused(tmp_path: Path, nested: bool) -> None:
    place = folder(tmp_path)
    path = place / "network" / "network.onnx"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    if nested:  # where onnx's own search does not look
        tensor = model.graph.sparse_initializer.add().values
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    _rehashed(place, "network/network.onnx")
    with pytest.raises(BadInput, match="takes weights from another file"):
        opened(place)
    path.write_bytes(b"\xff" * 100)
    _rehashed(place, "network/network.onnx")
    with pytest.raises(BadInput, match="is no ONNX file"):
        opened(place)


def test_a_manifest_holds_what_was_asked(tmp_path: Path) -> None:
    told = msgspec.json.decode((folder(tmp_path) / "manifest.json").read_bytes())
    assert {
        "network",
        "recipe",
        "height_px",
        "mean",
        "std",
        "overlap",
        "threads",
        "versions",
        "files",
    } <= told.keys()
    assert {"rewrites", "parity"} <= told["certificate"].keys()
    assert {"machine", "measured_utc", "measurement"} <= told["card"].keys()
    assert set(told["files"]) == set(NAMES)
