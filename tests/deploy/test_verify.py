"""A bundle is verified in every runtime that travels; a wrong answer, another bundle and a crash are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.deploy.bundles import RUNTIMES, case, folder, shared
from tests.deploy.test_bundle import _rehashed
from unetbench import parts, photos
from unetbench.cli import main


@pytest.mark.parametrize(
    "recipe", [*(f"{name}/fp32" for name in RUNTIMES), "onnxruntime[spinning=0]>mnn/fp32"]
)
def test_a_bundle_of_every_runtime_is_verified(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = shared(case(recipe))
    assert main(["verify", str(bundle.folder), "--fingerprint", bundle.fingerprint.upper()]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("VERIFIED: every file is whole, the answer is ")
    assert "× the card's time" in said[-1]
    headings = [line.split()[0] for line in said[:-1]]
    assert headings == ["bundle", "made", "files", "fingerprint", "agreement", "card", "here"]
    assert "A CPU" in said[5], "the card names the machine that it was measured on"
    assert "1 thread," in said[6]


def test_a_wrong_answer_is_not_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = folder(tmp_path)
    np.save(bundle / "logits.npy", np.load(bundle / "logits.npy")[:, ::-1].copy())
    _rehashed(bundle, "logits.npy")
    assert main(["verify", str(bundle)]) == 1
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("NOT VERIFIED: every file is whole, but the answer is wrong: relative error")
    )


@pytest.mark.parametrize("recipe", ["ncnn/fp32", "mnn/fp32", "openvino/fp32"])
def test_a_network_that_is_garbage_is_contained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    """Rehashed by somebody: native readers may crash on it, in a process that is not ours."""
    bundle = folder(tmp_path, case(recipe))
    for path in sorted((bundle / "network").iterdir()):
        if path.name != "counts.json":
            path.write_bytes(b"\xff\0garbage" * 100)
            _rehashed(bundle, f"network/{path.name}")
    assert main(["verify", str(bundle)]) == 1
    assert "NOT VERIFIED: every file is whole, but " in capsys.readouterr().out


def test_a_runtime_that_is_not_installed_is_no_finding_about_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shared(case("ncnn/fp32")).folder
    monkeypatch.setattr(parts, "find_spec", lambda name: None if name == "ncnn" else object())
    image = photos.default_photos()[0]
    for verb in (["verify", bundle], ["predict", bundle, image, "-o", tmp_path / "out"]):
        assert main([*map(str, verb)]) == 2
        err = capsys.readouterr().err
        assert "uv pip install unetbench[ncnn]" in err
        assert err.count("\n") == 1


def test_another_bundle_and_a_damaged_one_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = folder(tmp_path)
    assert main(["verify", str(bundle), "--fingerprint", "0" * 64]) == 2
    assert "another bundle" in capsys.readouterr().err
    (bundle / "predict.py").write_text("import os")
    assert main(["verify", str(bundle)]) == 2
    err = capsys.readouterr().err
    assert "predict.py is not what was exported" in err
    assert err.count("\n") == 1
