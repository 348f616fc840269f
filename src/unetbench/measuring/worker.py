"""One fresh process that serves turns over a pipe: probe, limits, reference, convert, cut, load, bind, run …

It decides nothing about how long or how often: the parent does. It prints nothing: whatever a library
writes to stdout goes to the log that the parent reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import msgspec
import numpy as np

from unetbench.errors import UnetbenchError, WrongOutput, one_line
from unetbench.measuring import memory, noise, parity, reference, timing
from unetbench.measuring.parity import Floats
from unetbench.records import Case, Parity
from unetbench.runtimes import Image, Logits, Session
from unetbench.runtimes._denormals import flush

_PR_SET_PDEATHSIG: Final = 1  # <sys/prctl.h>
# What allocators say when there is no memory: torch's and C++'s are plain RuntimeErrors.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "Cannot allocate memory")
_MANY = 1_000_000  # runs: the time limit ends a warm-up, not this
_COMPILER_ERRORS = ("torch._dynamo", "torch._inductor")


class Turns:
    """The state between turns: one case's session, its inputs and the answers expected."""

    def __init__(self, say: Callable[[Mapping[str, Any]], None]) -> None:
        self._say = say
        self._session: Session | None = None
        self._bound = 0
        self._next = 0  # of the inputs, over all turns
        self._images: list[Image] = []
        self._answers: Floats = np.empty(0)
        self._first_answers: dict[int, Logits] = {}

    def probe(self) -> dict[str, Any]:
        """Time what is quick in a low precision only where the CPU computes in it."""
        from unetbench.measuring.probe import low_precisions

        return low_precisions()

    def reference(
        self, case: Mapping[str, Any], folder: str, images: list[str], inputs: int
    ) -> dict[str, Any]:
        """Write a network's weights, inputs and fp64 answers."""
        self._say({"phase": "building the reference"})
        paths = [Path(image) for image in images]
        reference.make(msgspec.convert(case, Case), Path(folder), paths, checked_inputs=inputs)
        return {}

    def convert(self, case: Mapping[str, Any], folder: str, to: str, images: list[str]) -> dict[str, Any]:
        """Build, rewrite and convert a case into a folder of its own."""
        from unetbench.measuring import conversion

        first = reference.first_image(Path(folder))
        files = [Path(image) for image in images]
        return conversion.convert(
            msgspec.convert(case, Case), Path(folder), Path(to), first, files, self._say
        )

    def limits(self, threads: int, runtimes: bool) -> dict[str, Any]:
        """Measure what the machine can do at best; what runtimes write lies in the worker's own folder."""
        from unetbench.measuring import limits

        found = limits.measured(threads, Path(mkdtemp()), self._say, runtimes=runtimes)
        answer: dict[str, Any] = msgspec.to_builtins(found)
        return answer

    def cut(self, case: Mapping[str, Any], folder: str, to: str) -> dict[str, Any]:
        """Cut a case's network into sections; convert each into a folder where the runtime cannot tell them apart."""
        from unetbench.measuring import cutting

        return cutting.convert(msgspec.convert(case, Case), Path(folder), Path(to), self._say)

    def time_sections(
        self, case: Mapping[str, Any], folder: str, to: str, artifact: str | None, within: list[list[str]]
    ) -> dict[str, Any]:
        """Time the whole and its sections: those that were converted, or by the runtime's own counters."""
        from unetbench.measuring import cutting

        converted = None if artifact is None else Path(artifact)
        return cutting.timed(
            msgspec.convert(case, Case), Path(folder), Path(to), converted, within, self._say
        )

    def load(self, case: Mapping[str, Any], folder: str, artifact: str | None) -> dict[str, Any]:
        """Load what was converted, or build, rewrite and prepare it here; costs and counts are returned."""
        flush()  # before any pool starts: torch's does as the network is built, and its threads inherit it
        self._case = msgspec.convert(case, Case)
        self._images = reference.images(Path(folder))
        self._answers, self._eager_errors = reference.answers(Path(folder))
        if artifact is None:
            facts, self._session = _prepared(self._case, Path(folder), self._images[0], self._say)
            facts["peak_build_bytes"] -= self._held_bytes()
        else:
            facts, self._session = _loaded(self._case, Path(artifact), self._say)
        return facts

    def bind(self, image: int) -> dict[str, Any]:
        self._bound = image
        self._live.bind(self._images[image])
        return {}

    def run(self, at_least: int, at_most: int, limit_ns: int) -> dict[str, Any]:
        """Run the inputs in turn and return the raw times; the last answers stay readable."""
        with timing.no_garbage_collection():
            before = noise.counters()
            samples = self._timed(at_least, at_most, limit_ns)
            after = noise.counters()
        return {**msgspec.to_builtins(samples), "before": before, "after": after}

    def turn(self, warmup_ns: int, runs: int) -> dict[str, Any]:
        """Warm up for at least one run and that long, then time some runs, without a pause between."""
        with timing.no_garbage_collection():
            before = noise.counters()
            warm = self._timed(1, _MANY, warmup_ns)
            samples = self._timed(runs, runs, 0)
            after = noise.counters()
        return {**msgspec.to_builtins(samples), "before": before, "after": after, "warmup_ns": warm.run_ns}

    def _timed(self, at_least: int, at_most: int, limit_ns: int) -> timing.Samples:
        samples = timing.timed_runs(
            self._live,
            self._images,
            at_least=at_least,
            at_most=at_most,
            limit_ns=limit_ns,
            first=self._next,
            check=self._check_unchanged,
        )
        self._next += len(samples.run_ns)
        self._bound = (self._next - 1) % len(self._images)
        return samples

    def read(self) -> dict[str, Any]:
        """Compare the last answer with the reference's, where that input has one."""
        if self._bound >= len(self._answers):
            self.bind(0)
            self._live.run()
        found, fault = self._compared(self._bound)
        return {"parity": msgspec.to_builtins(found), "fault": fault, "in_force": self._live.in_force()}

    def check(self, inputs: int) -> dict[str, Any]:
        """Run that many inputs again and compare each answer; the first fault is told."""
        compared = []
        for image in range(min(inputs, len(self._answers))):
            self.bind(image)
            self._live.run()
            compared.append(self._compared(image))
        fault = next((fault for _, fault in compared if fault), None)
        found = [each for each, _ in compared if each is not None]
        together = parity.merged(found) if len(found) == len(compared) else None
        return {"parity": msgspec.to_builtins(together), "fault": fault, "in_force": self._live.in_force()}

    def _compared(self, image: int) -> tuple[Parity | None, str | None]:
        expected, answer = self._answers[image], self._live.read()
        comparable = expected.shape == answer.shape and bool((abs(answer) < float("inf")).all())
        found: Parity | None = None
        if comparable:
            found = parity.compare(expected, answer, eager_relative_error=self._eager_errors[image])
        return found, parity.fault(expected, answer, found, self._case.recipe.precision)

    def memory(self, reset: bool) -> dict[str, Any]:
        """Return the peak so far, less what measuring holds; with `reset`, let it start again and say what it will be."""
        held = self._held_bytes()
        peak = {"peak_rss_bytes": memory.peak_rss_bytes() - held, "held_bytes": held}
        return peak | ({"peak_is": memory.reset_peak()} if reset else {})

    def _held_bytes(self) -> int:
        """The inputs, the expected answers and those to compare later runs with: nothing that a case needs by itself.

        They grow with the inputs that a preset checks, and with classes: 16 inputs of 512×512 with 19 classes are a gigabyte.
        """
        arrays = (*self._images, *self._answers, *self._first_answers.values())
        return sum(array.nbytes for array in arrays)

    def _check_unchanged(self, image: int, answer: Logits) -> None:
        """An answer to the same input must stay what it was: runs that differ are not the same work."""
        first = self._first_answers.setdefault(image, answer)
        if answer is not first and not parity.unchanged(first, answer, self._case.recipe.precision):
            raise WrongOutput(
                f"the answer to input {image} changed between runs: the same work was not repeated"
            )

    @property
    def _live(self) -> Session:
        if self._session is None:
            raise RuntimeError("no case is loaded: send load first")
        return self._session


