"""What a recipe runs a network with: a runtime with its options, or two of them, behind the same two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetbench import parts
from unetbench.records import Choice, Recipe
from unetbench.runtimes import Artifact, Inputs, Session, _two

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class One:
    """A runtime with its options."""

    choice: Choice

    @property
    def in_process(self) -> bool:
        """Whether its artifact lives in memory, so that one process converts and loads."""
        return bool(self._part.constants["IN_PROCESS"])

    def convert(
        self,
        model: nn.Module,
        inputs: Inputs,
        *,
        precision: str,
        threads: int,
        folder: Path | None = None,
        calibration: Sequence[Inputs] = (),
    ) -> Artifact:
        """Convert a network; its files are put in the folder."""
        artifact: Artifact = self._part.module().convert(
            model,
            inputs,
            precision=precision,
            options=self._options,
            threads=threads,
            folder=folder,
            calibration=calibration,
        )
        return artifact

    def load(self, artifact: Artifact, *, threads: int) -> Session:
        """Load what was converted, by this process or another."""
        own = Artifact(
            precision=artifact.precision,
            options=self._options,
            folder=artifact.folder,
            module=artifact.module,
        )
        session: Session = self._part.module().load(own, threads=threads)
        return session

    @property
    def _part(self) -> parts.Part:
        return parts.find("runtime", self.choice.name)

    @property
    def _options(self) -> Mapping[str, str]:
        return dict(self.choice.options)


@dataclass(frozen=True, slots=True)
class Two:
    """The encoder's runtime and the decoder's."""

    encoder: One
    decoder: One
    in_process = False

    def convert(
        self,
        model: nn.Module,
        inputs: Inputs,
        *,
        precision: str,
        threads: int,
        folder: Path | None = None,
        calibration: Sequence[Inputs] = (),
    ) -> Artifact:
        """Convert each half of a network into a folder of its own within the folder."""
        assert folder is not None
        both: Any = (self.encoder, self.decoder)
        _two.convert(
            model,
            inputs,
            runtimes=both,
            precision=precision,
            threads=threads,
            folder=folder,
            calibration=calibration,
        )
        return Artifact(precision=precision, folder=folder)

    def load(self, artifact: Artifact, *, threads: int) -> Session:
        """Load both halves."""
        first, second = (_two.artifact(artifact, half) for half in _two.HALVES)
        return _two.TwoSessions(
            self.encoder.load(first, threads=threads), self.decoder.load(second, threads=threads)
        )


def of(recipe: Recipe) -> One | Two:
    """Return what a recipe runs a network with."""
    if recipe.decoder_runtime is None:
        return One(recipe.runtime)
    return Two(One(recipe.runtime), One(recipe.decoder_runtime))
