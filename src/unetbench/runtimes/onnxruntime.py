"""ONNX Runtime on the CPU, from torch's ONNX export; int8 by static QDQ quantisation on real images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from unetbench import machine
from unetbench.runtimes import Artifact, Image, Inputs, Logits, Session
from unetbench.runtimes._denormals import flush, told
from unetbench.runtimes._names import INPUT, by_module, names

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "int8")
REQUIRES = ("onnxruntime", "onnx", "onnxscript")
OPTIONS = {"spinning": ("1", "0")}  # threads that wait for work turn in a loop, or sleep
IN_PROCESS = False
TRAVELS = ("network.onnx",)
FIRST_HALF = {"spinning": "0"}  # its threads would turn beside those of the second runtime
DIRECT: dict[str, str] = {}
_FILE = "network.onnx"
_KERNEL = "_kernel_time"  # how the events of operations end


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
    """Write the network as ONNX, quantised where int8 is asked for."""
    from unetbench.runtimes._torch_export import write_onnx

    assert folder is not None
    path = folder / _FILE
    write_onnx(model, inputs, path)
    if precision == "int8":
        _quantise(path, calibration or [inputs])
    return Artifact(precision=precision, options=options, folder=folder)


def load(artifact: Artifact, *, threads: int) -> Session:
    """Optimise the graph and return a session with that many threads."""
    assert artifact.folder is not None
    return _Session(artifact.folder / _FILE, threads, artifact.options.get("spinning", "1"))


def profiled(
    artifact: Artifact, *, threads: int, inputs: Inputs, warmups: int, runs: int
) -> list[dict[str, int]]:
    """Run with ONNX Runtime's own profiler on; return how long each module took in each run after the warm-ups. Units: ns."""
    assert artifact.folder is not None
    spinning = artifact.options.get("spinning", "1")
    with TemporaryDirectory() as place:
        session = _Session(artifact.folder / _FILE, threads, spinning, profile=Path(place) / "profile")
        session.bind(*inputs)
        for _ in range(warmups + runs):
            session.run()
        events = json.loads(session.profile().read_text(encoding="utf-8"))
    found: list[dict[str, int]] = []
    ran: list[tuple[list[str], int]] = []
    for event in events:
        if event["name"].endswith(_KERNEL):
            # Back into the usual layout: of what has just run, where other changes of layout are of what follows.
            back = event["args"]["op_name"] == "ReorderOutput" and ran
            ran.append((ran[-1][0] if back else [event["name"]], event["dur"] * 1000))
        elif event["name"] == "model_run":
            found.append(by_module(ran))
            ran = []
    return found[warmups:]


class _Session:
    """An ONNX Runtime session with bound inputs and outputs, which are arrays of our own."""

    def __init__(self, path: Path, threads: int, spinning: str, *, profile: Path | None = None) -> None:
        import onnxruntime as ort

        flush()
        ort.disable_telemetry_events()
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._options.log_severity_level = 3
        self._options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        self._options.add_session_config_entry("session.set_denormal_as_zero", "1")
        if profile is not None:
            self._options.enable_profiling = True
            self._options.profile_file_prefix = str(profile)
        self._ort = ort
        self._session = ort.InferenceSession(path, self._options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._binding = self._session.io_binding()
        self._answers = tuple(np.empty(each.shape, np.float32) for each in self._session.get_outputs())
        for output, array in zip(self._session.get_outputs(), self._answers, strict=True):
            self._binding.bind_ortvalue_output(output.name, ort.OrtValue.ortvalue_from_numpy(array))

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        # ORT keeps none of them alive.
        self._bound = inputs if shared else tuple(each.copy() for each in inputs)
        for name, array in zip(self._inputs, self._bound, strict=True):
            value = self._ort.OrtValue.ortvalue_from_numpy(array)
            self._binding.bind_ortvalue_input(name, value)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def answers(self) -> tuple[Logits, ...]:
        return self._answers

    def read(self) -> Logits:
        return self._answers[0].copy()

    def profile(self) -> Path:
        """End the profile and return its file."""
        return Path(self._session.end_profiling())

    def in_force(self) -> dict[str, str]:
        options = self._session.get_session_options()
        return {
            "threads": str(options.intra_op_num_threads),
            "denormals": told(),
            "spinning": options.get_session_config_entry("session.intra_op.allow_spinning"),
            "optimisation": str(options.graph_optimization_level).rpartition(".")[2],
            "provider": ", ".join(self._session.get_providers()),
        }


def _quantise(path: Path, images: Sequence[Inputs]) -> None:
    """Replace the file by one whose convolutions multiply bytes; ranges come from the images."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_name("prepared.onnx")
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    q.quantize_static(
        prepared,
        path,
        _Reader(images),
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        weight_type=q.QuantType.QInt8,
        activation_type=q.QuantType.QUInt8,
        reduce_range=not machine.multiplies_bytes(capped=False),  # its kernels are not oneDNN's
    )
    prepared.unlink()


class _Reader:
    """Hands images out one by one, as the quantiser asks for them."""

    def __init__(self, images: Sequence[Inputs]) -> None:
        self._left: Iterator[dict[str, Any]] = (
            dict(zip(names(INPUT, len(inputs)), inputs, strict=True)) for inputs in images
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)
