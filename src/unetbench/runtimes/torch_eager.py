"""PyTorch as it comes, under inference mode: the baseline.

`hugepages=1` lets torch ask the kernel for pages of 2 MB, so that a map of tens of megabytes, taken anew by each
operation, costs a few page faults in place of thousands. A process must start with the variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from unetbench.runtimes import Artifact, Inputs, Session
from unetbench.runtimes._torch_session import TorchSession, check_huge_pages, set_threads

PRECISIONS = ("fp32", "bf16")
REQUIRES = ("torch",)
OPTIONS = {"hugepages": ("0", "1")}
ENVIRONMENT = {"hugepages": {"1": {"THP_MEM_ALLOC_ENABLE": "1"}}}
IN_PROCESS = True
KEEPS_LAYOUT = True


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
    """Keep the module as it is; bf16 is autocast around it."""
    return Artifact(precision=precision, options=options, module=model.eval())


def load(artifact: Artifact, *, threads: int) -> Session:
    """Return a session with that many threads."""
    set_threads(threads)
    check_huge_pages(artifact.options)
    return TorchSession(artifact.module, precision=artifact.precision)
