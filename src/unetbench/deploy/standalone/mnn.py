"""How a bundle's predict.py loads a network into MNN."""

from __future__ import annotations

import json
from typing import Any

import numpy as np


def load_mnn(folder: Any, threads: int, options: dict[str, str]) -> Any:
    import MNN

    inputs, outputs = json.loads((folder / "counts.json").read_text(encoding="ascii"))
    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
    manager.set_hint(3, int(options.get("winograd", "3")))  # the level of Winograd tiles
    names = [f"input_{index}" for index in range(inputs)], [f"output_{index}" for index in range(outputs)]
    module = MNN.nn.load_module_from_file(
        str(folder / "network.mnn"), *names, runtime_manager=manager, shape_mutable=False
    )

    def run(values: list[Any]) -> list[Any]:
        given = [MNN.expr.const(np.ascontiguousarray(v), list(v.shape), MNN.expr.NCHW) for v in values]
        answers = [MNN.expr.convert(each, MNN.expr.NCHW) for each in module.forward(given)]
        return [np.asarray(each.read(), np.float32).reshape(each.shape) for each in answers]

    return run