def _prepared(
    case: Case, folder: Path, image: Image, say: Callable[[Mapping[str, Any]], None]
) -> tuple[dict[str, Any], Session]:
    """Build a network and prepare it in this process: its runtime has nothing to write."""
    from unetbench.measuring import conversion

    built = conversion.build(case, folder, image.shape, say)
    say({"phase": "preparing"})
    start = time.perf_counter()
    artifact = built.runtime.convert(
        built.model,
        (image,),
        precision=case.recipe.precision,
        threads=case.threads,
    )
    session: Session = built.runtime.load(artifact, threads=case.threads)
    return built.facts | {"prepare_s": time.perf_counter() - start}, session


def _loaded(
    case: Case, place: Path, say: Callable[[Mapping[str, Any]], None]
) -> tuple[dict[str, Any], Session]:
    """Load what another process has converted; torch is imported only where the runtime is torch's."""
    from unetbench.measuring import artifacts
    from unetbench.runtimes import Artifact
    from unetbench.runtimes._chosen import of

    say({"phase": "loading"})
    facts = artifacts.facts(place)
    if facts is None:
        raise RuntimeError("the artifact is not there, or damaged")
    start = time.perf_counter()
    artifact = Artifact(precision=case.recipe.precision, folder=place)
    session = of(case.recipe).load(artifact, threads=case.threads)
    load_s = time.perf_counter() - start
    return facts | {"prepare_s": facts["prepare_s"] + load_s, "load_s": load_s}, session


