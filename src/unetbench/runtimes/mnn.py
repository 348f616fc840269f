"""MNN on the CPU, from torch's ONNX export; `winograd` is its level of Winograd tiles (3, the largest, its own).

Larger tiles are faster and less exact (docs/folding.md); `winograd=0` has none. MNN's Python tools report
to a server: they are never imported here, only the compiled converter that they wrap.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unetbench.errors import Unsupported
from unetbench.runtimes import Artifact, Image, Inputs, Logits, Session
from unetbench.runtimes._denormals import flush, told
from unetbench.runtimes._names import INPUT, OUTPUT, names

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32",)
REQUIRES = ("MNN", "onnx", "onnxscript")
OPTIONS = {"winograd": ("3", "0", "1", "2")}
IN_PROCESS = False
TRAVELS = ("network.mnn", "counts.json")
SECOND_HALF = True  # its Winograd convolutions suit decoders
DIRECT = {"winograd": "0"}
WORTH_TRYING = {"winograd": ("1", "3")}
_FILE, _COUNTS = "network.mnn", "counts.json"  # of inputs and outputs: MNN asks for their names
_WINOGRAD_LEVEL = 3  # the number of the hint WINOGRAD_MEMORY_LEVEL in MNN's Interpreter::HintMode


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
    """Write the network as ONNX and let MNN's compiled converter read it."""
    from unetbench.runtimes._torch_export import write_onnx

    assert folder is not None
    source = folder / "network.onnx"
    outputs = write_onnx(model, inputs, source)
    (folder / _COUNTS).write_text(json.dumps([len(inputs), outputs]), encoding="ascii")
    with _stdout_aside(folder / "log") as log:
        import _tools

        _tools.mnnconvert(
            [
                "MNNConvert",
                "-f",
                "ONNX",
                "--modelFile",
                str(source),
                "--MNNModel",
                str(folder / _FILE),
                "--bizCode",
                "unetbench",
            ]
        )
    said = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    source.unlink()
    if not (folder / _FILE).is_file():
        raise Unsupported(f"MNN cannot convert this network ({_reason(said)}): use another runtime.")
    return Artifact(precision=precision, options=options, folder=folder)


def load(artifact: Artifact, *, threads: int) -> Session:
    """Read the file and return a session with that many threads."""
    assert artifact.folder is not None
    return _Session(artifact.folder, threads, int(artifact.options.get("winograd", "3")))


class _Session:
    """A module and the inputs bound to it.

    MNN's older sessions plan the input's memory for other maps, so that a second run of the same input
    answers something else; its modules leave the input as it is.
    """

    def __init__(self, folder: Path, threads: int, winograd: int) -> None:
        flush()
        inputs, outputs = json.loads((folder / _COUNTS).read_text(encoding="ascii"))
        with _stdout_aside(None):
            import MNN

            settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
            runtime = MNN.nn.create_runtime_manager((settings,))
            runtime.set_hint(_WINOGRAD_LEVEL, winograd)
            self._module = MNN.nn.load_module_from_file(
                str(folder / _FILE),
                names(INPUT, inputs),
                names(OUTPUT, outputs),
                runtime_manager=runtime,
                shape_mutable=False,
            )
        self._expr, self._threads, self._winograd = MNN.expr, threads, winograd
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        # MNN takes a copy of its own in any case.
        arrays = inputs if shared else [np.array(each, dtype=np.float32, order="C") for each in inputs]
        self._inputs = [self._expr.const(each, list(each.shape), self._expr.NCHW) for each in arrays]

    def run(self) -> None:
        # In the layout that all others answer in.
        outputs = self._module.forward(self._inputs)
        self._outputs = [self._expr.convert(each, self._expr.NCHW) for each in outputs]

    def answers(self) -> tuple[Logits, ...]:
        return tuple(np.asarray(each.read(), np.float32).reshape(each.shape) for each in self._outputs)

    def read(self) -> Logits:
        return self.answers()[0].copy()

    def in_force(self) -> dict[str, str]:
        return {
            "threads": str(self._threads),
            "denormals": told(),
            "winograd": f"{self._winograd}, as asked",
            "precision": "high, as asked",
            "told by it": "nothing: threads too are as asked",
        }


@contextmanager
def _stdout_aside(log: Path | None) -> Iterator[Path]:
    """Send what compiled code prints to a file, or nowhere: stdout is the caller's."""
    sys.stdout.flush()
    kept = os.dup(1)
    place = Path(os.devnull) if log is None else log
    with place.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        try:
            yield place
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "rror" in line or "not support" in line]
    return lines[-1][:150] if lines else "the converter gave no reason"
