"""The folder is the registry: listed without importing, missing packages told, not crashed on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unetbench import parts
from unetbench.errors import BadInput, MissingPackage
from unetbench.records import Choice


def test_parts_are_the_files_of_their_folder() -> None:
    assert "unet" in parts.names("decoder")
    assert "reparameterize" in parts.names("rewrite")
    assert {"torch_eager", "torch_compile"} <= set(parts.names("runtime"))
    assert not any(name.startswith("_") for kind in ("decoder", "runtime") for name in parts.names(kind))


def test_listing_and_describing_import_no_part() -> None:
    code = (
        "import sys; from unetbench import parts; "
        "print(parts.find('runtime', 'torch_compile').constants['PRECISIONS']); "
        "print('unetbench.runtimes.torch_compile' in sys.modules, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["('fp32', 'bf16', 'int8')", "False False"]


def test_an_unknown_part_is_told_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="unknown decoder 'unett': did you mean unet"):
        parts.find("decoder", "unett")


def test_options_are_checked() -> None:
    assert parts.chosen("runtime", Choice.parse("torch_compile[freezing=1]")).name == "torch_compile"
    for text in ("torch_compile[freezing=7]", "torch_compile[frozn=1]", "torch_eager[freezing=1]"):
        with pytest.raises(BadInput, match=r"unknown (option|value) of torch_"):
            parts.chosen("runtime", Choice.parse(text))


def test_an_option_may_ask_for_variables_of_the_process() -> None:
    asked = {"THP_MEM_ALLOC_ENABLE": "1"}
    assert parts.environment(Choice.parse("torch_compile[freezing=1,hugepages=1]")) == asked
    assert parts.environment(Choice.parse("torch_eager[hugepages=0]")) == {}
    assert parts.environment(Choice.parse("onnxruntime[spinning=0]")) == {}


def test_a_placeholder_stands_for_any_text_of_its_kind() -> None:
    for text in ("semantic_fpn[channels=128]", "semantic_fpn[channels=7]"):
        assert parts.chosen("decoder", Choice.parse(text)).name == "semantic_fpn"
    for value in ("0", "-1", "1.5", "x", "007", "1000000"):
        with pytest.raises(BadInput, match="unknown value"):
            parts.chosen("decoder", Choice("semantic_fpn", (("channels", value),)))
    assert parts.chosen("reference", Choice.parse("smp[encoder=tu-resnet18.a1_in1k]")).name == "smp"
    assert parts.chosen("reference", Choice.parse("nnunet[plans=/a b/c.json]")).name == "nnunet"
    with pytest.raises(BadInput, match="unknown value"):
        parts.chosen("reference", Choice.parse("smp[encoder=xtu-resnet18]"))


def test_a_part_whose_package_is_missing_is_listed_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runtimes"
    folder.mkdir()
    (folder / "exotic.py").write_text(
        '"""An exotic runtime."""\nimport not_a_package\nREQUIRES = ("not_a_package", "json")\nX = len("a")\n'
    )
    monkeypatch.setattr(parts, "__file__", str(tmp_path / "parts.py"))
    parts.names.cache_clear()
    parts.find.cache_clear()
    try:
        assert parts.names("runtime") == ("exotic",)
        part = parts.find("runtime", "exotic")
        assert (part.summary, part.missing) == ("An exotic runtime.", ("not_a_package",))
        assert "X" not in part.constants
        with pytest.raises(MissingPackage, match=r"needs not_a_package: .*unetbench\[exotic\]"):
            part.module()
    finally:
        parts.names.cache_clear()
        parts.find.cache_clear()


def test_an_annotated_constant_counts_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runtimes").mkdir()
    (tmp_path / "runtimes" / "exotic.py").write_text('REQUIRES: tuple[str, ...] = ("not_a_package",)\n')
    monkeypatch.setattr(parts, "__file__", str(tmp_path / "parts.py"))
    parts.names.cache_clear()
    parts.find.cache_clear()
    try:
        assert parts.find("runtime", "exotic").missing == ("not_a_package",)
    finally:
        parts.names.cache_clear()
        parts.find.cache_clear()
