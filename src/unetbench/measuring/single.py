"""One case outside any sweep: prepared for a bundle, and measured alone as the quick preset does.

It stores nothing: whoever asks keeps what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetbench import parts
from unetbench.measuring import artifacts, block
from unetbench.measuring.preparing import Preparing
from unetbench.measuring.preset import QUICK
from unetbench.measuring.session import installed, worker_starter
from unetbench.records import Case, Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The folders of a case's reference and of its artifact."""

    reference: Path
    artifact: Path


def prepared(case: Case, images: Sequence[Path], work: Path, on_phase: Callable[[str], None]) -> Prepared:
    """Make a case's reference in `work`, and its artifact where it is not known yet.

    Raises: WorkerLost where the network cannot be converted; BadInput where a package is not installed.
    """
    _refuse_missing(case, case.recipe.precision)
    cache = artifacts.cache_folder()
    artifacts.prune(cache)
    preparing = Preparing(
        work=work,
        cache=cache,
        images=images,
        checked_inputs=QUICK.checked_inputs,
        start_worker=worker_starter(work, QUICK.case_limit_s),
        on_phase=on_phase,
        on_tick=lambda: None,
    )
    reference = preparing.reference(case)
    artifact = preparing.artifact(case)
    assert artifact is not None, "a runtime that keeps its network in memory is refused before"
    return Prepared(reference=reference, artifact=artifact)


def measured(
    case: Case, folder: Path, artifact: Path, scratch: Path, on_phase: Callable[[str], None]
) -> Measurement:
    """Measure what was converted, in a fresh process that is alone.

    Raises: WorkerLost where it does not load, crashes, or answers wrongly; BadInput where a package is not installed.
    """
    _refuse_missing(case)
    worker = worker_starter(scratch, QUICK.case_limit_s)(case)
    try:
        return block.measure(worker, case, folder, artifact, QUICK, on_phase=on_phase)
    finally:
        worker.end()


def _refuse_missing(case: Case, precision: str | None = None) -> None:
    """Refuse a runtime that is not installed; with a precision, also what converting in it needs."""
    for choice in case.recipe.runtimes:
        installed(parts.find("runtime", choice.name), precision)