def _serve(turns: Turns, commands: TextIOWrapper, say: Callable[[Mapping[str, Any]], None]) -> None:
    for line in commands:
        command = json.loads(line)
        name = command.pop("do")
        if name == "quit":
            return
        try:
            answer = getattr(turns, name)(**command)
            if name == "load":
                _keep_loaded()
            say({"ok": answer})
        except Exception as error:  # whatever a part raises becomes a row with its reason
            say({"failed": {"kind": _kind(error), "message": one_line(error, 300)}})
            raise


def _keep_loaded() -> None:
    """What is loaded stays: looking through torch for garbage took 0.24 s before every turn, and emptied the caches."""
    gc.collect()
    gc.freeze()


def _kind(error: Exception) -> str:
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY):
        return "out of memory"
    if isinstance(error, WrongOutput):
        return "wrong output"
    if isinstance(error, UnetbenchError) or type(error).__module__.startswith(_COMPILER_ERRORS):
        return "unsupported"
    return "crashed"


def _contain(parent: int, memory_bytes: int) -> None:
    """Die with the parent, be the first to go when memory ends, and never take more than the cap."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):  # a container may forbid it; the cap below still holds
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if os.getppid() != parent:
        os._exit(1)  # the parent ended before the line above: nobody would read the answer
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def main(kind: type[Turns] = Turns) -> None:
    """Serve the turns that arrive until `quit` or the end of the pipe."""
    parser = ArgumentParser()
    for name in ("--commands", "--replies", "--parent", "--memory-bytes"):
        parser.add_argument(name, type=int, required=True)
    given = parser.parse_args()
    _contain(given.parent, given.memory_bytes)
    with (
        os.fdopen(given.commands, encoding="utf-8") as commands,
        os.fdopen(given.replies, "wb") as replies,
    ):

        def say(message: Mapping[str, Any]) -> None:
            replies.write(msgspec.json.encode(message) + b"\n")
            replies.flush()

        _serve(kind(say), commands, say)


if __name__ == "__main__":
    main()
