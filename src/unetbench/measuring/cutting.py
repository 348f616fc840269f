"""A case's network cut into sections, and how long each takes. Runs in a worker.

A runtime with counters of its own tells it as the whole runs. For others each section is converted and timed as a network
of its own: one process builds, cuts and converts; a fresh one loads the sections one after the other and times them, the
whole in turn with them. A runtime that writes nothing has both in the second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from unetbench.errors import Unsupported
from unetbench.measuring import artifacts, conversion, noise, reference
from unetbench.measuring.timing import no_garbage_collection
from unetbench.records import Case, SectionsBy
from unetbench.runtimes import Artifact, Inputs, Session
from unetbench.runtimes._chosen import One, Two, of
from unetbench.runtimes._denormals import flush

_ROUNDS = 3  # the whole and each section, one after the other, so that all have the same minutes
_WARMUPS, _RUNS = 2, 5  # of a round
_LEAST_RUNS, _LIMIT_S = 2, 1.0  # fewer where they take long
_RANGES = 4  # images that int8 takes a section's ranges from: what it costs in time, not how exact it is
_INPUTS = "inputs.npz"

Say = Callable[[Mapping[str, Any]], None]
Load = Callable[[], tuple[Session, Inputs]]
Within = Sequence[Sequence[str]]  # of each section the names of the modules that it is made of


def convert(case: Case, folder: Path, to: Path, say: Say) -> dict[str, Any]:
    """Cut a case's network; what is known of each section is returned.

    Where the runtime does not tell its modules apart, each section is converted into a folder.
    Raises: Unsupported where the network has no encoder and decoder, or the runtime cannot convert a section.
    """
    from unetbench.rewrites import _ghost

    images = reference.images(folder)
    built = conversion.build(case, folder, images[0].shape, say)
    found, within = [], []
    for place, section in enumerate(_cut(case, built.model, images)):
        runtime = _runtime(built.runtime, place)
        made = to / str(place)
        made.mkdir(parents=True)
        counts = _ghost.counts(section.module, *(each.shape for each in section.inputs[0]))
        if not (_in_process(runtime) or _counting(case)):
            say({"phase": f"converting: {section.name}"})
            np.savez(made / _INPUTS, *section.inputs[0])
            with conversion.converting(case, made):
                runtime.convert(
                    section.module,
                    section.inputs[0],
                    precision=case.recipe.precision,
                    threads=case.threads,
                    folder=_empty(made / "converted"),
                    calibration=section.inputs if case.recipe.precision == "int8" else (),
                )
        known = {"flop": counts.flop, "moved_bytes": counts.product_bytes, "note": section.note}
        found.append({"name": section.name, "runtime": str(runtime.choice)} | known)
        within.append(section.within)
    return {"sections": found, "within": within}


def _counting(case: Case) -> One | None:
    """The case's runtime where it tells its network's modules apart by counters of its own."""
    runtime = of(case.recipe)
    return runtime if isinstance(runtime, One) and runtime.counts else None


def timed(
    case: Case, folder: Path, to: Path, artifact: Path | None, within: Within, say: Say
) -> dict[str, Any]:
    """Run the whole and its sections in turn: those that were converted, or by the runtime's own counters. Return raw times.

    Raises: Unsupported where counters find no time in a section.
    """
    flush()  # before any pool starts
    if artifact is not None and (runtime := _counting(case)):
        return _counted(case, runtime, folder, artifact, within, say)
    return _apart(case, folder, to, artifact, say)


def _counted(
    case: Case, runtime: One, folder: Path, artifact: Path, within: Within, say: Say
) -> dict[str, Any]:
    converted, inputs = _artifact(case, artifact), (reference.images(folder)[0],)
    whole: list[int] = []
    sections: list[list[int]] = [[] for _ in within]
    before = noise.counters()
    for number in range(_ROUNDS):
        say({"phase": f"measuring the sections, round {number + 1} of {_ROUNDS}"})
        times = _runs(runtime.load(converted, threads=case.threads), inputs)
        whole += times
        for spent in runtime.profiled(
            converted, threads=case.threads, inputs=inputs, warmups=_WARMUPS, runs=len(times)
        ):
            for section, ns in zip(sections, divided(spent, within), strict=True):
                section.append(ns)
    if min(median(section) for section in sections) <= 0:
        raise Unsupported(
            f"the counters of {runtime.choice} find no time in a section: its operations are too short for them, or have "
            "lost their modules; try larger images."
        )
    return _told("counters", whole, sections, before)


def divided(spent: Mapping[str, int], within: Within) -> list[int]:
    """Return each section's part of what modules took: a module is of the section that names it, or what it is in, closest."""
    found = [0] * len(within)
    for module, ns in spent.items():
        around = {
            len(name): place
            for place, names in enumerate(within)
            for name in names
            if not name or f"{module}.".startswith(f"{name}.")
        }
        found[around[max(around)]] += ns
    return found


