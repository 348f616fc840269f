"""One convolution in fp32 and bf16, one product in fp32 and int8: does this machine compute in them, or
emulate them? Runs in a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_CHANNELS, _SIDE = 64, 64  # a U-Net's middle; 0.3 GFLOP: a second even where bf16 is emulated
_PRODUCT = 512  # rows and columns of the product
_LIMIT_S = 1.0  # then the passes so far are enough: emulation alone takes so long
_PASSES = 10  # the best of them: a neighbour slows some


def low_precisions() -> dict[str, Any]:
    """Return the milliseconds of each, after one warm-up. No summary of speed: it tells emulation
    (10 times slower and more) from hardware, nothing finer."""
    import torch

    from unetbench.runtimes._torch_session import set_threads

    set_threads(torch.get_num_threads())
    layer = torch.nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1).eval()
    image = torch.randn(1, _CHANNELS, _SIDE, _SIDE)

    left = torch.randn(_PRODUCT, _PRODUCT)
    bytes_left = torch.ones(_PRODUCT, _PRODUCT, dtype=torch.int8)

    def convolution(bf16: bool) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            layer(image)

    return {
        "fp32_ms": _best_ms(lambda: convolution(False)),
        "bf16_ms": _best_ms(lambda: convolution(True)),
        "fp32_product_ms": _best_ms(lambda: left @ left),
        "int8_product_ms": _best_ms(lambda: torch._int_mm(bytes_left, bytes_left)),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _best_ms(act: Callable[[], object]) -> float:
    import torch

    times: list[float] = []
    with torch.inference_mode():
        while len(times) < 2 or (len(times) <= _PASSES and sum(times) < _LIMIT_S):
            start = time.perf_counter()
            act()
            times.append(time.perf_counter() - start)
    return min(times[1:]) * 1e3
