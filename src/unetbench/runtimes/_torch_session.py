"""The session that the torch runtimes share: tensors in, inference mode, NumPy out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unetbench.errors import BadInput
from unetbench.runtimes import Image, Logits

_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # which torch reads when it first takes memory
_SMALLEST_DENORMAL = 1e-45  # rounds to 2**-149, the least float32 above zero


def set_threads(threads: int) -> None:
    """Give torch its threads and flush denormals in them; call it before anything is computed.

    Worker threads copy the flag from the thread that starts them.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)


def check_huge_pages(options: Mapping[str, str]) -> None:
    """Refuse the option where the process was not started with what torch reads when it first takes memory.

    Raises: BadInput.
    """
    if options.get("hugepages") == "1" and f"{_HUGE_PAGES}=1".encode() not in _started_with():
        raise BadInput(f"hugepages=1 needs a process that was started with {_HUGE_PAGES}=1: start Python so.")


def _started_with() -> list[bytes]:
    """The variables that this process had when it began: setting one later tells torch nothing."""
    try:
        return Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _huge_bytes() -> str:
    """How much of this process's memory lies in huge pages, as the kernel tells."""
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"^AnonHugePages:\s*(\d+) kB", rollup, re.MULTILINE)
    return f"{int(found[1]) >> 10} MiB" if found else "unknown"


class TorchSession:
    """A torch callable bound to its inputs."""

    def __init__(self, model: Callable[..., Any], *, precision: str) -> None:
        self._model = model
        self._bf16 = precision == "bf16"
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        tensors = map(torch.from_numpy, inputs)
        self._inputs = tuple(tensors if shared else (tensor.clone() for tensor in tensors))

    def run(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._bf16:
                stack.enter_context(torch.autocast(device_type="cpu", dtype=torch.bfloat16))
            answer = self._model(*self._inputs)
            self._outputs = (answer,) if isinstance(answer, Tensor) else tuple(answer)

    def answers(self) -> tuple[Logits, ...]:
        return tuple(output.float().contiguous().numpy() for output in self._outputs)

    def read(self) -> Logits:
        return self.answers()[0].copy()

    def in_force(self) -> dict[str, str]:
        flushed = (torch.full((4,), _SMALLEST_DENORMAL) * 1.0).sum().item() == 0.0
        return {
            "threads": str(torch.get_num_threads()),
            "denormals": "flushed" if flushed else "kept",
            "output": ", ".join(sorted({str(each.dtype).removeprefix("torch.") for each in self._outputs})),
            "cpu capability": torch.backends.cpu.get_cpu_capability(),
            "in huge pages": _huge_bytes(),
        }
