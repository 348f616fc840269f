"""How a bundle's predict.py loads a network into ONNX Runtime."""

from __future__ import annotations

from typing import Any


def load_onnxruntime(folder: Any, threads: int, options: dict[str, str]) -> Any:
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads, chosen.inter_op_num_threads = threads, 1
    chosen.add_session_config_entry("session.intra_op.allow_spinning", options.get("spinning", "1"))
    chosen.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(
        folder / "network.onnx", chosen, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    return lambda values: session.run(None, dict(zip(names, values, strict=True)))
