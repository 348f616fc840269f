"""How a bundle's predict.py loads a network into ncnn."""

from __future__ import annotations

from typing import Any

import numpy as np


def load_ncnn(folder: Any, threads: int, options: dict[str, str]) -> Any:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_winograd_convolution = options.get("winograd", "1") != "0"
    net.opt.use_winograd63_convolution = options.get("winograd", "1") == "1"
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "vulkan_compute"):
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(folder / "network.param")) or net.load_model(str(folder / "network.bin")):
        raise SystemExit("ncnn cannot read the network of this bundle")

    # In the order of their numbers: ncnn tells them as its layers come, and inputs that nothing reads as outputs, too.
    inputs = sorted(net.input_names(), key=lambda name: int(name[2:]))  # in0
    outputs = sorted({*net.output_names()} - {*inputs}, key=lambda name: int(name[3:]))  # out0

    def run(values: list[Any]) -> list[Any]:
        extractor = net.create_extractor()
        for name, value in zip(inputs, values, strict=True):
            extractor.input(name, ncnn.Mat(value[0]).clone())
        return [np.array(extractor.extract(name)[1])[None] for name in outputs]

    return run
