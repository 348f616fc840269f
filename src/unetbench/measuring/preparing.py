"""What a case needs before it can be measured, made once by a worker: the reference, and the artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from unetbench import parts, photos
from unetbench.errors import StoreError, WorkerLost
from unetbench.measuring import artifacts, reference
from unetbench.measuring.launch import Worker
from unetbench.records import Case

_DISK_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(slots=True, kw_only=True)
class Preparing:
    """Makes references in `work` and artifacts in `cache`, where they are not there yet."""

    work: Path
    cache: Path
    images: Sequence[Path]
    checked_inputs: int
    start_worker: Callable[[Case, float | None], Worker]
    on_phase: Callable[[str], None]
    on_tick: Callable[[], None]
    _digest: str | None = None  # of the photographs, which stay what they are while a session lasts
    # References found whole: they have hundreds of megabytes and are read through once.
    _ready: set[Path] = field(default_factory=set)

    def reference(self, case: Case) -> Path:
        """Return the folder of the network's weights, inputs and answers."""
        folder = self.work / reference.name(
            case, images=self._photographs(), checked_inputs=self.checked_inputs
        )
        if folder not in self._ready or not reference.there(folder):
            if not reference.ready(folder):
                self._ask(case, "reference", folder=str(folder), inputs=self.checked_inputs)
            self._ready.add(folder)
        return folder

    def artifact(self, case: Case, build: int = 0) -> Path | None:
        """Return the folder of what the case's runtime loads; None where it converts in its own process.

        Raises: WorkerLost where it cannot be converted.
        """
        runtimes = [parts.find("runtime", choice.name) for choice in case.recipe.runtimes]
        if all(runtime.constants["IN_PROCESS"] for runtime in runtimes):
            return None
        folder = self.reference(case)
        name = artifacts.key(
            case,
            weights=reference.weights_digest(folder),
            images=self._photographs(),
            build=build,
        )
        place = self.cache / name
        if artifacts.facts(place) is None:
            try:
                self._ask(case, "convert", folder=str(folder), to=str(place))
            finally:
                artifacts.forget_unfinished(place)
            if artifacts.facts(place) is None:
                raise WorkerLost("converting", "crashed", "the artifact was damaged as it was written")
        return place

    def _photographs(self) -> str:
        if self._digest is None:
            self._digest = photos.digest(self.images)
        return self._digest

    def _ask(self, case: Case, do: str, **arguments: Any) -> None:
        worker = self.start_worker(case, None)
        lost: WorkerLost | None = None
        try:
            worker.ask(
                do,
                on_phase=self.on_phase,
                on_tick=self.on_tick,
                case=msgspec.to_builtins(case),
                images=[str(path) for path in self.images],
                **arguments,
            )
        except WorkerLost as error:
            lost = error
            raise
        finally:
            worker.end()
            if lost is not None:
                lost.log = worker.log_tail()


def refuse_full_disk(message: str) -> None:
    """Raise StoreError where a worker's words say that the disk is full: no finding about a case."""
    if any(words in message for words in _DISK_FULL):
        raise StoreError(
            f"the disk is full ({message}): what was shown is stored; make room, "
            "then the same command goes on from there."
        )
