"""OpenVINO on the CPU, from torch's ONNX export; bf16 by precision hint, int8 by NNCF on real images."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unetbench.errors import MissingPackage
from unetbench.runtimes import Artifact, Image, Logits, Session
from unetbench.runtimes._denormals import flush, told

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "bf16", "int8")
REQUIRES = ("openvino", "onnx", "onnxscript")
OPTIONS: dict[str, tuple[str, ...]] = {}
IN_PROCESS = False
_FILE, _CACHE = "network.xml", "cache"
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised


def convert(
    model: nn.Module,
    examples: Sequence[Image],
    *,
    precision: str,
    options: Mapping[str, str],
    threads: int,
    folder: Path | None = None,
    calibration: Sequence[Image] = (),
) -> Artifact:
    """Write OpenVINO's own files, and compile once so that loading finds a model cache."""
    from unetbench.runtimes._torch_export import write_onnx

    assert folder is not None
    openvino = _openvino()
    source = folder / "network.onnx"
    write_onnx(model, examples[0], source)
    network = openvino.convert_model(source)
    if precision == "int8":
        network = _quantised(network, calibration or examples)
    openvino.save_model(network, folder / _FILE, compress_to_fp16=False)
    source.unlink()
    artifact = Artifact(precision=precision, options=options, folder=folder)
    load(artifact, threads=threads)
    return artifact


def load(artifact: Artifact, *, threads: int) -> Session:
    """Compile for latency with that many threads, or take it from the cache beside the network."""
    assert artifact.folder is not None
    return _Session(artifact.folder, threads, _HINTS[artifact.precision])


class _Session:
    """A compiled model with one request; the input is its own copy."""

    def __init__(self, folder: Path, threads: int, hint: str) -> None:
        flush()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": hint,
            "CPU_DENORMALS_OPTIMIZATION": True,
            "CACHE_DIR": str(folder / _CACHE),
        }
        self._model = _openvino().Core().compile_model(folder / _FILE, "CPU", settings)
        self._request = self._model.create_infer_request()
        self._input = self._request.get_input_tensor()

    def bind(self, image: Image) -> None:
        self._input.data[:] = image

    def run(self) -> None:
        self._request.infer()

    def read(self) -> Logits:
        answer: Logits = self._request.get_output_tensor().data.astype(np.float32)
        return answer

    def in_force(self) -> dict[str, str]:
        asked = ("PERFORMANCE_HINT", "INFERENCE_PRECISION_HINT", "NUM_STREAMS", "ENABLE_CPU_PINNING")
        told_by_it = {name.lower().replace("_", " "): str(self._model.get_property(name)) for name in asked}
        threads = str(self._model.get_property("INFERENCE_NUM_THREADS"))
        return {"threads": threads, "denormals": told()} | told_by_it


def _openvino() -> Any:
    """Import OpenVINO without its telemetry client: what cannot be imported cannot report."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _quantised(network: Any, images: Sequence[Image]) -> Any:
    try:
        import nncf
    except ImportError as error:
        raise MissingPackage(
            "runtime openvino needs nncf for int8: install it with `uv pip install unetbench[nncf]`."
        ) from error
    return nncf.quantize(network, nncf.Dataset(list(images)), subset_size=len(images))
