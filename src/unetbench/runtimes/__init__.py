"""Runtimes: what executes a network, one file each.

A file gives `PRECISIONS`, `REQUIRES` (third-party packages; `REQUIRES_FOR`, by precision, what converting needs besides),
`OPTIONS` (accepted values by key, the default first),
`IN_PROCESS` (True where the artifact lives in memory, so that one process converts and loads),
`convert(model, inputs, *, precision, options, threads, folder, calibration) -> Artifact` and
`load(artifact, *, threads) -> Session`. `inputs` are an example: one array for each argument of the
network's forward. `folder` is an empty one for the files, None where the artifact lives in memory. What `tune` should know stands in `WORTH_TRYING` and `KEEPS_LAYOUT` (candidates.py).
`DIRECT` has the options with which its convolutions multiply as often as is counted: the machine's limit is measured with those.
`COMPILES` is True where converting calls the machine's C++ compiler, whose version is then part of what is converted.
`ENVIRONMENT` has, by option and value, the variables that a process must start with.
`profiled(artifact, *, threads, inputs, warmups, runs) -> [{module: ns}]`, where it has counters of its own, tells how long each
of the network's modules took in each run, "" what is no module's: else the network is cut to know where the time goes.
`TRAVELS` names those of the files that `load` can do with alone, on any machine; without it the network cannot be exported.
`calibration` are the real inputs that int8 takes its ranges from. Only the torch
runtimes need torch to load; conversion may use it, so it is imported inside.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unetbench import machine, parts
from unetbench.errors import BadInput, unknown
from unetbench.records import SMALLEST_SIDE_PX, Choice

if TYPE_CHECKING:
    from torch import nn

Image = NDArray[np.float32]
Inputs = tuple[Image, ...]  # of one run
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A converted network: files in a folder of its own, or, of an in-process runtime, a live module."""

    precision: str
    options: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    module: Any = None


class Session(Protocol):
    """A loaded network: bind an image, run it (this alone is timed), read the answer."""

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        """Take the inputs into the runtime's own layout: an image, or the features of a half network.

        With `shared` they belong to it until the next bind, and are not copied where the runtime can do without.
        Shapes: (B, C, H, W), normalised.
        """

    def run(self) -> None:
        """Compute the bound inputs' answer and keep it."""

    def answers(self) -> tuple[Logits, ...]:
        """Return all that the last run answered, without a copy where possible: the next run may overwrite it."""

    def read(self) -> Logits:
        """Return the last answer, the reader's own. Shapes: (B, classes, H, W)."""

    def in_force(self) -> dict[str, str]:
        """Return the options as the runtime itself reports them, threads among them."""


def prepare(
    model: nn.Module,
    image: Image,
    *,
    runtime: str = "torch_eager",
    precision: str = "fp32",
    threads: int | None = None,
) -> Session:
    """Convert a network for a runtime, load it and bind an image.

    `runtime` takes options as recipes do: `torch_compile[freezing=1]`. The torch runtimes set torch's
    number of threads and flush denormals for the calling process, as a measurement does.
    Shapes: image (B, C, H, W), float32, normalised.
    A network in training is left so: a copy in evaluation runs.
    Raises: BadInput for an unknown runtime or precision or a wrong image; MissingPackage.
    """
    choice = Choice.parse(runtime)
    part = parts.chosen("runtime", choice)
    if precision not in part.constants["PRECISIONS"]:
        raise unknown(
            "precision", precision, part.constants["PRECISIONS"], f"That is what {choice.name} has."
        )
    image = np.ascontiguousarray(image)  # a view may run backwards, as of channels in another order
    if image.ndim != 4 or image.dtype != np.float32 or min(image.shape[2:]) < SMALLEST_SIDE_PX:
        raise BadInput(
            f"image of shape {image.shape} and type {image.dtype} is not accepted: give float32 "
            f"(B, C, H, W) with sides of at least {SMALLEST_SIDE_PX}, normalised."
        )
    module = part.module()
    folder = None if module.IN_PROCESS else Path(mkdtemp(prefix="unetbench-"))
    threads = machine.threads_or_granted(threads)
    if any(each.training for each in model.modules()):
        model = deepcopy(model).eval()
    try:
        artifact = module.convert(
            model, (image,), precision=precision, options=dict(choice.options), threads=threads, folder=folder
        )
        session: Session = module.load(artifact, threads=threads)
    except BaseException:
        _remove(folder)
        raise
    weakref.finalize(session, _remove, folder)  # some read their files as long as they live
    session.bind(image)
    return session


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
