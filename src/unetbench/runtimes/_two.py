"""Two sessions as one: the encoder's, then the decoder's.

The features go over as the arrays that the first has written, without a copy where both allow it; the
hand-over is part of the run.
"""

from __future__ import annotations

from unetbench.runtimes import Image, Logits, Session


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
        found = {"encoder": self._encoder.in_force(), "decoder": self._decoder.in_force()}
        alike = set.intersection(*(set(said.items()) for said in found.values()))
        own = {f"{half} {name}": value for half, said in found.items() for name, value in said.items()
               if (name, value) not in alike}  # fmt: skip
        return dict(sorted(alike)) | own
