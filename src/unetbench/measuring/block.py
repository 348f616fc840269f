"""Drive one live worker that is alone: load, check, warm up, time, check again; what presets there are.

It knows the order of what is asked, not the clock and not the process behind the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from unetbench.errors import WorkerLost
from unetbench.measuring.launch import Worker
from unetbench.measuring.preset import Preset
from unetbench.records import DENORMALS_SEEN, Case, Measurement, Parity, RewriteReport, Turn
from unetbench.stats import disturbed, waiting_share

_BUSY_MARGIN = 0.05  # cores over the threads asked for: what clocks and the interpreter add
# Linux books a running thread's CPU time at its ticks, 10 ms apart at most: a thread that turns in a loop
# between the runs too has up to one tick too much, or too little, in each.
_TICK_NS = 10_000_000
NOTHING_SEEN: Mapping[str, str] = MappingProxyType({})
MANY_RUNS = 1_000_000  # where a time limit ends them, not a number


@dataclass(slots=True, kw_only=True)
class Loaded:
    """What is known of a case in a live worker, until its measurement is complete."""

    threads: int  # asked for
    costs: dict[str, Any]
    rewrites: tuple[RewriteReport, ...]
    first_run_ns: int = 0
    load_peak_bytes: int = 0
    peak_is: str = ""
    warmup_ns: tuple[int, ...] = ()

    def first_run(self, worker: Worker) -> None:
        """Run once, check the answer, and let the peak of memory start again."""

        def ask(do: str, **arguments: Any) -> dict[str, Any]:
            return worker.ask(do, on_phase=lambda _: None, **arguments)

        ask("bind", image=0)
        (self.first_run_ns,) = ask("run", at_least=1, at_most=1, limit_ns=0)["run_ns"]
        peak = ask("memory", reset=False)  # comparing answers takes memory too, which is none of the case
        self.load_peak_bytes = peak["peak_rss_bytes"]
        _checked(ask("read"))
        self.peak_is = ask("memory", reset=True)["peak_is"]

    def measurement(
        self,
        worker: Worker,
        *,
        timed: dict[str, Any],
        on_phase: Callable[[str], None],
        inputs: int = 1,
        turns: tuple[Turn, ...] = (),
        number: int = 0,
        share: float | None = None,
        rejected: tuple[tuple[int, ...], ...] = (),
        seen: Mapping[str, str] = NOTHING_SEEN,
    ) -> Measurement:
        """Return the measurement of what was timed, after a last look at memory and at the answers.

        `seen` stands beside what the runtime says of itself: what was read of it from outside.
        """
        peak = worker.ask("memory", on_phase=on_phase, reset=False)
        answer = worker.ask("check", on_phase=on_phase, inputs=inputs)
        _refuse_other_threads(self.threads, answer["in_force"], timed)
        return Measurement(
            **self.costs,
            rewrites=self.rewrites,
            first_run_s=self.first_run_ns / 1e9,
            warmup_ns=self.warmup_ns,
            run_ns=tuple(timed["run_ns"]),
            bind_ns=tuple(timed["bind_ns"]),
            read_ns=tuple(timed["read_ns"]),
            cpu_ns=timed["cpu_ns"],
            peak_load_bytes=self.load_peak_bytes,
            peak_run_bytes=peak["peak_rss_bytes"],
            held_bytes=peak["held_bytes"],
            peak_is=self.peak_is,
            parity=_checked(answer),
            in_force=answer["in_force"] | dict(seen),
            counters_before=timed["before"],
            counters_after=timed["after"],
            waiting_share=share,
            rejected_ns=rejected,
            turns=turns,
            block=number,
        )


def tell_load(worker: Worker, case: Case, folder: Path, artifact: Path | None) -> None:
    """Tell a worker to load a case; `loaded` waits for it."""
    converted = None if artifact is None else str(artifact)
    worker.tell("load", case=msgspec.to_builtins(case), folder=str(folder), artifact=converted)


def loaded(
    worker: Worker, case: Case, *, on_phase: Callable[[str], None], on_tick: Callable[[], None] | None = None
) -> Loaded:
    """Wait until a case is loaded and return its costs."""
    answer = worker.answer(on_phase=on_phase, on_tick=on_tick)
    rewrites = msgspec.convert(answer.pop("rewrites"), tuple[RewriteReport, ...])
    return Loaded(threads=case.threads, costs=answer, rewrites=rewrites)


def measure(
    worker: Worker,
    case: Case,
    folder: Path,
    artifact: Path | None,
    preset: Preset,
    *,
    on_phase: Callable[[str], None],
    on_tick: Callable[[], None] | None = None,
) -> Measurement:
    """Return the raw measurement of a case by a process that is alone.

    The reference lies in `folder`, what the runtime loads in `artifact`, where it does not prepare itself.

    Nothing ticks while runs are timed: a display that draws takes time from the case.
    Raises: WorkerLost with the status of the row, `wrong output` included: such a case has no time.
    """

    def ask(do: str, **arguments: Any) -> dict[str, Any]:
        return worker.ask(do, on_phase=on_phase, **arguments)

    tell_load(worker, case, folder, artifact)
    state = loaded(worker, case, on_phase=on_phase, on_tick=on_tick)
    on_phase("checking")
    state.first_run(worker)
    on_phase("warming up")
    warm = ask("run", at_least=preset.warmups, at_most=preset.warmups, limit_ns=0)
    state.warmup_ns = tuple(warm["run_ns"])
    on_phase("measuring")
    before = worker.thread_times_ns()
    timed, share, rejected = _quietly_timed(ask, preset)
    seen = {DENORMALS_SEEN: worker.denormals(before)}
    return state.measurement(
        worker,
        timed=timed,
        on_phase=on_phase,
        inputs=preset.checked_inputs,
        share=share,
        rejected=rejected,
        seen=seen,
    )


def _quietly_timed(
    ask: Callable[..., dict[str, Any]], preset: Preset
) -> tuple[dict[str, Any], float | None, tuple[tuple[int, ...], ...]]:
    """Time the runs, again where other processes wanted the CPU; their own time is never looked at."""
    rejected: list[tuple[int, ...]] = []
    while True:
        timed = ask(
            "run", at_least=preset.runs_at_least, at_most=preset.runs_at_most, limit_ns=preset.limit_ns
        )
        wall_ns = sum(sum(timed[part]) for part in ("bind_ns", "run_ns", "read_ns"))
        share = waiting_share(timed["before"], timed["after"], wall_ns)
        if not disturbed(share) or len(rejected) == preset.attempts - 1:
            return timed, share, tuple(rejected)
        rejected.append(tuple(timed["run_ns"]))


def _refuse_other_threads(asked: int, in_force: dict[str, str], timed: dict[str, Any]) -> None:
    """A case that takes more of the machine than the others is not compared with them."""
    # Two runtimes in one network tell theirs apart where they differ.
    names = ("threads", "encoder threads", "decoder threads")
    told = {in_force[name] for name in names if name in in_force} or {str(asked)}
    wall_ns = max(1, sum(timed["run_ns"]))
    unsure_ns = asked * _TICK_NS * len(timed["run_ns"]) ** 0.5
    busy = timed["cpu_ns"] / wall_ns
    if told != {str(asked)} or busy > asked + _BUSY_MARGIN + unsure_ns / wall_ns:
        raise WorkerLost(
            "measuring",
            "unsupported",
            f"{asked} threads were asked for, the runtime says {' and '.join(sorted(told))} and kept {busy:.2f} cores busy",
        )


def _checked(answer: dict[str, Any]) -> Parity:
    if answer["fault"]:
        raise WorkerLost("checking", "wrong output", answer["fault"])
    return msgspec.convert(answer["parity"], Parity)
