"""torch.compile with Inductor on the whole network; bf16 by autocast around it.

`freezing=1` folds the weights into the compiled code (Inductor's `freezing`), which plain
torch.compile does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unetbench.runtimes import Artifact, Image, Session
from unetbench.runtimes._torch_session import TorchSession, set_threads

PRECISIONS = ("fp32", "bf16")
REQUIRES = ("torch",)
OPTIONS = {"freezing": ("0", "1")}
IN_PROCESS = True


def convert(
    model: nn.Module,
    examples: Sequence[Image],
    *,
    precision: str,
    options: Mapping[str, str],
    folder: Path | None = None,
    calibration: Sequence[Image] | None = None,
) -> Artifact:
    """Keep the module and the examples: the code is made by `load`, which knows the threads."""
    return Artifact(precision=precision, options=options, module=model.eval(), examples=tuple(examples))


def load(artifact: Artifact, *, threads: int) -> Session:
    """Compile for the examples' shape and that many threads, by running the first example."""
    set_threads(threads)
    choices: Any = {"freezing": True} if artifact.options.get("freezing") == "1" else None
    session = TorchSession(torch.compile(artifact.module, options=choices), precision=artifact.precision)
    session.bind(artifact.examples[0])
    session.run()
    return session
