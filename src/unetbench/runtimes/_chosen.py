"""What a recipe runs a network with: a runtime with its options, or two of them, behind the same two calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unetbench import parts
from unetbench.records import Choice, Recipe
from unetbench.runtimes import Artifact, Inputs, Session
from unetbench.runtimes._two import TwoSessions

if TYPE_CHECKING:
    from torch import nn

HALVES = ("encoder", "decoder")  # the folders of two runtimes' artifacts


@dataclass(frozen=True, slots=True)
class One:
    """A runtime with its options."""

    choice: Choice

    def convert(self, model: nn.Module, inputs: Inputs, **asked: Any) -> Artifact:
        """Convert a network as the runtime's own `convert` does, with the options of the choice."""
        artifact: Artifact = self._module.convert(model, inputs, options=dict(self.choice.options), **asked)
        return artifact

    def load(self, artifact: Artifact, *, threads: int) -> Session:
        """Load what was converted, by this process or another."""
        session: Session = self._module.load(self._own(artifact), threads=threads)
        return session

    @property
    def counts(self) -> bool:
        """Whether the runtime has counters of its own, which tell a network's modules apart."""
        return hasattr(self._module, "profiled")

    def profiled(self, artifact: Artifact, **asked: Any) -> list[dict[str, int]]:
        """Run what was converted with the runtime's counters on: the time of each module in each run. Units: ns."""
        found: list[dict[str, int]] = self._module.profiled(self._own(artifact), **asked)
        return found

    def _own(self, artifact: Artifact) -> Artifact:
        return replace(artifact, options=dict(self.choice.options))

    @property
    def part(self) -> parts.Part:
        """The runtime as its file tells it."""
        return parts.find("runtime", self.choice.name)

    @property
    def _module(self) -> ModuleType:
        return self.part.module()


@dataclass(frozen=True, slots=True)
class Two:
    """The encoder's runtime and the decoder's."""

    encoder: One
    decoder: One

    def convert(
        self,
        model: nn.Module,
        inputs: Inputs,
        *,
        precision: str,
        folder: Path | None = None,
        calibration: Sequence[Inputs] = (),
        **asked: Any,
    ) -> Artifact:
        """Convert each half of a Segmenter into its folder; the second takes what torch's encoder answers."""
        from unetbench.runtimes._halves import Back, Front

        assert folder is not None
        front = Front(model)
        back = Back(model, inputs[0].shape[-2:])
        features = tuple(map(front.features, calibration))
        for half, runtime, module, given, ranges in (
            (HALVES[0], self.encoder, front, inputs, calibration),
            (HALVES[1], self.decoder, back, front.features(inputs), features),
        ):
            place = folder / half
            place.mkdir()
            runtime.convert(module, given, precision=precision, folder=place, calibration=ranges, **asked)
        return Artifact(precision=precision, folder=folder)

    def load(self, artifact: Artifact, *, threads: int) -> Session:
        """Load both halves."""
        assert artifact.folder is not None
        encoder, decoder = (replace(artifact, folder=artifact.folder / half) for half in HALVES)
        return TwoSessions(
            self.encoder.load(encoder, threads=threads), self.decoder.load(decoder, threads=threads)
        )


def of(recipe: Recipe) -> One | Two:
    """Return what a recipe runs a network with."""
    if recipe.decoder_runtime is None:
        return One(recipe.runtime)
    return Two(One(recipe.runtime), One(recipe.decoder_runtime))
