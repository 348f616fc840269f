"""OpenVINO on the CPU, from torch's ONNX export; bf16 by precision hint, int8 by NNCF on real images."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unetbench import machine
from unetbench.errors import MissingPackage, Unsupported
from unetbench.runtimes import Artifact, Image, Inputs, Logits, Session
from unetbench.runtimes._denormals import flush, told
from unetbench.runtimes._names import by_module

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "bf16", "int8")
REQUIRES = ("openvino", "onnx", "onnxscript")
REQUIRES_FOR = {"int8": ("nncf",)}
OPTIONS: dict[str, tuple[str, ...]] = {}
IN_PROCESS = False
TRAVELS = ("network.xml", "network.bin")  # the compiled blob is for this CPU and this version alone
FIRST_HALF: dict[str, str] = {}
DIRECT: dict[str, str] = {}
_FILE, _COMPILED = "network.xml", "compiled.blob"
_FUSED = "originalLayersNames"
_HINT = "INFERENCE_PRECISION_HINT"
_TOLD = {"f32": "float32", "bf16": "bfloat16"}  # what it says when it is asked back
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised


def convert(
    model: nn.Module,
    inputs: Inputs,
    *,
    precision: str,
    options: Mapping[str, str],
    threads: int,
    folder: Path | None = None,
    calibration: Sequence[Inputs] = (),
) -> Artifact:
    """Write OpenVINO's own files and what it compiles from them, which loading then need not do."""
    from unetbench.runtimes._torch_export import write_onnx

    assert folder is not None
    openvino = _openvino()
    source = folder / "network.onnx"
    write_onnx(model, inputs, source)
    network = openvino.convert_model(source)
    if precision == "int8":
        network = _quantised(network, calibration or [inputs])
    openvino.save_model(network, folder / _FILE, compress_to_fp16=False)
    source.unlink()
    compiled = openvino.Core().compile_model(network, "CPU", _settings(precision, threads))
    (folder / _COMPILED).write_bytes(bytes(compiled.export_model().getbuffer()))
    return Artifact(precision=precision, options=options, folder=folder)


def load(artifact: Artifact, *, threads: int) -> Session:
    """Read what was compiled for latency with that many threads; compile it where the blob has not travelled.

    OpenVINO's own cache is of no use here: it goes by the file's path, which changes as an artifact is sealed.
    """
    assert artifact.folder is not None
    return _Session(artifact.folder, _settings(artifact.precision, threads))


def profiled(
    artifact: Artifact, *, threads: int, inputs: Inputs, warmups: int, runs: int
) -> list[dict[str, int]]:
    """Run with OpenVINO's own counters on; return how long each module took in each run after the warm-ups. Units: ns."""
    assert artifact.folder is not None
    session = _Session(artifact.folder, _settings(artifact.precision, threads) | {"PERF_COUNT": True})
    session.bind(*inputs)
    found: list[dict[str, int]] = []
    before: dict[str, int] = {}
    for count in range(1, warmups + runs + 1):
        session.run()
        # It tells of each operation the mean of all its runs, in whole microseconds: a run's time is as many of them off, at most.
        total = {name: mean * count for name, mean in session.means().items()}
        found.append(
            by_module((session.named.get(name, [name]), total[name] - before.get(name, 0)) for name in total)
        )
        before = total
    return found[warmups:]


def _settings(precision: str, threads: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        _HINT: _HINTS[precision],
        "CPU_DENORMALS_OPTIMIZATION": True,
    }


class _Session:
    """A compiled model with one request."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        flush()
        core, compiled = _openvino().Core(), folder / _COMPILED
        if compiled.is_file():
            self._model = core.import_model(compiled.read_bytes(), "CPU", settings)
        else:
            self._model = core.compile_model(folder / _FILE, "CPU", settings)
        # By itself it turns to bf16 where the CPU has it, and to fp32 where it has not.
        asked, in_force = settings[_HINT], _written(self._model.get_property(_HINT))
        if in_force != _TOLD[asked]:
            raise Unsupported(
                f"OpenVINO computes in {in_force} here where {_TOLD[asked]} was asked: use another precision."
            )
        self._request = self._model.create_infer_request()
        # The input's own memory, from before the first bind that shares another's.
        self._own = [self._request.get_input_tensor(index) for index in range(len(self._model.inputs))]

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        self._shared = inputs if shared else ()  # OpenVINO knows their memory, and does not keep them alive
        for index, (own, array) in enumerate(zip(self._own, inputs, strict=True)):
            tensor = _openvino().Tensor(array, shared_memory=True) if shared else own
            if not shared:
                own.data[:] = array
            self._request.set_input_tensor(index, tensor)

    def run(self) -> None:
        self._request.infer()

    def answers(self) -> tuple[Logits, ...]:
        return tuple(self._request.get_output_tensor(i).data for i in range(len(self._model.outputs)))

    def read(self) -> Logits:
        answer: Logits = self.answers()[0].astype(np.float32)
        return answer

    def means(self) -> dict[str, int]:
        """Return how long each compiled operation took, in order: the mean of the runs so far. Counters must be on. Units: ns."""
        return {
            each.node_name: round(each.real_time.total_seconds() * 1e9)
            for each in self._request.profiling_info
            if each.status == each.Status.EXECUTED
        }

    @cached_property
    def named(self) -> dict[str, list[str]]:
        """By the name of each operation that was compiled, those of what was fused into it, its own kernel's first."""
        compiled = self._model.get_runtime_model().get_ordered_ops()
        fused = {op.get_friendly_name(): op.get_rt_info() for op in compiled}
        return {name: info[_FUSED].astype(str).split(",") for name, info in fused.items() if _FUSED in info}

    def in_force(self) -> dict[str, str]:
        asked = ("PERFORMANCE_HINT", _HINT, "NUM_STREAMS", "ENABLE_CPU_PINNING")
        told_by_it = {
            name.lower().replace("_", " "): _written(self._model.get_property(name)) for name in asked
        }
        threads = str(self._model.get_property("INFERENCE_NUM_THREADS"))
        return {"threads": threads, "denormals": told()} | told_by_it


def _written(value: Any) -> str:
    """Write a property as a person would: a type of numbers by its name."""
    return re.sub(r"<Type: '(\w+)'>", r"\1", str(value))


def _openvino() -> Any:
    """Import OpenVINO without its telemetry client: what cannot be imported cannot report."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _quantised(network: Any, images: Sequence[Inputs]) -> Any:
    try:
        import nncf
    except ImportError as error:
        raise MissingPackage(
            "runtime openvino needs nncf for int8: install it with `uv pip install unetbench[nncf]`."
        ) from error
    one_each = [inputs[0] if len(inputs) == 1 else inputs for inputs in images]
    # By itself NNCF leaves half of the range to the first layer's sums alone, which without those instructions is too little.
    fix = nncf.OverflowFix.FIRST_LAYER if machine.multiplies_bytes() else nncf.OverflowFix.ENABLE
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=fix)
    return nncf.quantize(
        network, nncf.Dataset(one_each), subset_size=len(images), advanced_parameters=advanced
    )
