"""One convolution in fp32 and in bf16: does this machine compute in bf16, or emulate it? Runs in a worker."""

from __future__ import annotations

import time
from typing import Any

_CHANNELS, _SIDE = 64, 64  # a U-Net's middle; 0.3 GFLOP: a second even where bf16 is emulated
_LIMIT_S = 1.0  # then the passes so far are enough: emulation alone takes so long
_PASSES = 10  # the best of them: a neighbour slows some


def bf16_against_fp32() -> dict[str, Any]:
    """Return the milliseconds of one convolution in both, after one warm-up each. No summary of speed:
    it tells emulation (10 times slower and more) from hardware, nothing finer."""
    import torch

    from unetbench.runtimes._torch_session import set_threads

    set_threads(torch.get_num_threads())
    layer = torch.nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1).eval()
    image = torch.randn(1, _CHANNELS, _SIDE, _SIDE)

    def best_ms(bf16: bool) -> float:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            times: list[float] = []
            while len(times) < 2 or (len(times) <= _PASSES and sum(times) < _LIMIT_S):
                start = time.perf_counter()
                layer(image)
                times.append(time.perf_counter() - start)
        return min(times[1:]) * 1e3

    return {
        "fp32_ms": best_ms(False),
        "bf16_ms": best_ms(True),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
