"""Two runtimes for one network: one runs the encoder, the other the decoder and the head.

The features go over as the arrays that the first has written, without a copy where both allow it; the
hand-over is part of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetbench.runtimes import Artifact, Image, Inputs, Logits, Session

if TYPE_CHECKING:
    from torch import nn

HALVES = ("encoder", "decoder")  # the folders of their artifacts


def convert(
    model: nn.Module,
    inputs: Inputs,
    *,
    runtimes: Sequence[Any],
    precision: str,
    threads: int,
    folder: Path,
    calibration: Sequence[Inputs] = (),
) -> None:
    """Convert each half of a Segmenter for its runtime; the second takes what torch's encoder answers."""
    import torch

    from unetbench.runtimes._halves import Back, Front

    front = Front(model)

    def features(images: Inputs) -> Inputs:
        with torch.inference_mode():
            return tuple(each.contiguous().numpy() for each in front(torch.from_numpy(images[0])))

    given = (inputs, features(inputs))
    ranges = (tuple(calibration), tuple(map(features, calibration)))
    halves = (front, Back(model, inputs[0].shape[-2:]))
    for index, runtime in enumerate(runtimes):
        (folder / HALVES[index]).mkdir()
        runtime.convert(
            halves[index],
            given[index],
            precision=precision,
            threads=threads,
            folder=folder / HALVES[index],
            calibration=ranges[index],
        )


class TwoSessions:
    """The encoder's session and the decoder's, run one after the other."""

    def __init__(self, encoder: Session, decoder: Session) -> None:
        self._encoder, self._decoder = encoder, decoder

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        self._encoder.bind(*inputs, shared=shared)

    def run(self) -> None:
        self._encoder.run()
        self._decoder.bind(*self._encoder.answers(), shared=True)
        self._decoder.run()

    def answers(self) -> tuple[Logits, ...]:
        return self._decoder.answers()

    def read(self) -> Logits:
        return self._decoder.read()

    def in_force(self) -> dict[str, str]:
        """What both say alike once, the rest under the name of the half."""
        found = dict(zip(HALVES, (self._encoder.in_force(), self._decoder.in_force()), strict=True))
        alike = set.intersection(*(set(said.items()) for said in found.values()))
        own = {f"{half} {name}": value for half, said in found.items() for name, value in said.items()
               if (name, value) not in alike}  # fmt: skip
        return dict(sorted(alike)) | own


def artifact(whole: Artifact, half: str) -> Artifact:
    """Return a half of an artifact."""
    assert whole.folder is not None
    return Artifact(precision=whole.precision, folder=whole.folder / half)
