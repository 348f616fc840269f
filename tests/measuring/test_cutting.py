"""Sections timed for real, on a tiny network: in one process, by two runtimes, and by a runtime's own counters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from unetbench import machine, photos
from unetbench.errors import Unsupported
from unetbench.measuring import conversion, cutting, reference
from unetbench.records import Case, Network, Recipe

NAMES = ["encoder", "up-convolutions", "skip convolutions", "head"]
SAID: list[str] = []


def _say(message: Any) -> None:
    SAID.append(message["phase"])


def _case(recipe: str) -> Case:
    network = Network("test_byobnet", decoder_channels=(16, 16, 8, 8))
    return Case(network=network, recipe=Recipe.parse(recipe), height_px=64, width_px=64, threads=1)


@pytest.fixture(autouse=True)
def _torch_is_left_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's reference, which all its cases share."""
    made = tmp_path_factory.mktemp("reference")
    threads = torch.get_num_threads()
    reference.make(_case("torch_eager/fp32"), made, photos.default_photos(), checked_inputs=1)
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)
    return made


def _times(case: Case, folder: Path, to: Path, artifact: Path | None) -> list[int]:
    return _checked(cutting.timed(case, folder, to, artifact, [], _say), "cuts")


def _checked(times: dict[str, Any], by: str) -> list[int]:
    assert times["by"] == by
    assert len(times["whole_ns"]) >= 6
    assert all(min(each) > 0 for each in times["sections_ns"])
    assert {"cpu_pressure_us", "steal_ticks"} <= set(times["before"])
    return [len(each) for each in times["sections_ns"]]


def test_a_runtime_that_writes_nothing_cuts_where_it_runs(folder: Path, tmp_path: Path) -> None:
    case = _case("torch_eager/fp32")
    found = cutting.convert(case, folder, tmp_path / "to", _say)["sections"]
    assert [each["name"] for each in found] == NAMES
    assert all(each["flop"] > 0 and each["moved_bytes"] > 0 for each in found)
    assert not list((tmp_path / "to").rglob("*.npz")), "there is nothing to hand over"
    assert _times(case, folder, tmp_path / "to", None) == [15] * 4


def test_of_two_runtimes_each_has_its_own_sections(folder: Path, tmp_path: Path) -> None:
    for package in ("onnxruntime", "openvino"):
        pytest.importorskip(package)
    case = _case("onnxruntime[spinning=0]>openvino/fp32+fold_head")
    images = reference.images(folder)
    conversion.convert(case, folder, tmp_path / "artifact", images[0], (), _say)
    found = cutting.convert(case, folder, tmp_path / "to", _say)["sections"]
    assert [each["runtime"] for each in found] == ["onnxruntime[spinning=0]"] + ["openvino"] * 3
    assert found[-1]["note"] == "the last up-convolution is folded into it"
    assert len(_times(case, folder, tmp_path / "to", tmp_path / "artifact")) == 4


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_runtime_with_counters_tells_its_sections_as_the_whole_runs(
    folder: Path, tmp_path: Path, precision: str
) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package)
    if precision == "bf16" and not machine.bf16_instructions():
        pytest.skip("bf16 is emulated on this machine")
    case = _case(f"openvino/{precision}+fold_batchnorm+fold_head+fold_upconv")
    photographs = photos.default_photos()
    conversion.convert(case, folder, tmp_path / "artifact", reference.images(folder)[0], photographs, _say)
    cut = cutting.convert(case, folder, tmp_path / "to", _say)
    assert [each["name"] for each in cut["sections"]] == NAMES
    assert all(each["flop"] > 0 for each in cut["sections"])
    assert not list((tmp_path / "to").rglob("*.xml")), "nothing is converted twice"
    times = cutting.timed(case, folder, tmp_path / "to", tmp_path / "artifact", cut["within"], _say)
    runs = len(times["whole_ns"])
    assert _checked(times, "counters") == [runs] * 4
    together = sum(map(median, times["sections_ns"]))
    assert 0 < together < 2 * median(times["whole_ns"]), "sections are parts of the whole"


def test_counters_that_tell_no_section_apart_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    from unetbench.runtimes import openvino

    monkeypatch.setattr(openvino, "profiled", lambda *_, runs, **__: [{"": 100}] * runs)
    case = _case("openvino/fp32")
    conversion.convert(case, folder, tmp_path / "artifact", reference.images(folder)[0], (), _say)
    with pytest.raises(Unsupported, match="counters of openvino find no time in a section"):
        cutting.timed(case, folder, tmp_path, tmp_path / "artifact", [["encoder"], [""]], _say)


def test_a_module_is_of_the_section_that_names_it_closest() -> None:
    within = [["encoder"], ["decoder.stages.0.up", "decoder.up"], ["decoder"], [""]]
    spent = {
        "encoder.backbone.conv1": 1,
        "decoder.stages.0.up": 10,
        "decoder.up.0": 20,
        "decoder.upper": 100,
        "decoder": 200,
        "head": 1000,
        "": 2000,
        "encoders": 4000,
    }
    assert cutting.divided(spent, within) == [1, 30, 300, 7000]


def test_what_a_runtime_cannot_convert_is_unsupported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unetbench.runtimes import torch_compile

    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel for aten::convolution_backward here")

    monkeypatch.setattr(torch_compile, "convert", refuses)
    with pytest.raises(Unsupported, match="operator aten::convolution_backward"):
        cutting.convert(_case("torch_compile/fp32"), folder, tmp_path / "to", _say)
