"""How a bundle's predict.py loads a network into OpenVINO."""

from __future__ import annotations

from typing import Any


def load_openvino(folder: Any, threads: int, options: dict[str, str]) -> Any:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if options["precision"] == "bf16" else "f32",
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    model = openvino.Core().compile_model(folder / "network.xml", "CPU", settings)
    return lambda values: list(model(values).to_tuple())
