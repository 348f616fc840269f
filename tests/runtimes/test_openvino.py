"""OpenVINO chooses a precision by itself: what it says of it is read back, and another than asked is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unetbench import machine
from unetbench.errors import Unsupported
from unetbench.runtimes import Artifact, openvino

pytest.importorskip("openvino")
IMAGE = np.zeros((1, 3, 16, 16), np.float32)


def _converted(folder: Path, precision: str) -> Artifact:
    return openvino.convert(
        nn.Conv2d(3, 2, 1), (IMAGE,), precision=precision, options={}, threads=1, folder=folder
    )


def test_another_precision_than_asked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = _converted(tmp_path, "fp32")
    assert openvino.load(artifact, threads=1).in_force()["inference precision hint"] == "float32"
    torch.set_flush_denormal(False)
    monkeypatch.setitem(openvino._TOLD, "f32", "bfloat16")
    with pytest.raises(Unsupported, match="computes in float32 here where bfloat16 was asked"):
        openvino.load(artifact, threads=1)


@pytest.mark.skipif(bool(machine.bf16_instructions()), reason="bf16 is computed here")
def test_bf16_that_would_be_fp32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="computes in float32 here where bfloat16 was asked"):
        openvino.load(_converted(tmp_path, "bf16"), threads=1)