def _apart(case: Case, folder: Path, to: Path, artifact: Path | None, say: Say) -> dict[str, Any]:
    """Load the whole and each section that was converted, in turn."""
    images = reference.images(folder)
    loads = _live(case, folder, say) if artifact is None else _written(case, to, artifact, images[0])
    times: list[list[int]] = [[] for _ in loads]
    before = noise.counters()
    for number in range(_ROUNDS):
        say({"phase": f"measuring the sections, round {number + 1} of {_ROUNDS}"})
        for place, load in enumerate(loads):
            times[place] += _runs(*load())
    return _told("cuts", times[0], times[1:], before)


def _told(
    by: SectionsBy, whole: list[int], sections: list[list[int]], before: Mapping[str, int | None]
) -> dict[str, Any]:
    return {
        "by": by, "whole_ns": whole, "sections_ns": sections, "before": before, "after": noise.counters()
    }  # fmt: skip


def _cut(case: Case, model: Any, images: Sequence[Any]) -> tuple[Any, ...]:
    from unetbench.runtimes._cuts import cut

    count = _RANGES if case.recipe.precision == "int8" and not _counting(case) else 1
    return cut(model, [(image,) for image in images[:count]])


def _runtime(chosen: One | Two, place: int) -> One:
    """The first section is the encoder: of two runtimes it has the first."""
    if isinstance(chosen, One):
        return chosen
    return chosen.encoder if place == 0 else chosen.decoder


def _in_process(runtime: One) -> bool:
    return bool(runtime.part.constants["IN_PROCESS"])


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _written(case: Case, to: Path, artifact: Path, image: Any) -> list[Load]:
    """What another process converted: the whole first, then its sections in order."""
    chosen, converted = of(case.recipe), _artifact(case, artifact)

    def whole() -> tuple[Session, Inputs]:
        return chosen.load(converted, threads=case.threads), (image,)

    def section(place: int) -> tuple[Session, Inputs]:
        made = to / str(place)
        with np.load(made / _INPUTS, allow_pickle=False) as stored:
            inputs = tuple(stored[name] for name in stored.files)
        own = replace(converted, folder=made / "converted")
        return _runtime(chosen, place).load(own, threads=case.threads), inputs

    count = sum(1 for _ in to.iterdir())
    return [whole, *(lambda place=place: section(place) for place in range(count))]


def _artifact(case: Case, folder: Path) -> Artifact:
    """The whole, as another process converted it."""
    if artifacts.facts(folder) is None:
        raise RuntimeError("the artifact is not there, or damaged")
    return Artifact(precision=case.recipe.precision, folder=folder)


def _live(case: Case, folder: Path, say: Say) -> list[Load]:
    """What this process builds and cuts itself."""
    images = reference.images(folder)
    built = conversion.build(case, folder, images[0].shape, say)
    runtime = built.runtime
    networks = [(built.model, (images[0],))]
    networks += [(each.module, each.inputs[0]) for each in _cut(case, built.model, images)]

    def load(model: Any, inputs: Inputs) -> tuple[Session, Inputs]:
        artifact = runtime.convert(model, inputs, precision=case.recipe.precision, threads=case.threads)
        return runtime.load(artifact, threads=case.threads), inputs

    return [lambda model=model, inputs=inputs: load(model, inputs) for model, inputs in networks]  # type: ignore[misc]


def _runs(session: Session, inputs: Inputs) -> list[int]:
    """Return the raw times of one round; the session, and its threads, go with it."""
    session.bind(*inputs)
    times: list[int] = []
    with no_garbage_collection():
        for _ in range(_WARMUPS):
            session.run()
        while len(times) < _LEAST_RUNS or (len(times) < _RUNS and sum(times) < _LIMIT_S * 1e9):
            start = time.perf_counter_ns()
            session.run()
            times.append(time.perf_counter_ns() - start)
    return times
