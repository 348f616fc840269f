"""Drive one live worker through one block of a case: load, check, warm up, time, check again.

It knows the order of the turns, not the clock and not the process behind the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from unetbench.errors import BadInput, WorkerLost
from unetbench.measuring.launch import Worker
from unetbench.records import Case, Measurement, Parity, RewriteReport
from unetbench.stats import disturbed, waiting_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How much is measured. `quick` is one block and states no verdicts."""

    name: str
    warmups: int
    runs_at_least: int
    runs_at_most: int
    limit_ns: int  # of running: after it no run starts
    attempts: int  # at timed runs that other processes do not disturb
    checked_inputs: int  # inputs whose answer is compared with fp64
    case_limit_s: float  # then the case is a timeout


QUICK = Preset(
    name="quick",
    warmups=3,
    runs_at_least=3,  # a quartile needs as many
    runs_at_most=10,
    limit_ns=2_000_000_000,
    attempts=3,
    checked_inputs=1,
    case_limit_s=900.0,
)
_LATER = ("standard", "rigorous")  # their protocol needs blocks in turns (docs/measuring.md)


def preset(name: str) -> Preset:
    """Return a preset by name.

    Raises: BadInput for one that is not there yet, or not at all.
    """
    if name == QUICK.name:
        return QUICK
    if name in _LATER:
        raise BadInput(
            f"preset {name!r} is not there yet: its protocol of paired blocks is still being built; "
            "use --preset quick, which measures one block and states no verdicts."
        )
    raise BadInput(f"unknown preset {name!r}: accepted is quick.")


def measure(
    worker: Worker,
    case: Case,
    folder: Path,
    preset: Preset,
    *,
    on_phase: Callable[[str], None],
    on_tick: Callable[[], None] | None = None,
) -> Measurement:
    """Return one block's raw measurement of a case whose reference lies in `folder`.

    Nothing ticks while runs are timed: a display that draws takes time from the case.
    Raises: WorkerLost with the status of the row, `wrong output` included: such a case has no time.
    """

    def ask(do: str, **arguments: Any) -> dict[str, Any]:
        return worker.ask(do, on_phase=on_phase, on_tick=None if do == "run" else on_tick, **arguments)

    loaded = ask("load", case=msgspec.to_builtins(case), folder=str(folder))
    on_phase("checking")
    ask("bind", image=0)
    first = ask("run", at_least=1, at_most=1, limit_ns=0)
    _checked(ask("read"))
    load_peak = ask("memory", reset=True)["peak_rss_bytes"]
    on_phase("warming up")
    warm = ask("run", at_least=preset.warmups, at_most=preset.warmups, limit_ns=0)
    on_phase("measuring")
    timed, share, rejected = _quietly_timed(ask, preset)
    run_peak = ask("memory", reset=False)["peak_rss_bytes"]
    answer = ask("read")
    costs = {name: value for name, value in loaded.items() if name != "rewrites"}
    return Measurement(
        **costs,
        rewrites=msgspec.convert(loaded["rewrites"], tuple[RewriteReport, ...]),
        first_run_s=first["run_ns"][0] / 1e9,
        warmup_ns=tuple(warm["run_ns"]),
        run_ns=tuple(timed["run_ns"]),
        bind_ns=tuple(timed["bind_ns"]),
        read_ns=tuple(timed["read_ns"]),
        cpu_ns=timed["cpu_ns"],
        peak_load_bytes=load_peak,
        peak_run_bytes=run_peak,
        parity=_checked(answer),
        in_force=answer["in_force"],
        counters_before=timed["before"],
        counters_after=timed["after"],
        waiting_share=share,
        rejected_ns=rejected,
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


def _checked(answer: dict[str, Any]) -> Parity:
    if answer["fault"]:
        raise WorkerLost("checking", "wrong output", answer["fault"])
    return msgspec.convert(answer["parity"], Parity)
