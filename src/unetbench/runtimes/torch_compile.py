"""Inductor, torch.compile's compiler, ahead of time: a package that later processes load; bf16 by autocast.

`freezing=1` folds the weights into the compiled code (Inductor's `freezing`), which plain torch.compile
does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unetbench.runtimes import Artifact, Inputs, Session
from unetbench.runtimes._torch_session import TorchSession, set_threads

PRECISIONS = ("fp32", "bf16")
REQUIRES = ("torch",)
OPTIONS = {"freezing": ("0", "1")}
IN_PROCESS = False
KEEPS_LAYOUT = True
WORTH_TRYING = {"freezing": ("1",)}
_PACKAGE = "package.pt2"


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
    """Compile for the inputs' shapes and that many threads into a package in the folder."""
    assert folder is not None
    set_threads(threads)
    tensors = tuple(map(torch.from_numpy, inputs))
    with torch.no_grad():
        program = torch.export.export(_Cast(model).eval() if precision == "bf16" else model.eval(), tensors)
        choices: dict[str, Any] = {"freezing": True} if options.get("freezing") == "1" else {}
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(folder / _PACKAGE), inductor_configs=choices
        )
    return Artifact(precision=precision, options=options, folder=folder)


def load(artifact: Artifact, *, threads: int) -> Session:
    """Load the package. It holds machine code: only from a folder that nobody else can write."""
    assert artifact.folder is not None
    set_threads(threads)
    package: Any = torch._inductor.aoti_load_package(str(artifact.folder / _PACKAGE))
    return TorchSession(package, precision="fp32")  # what autocast does is in the code


class _Cast(nn.Module):
    """A network under autocast, so that its casts are part of the exported program."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
            return self.model(*inputs)
