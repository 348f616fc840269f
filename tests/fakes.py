"""A clock that moves only when told, and a runtime and a worker that cost no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unetbench.errors import FailureKind, WorkerLost

MS = 1_000_000


class FakeClock:
    """Nanoseconds that pass only by `advance`."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, ns: int) -> None:
        self.now_ns += ns


class FakeSession:
    """A runtime whose bind, run and read take set times on a fake clock."""

    def __init__(self, clock: FakeClock, *, bind_ns: int, run_ns: list[int], read_ns: int) -> None:
        self.clock, self.bind_ns, self.runs_ns, self.read_ns = clock, bind_ns, list(run_ns), read_ns
        self.bound: list[float] = []

    def bind(self, image: Any) -> None:
        self.bound.append(float(image.ravel()[0]))
        self.clock.advance(self.bind_ns)

    def run(self) -> None:
        self.clock.advance(self.runs_ns.pop(0))

    def read(self) -> Any:
        self.clock.advance(self.read_ns)
        return np.zeros((1, 1, 2, 2), np.float32)

    def in_force(self) -> dict[str, str]:
        return {"threads": "1"}


PARITY = {
    "relative_error": 1e-6,
    "eager_relative_error": 1e-6,
    "cosine": 1.0,
    "agreement": 1.0,
    "flips_beyond_margin": 0,
    "measured_class": "exact",
    "inputs": 1,
}
LOADED = {
    "parameters": 100,
    "encoder_parameters": 60,
    "flop": 1000,
    "rewrites": [],
    "import_s": 1.0,
    "build_s": 0.5,
    "rewrite_s": 0.1,
    "prepare_s": 0.2,
}
LIMITS = {
    "threads": 1,
    "kernels": [{"kind": "fp32", "name": "torch product fp32", "work": 100, "run_ns": [1, 2, 3]}],
    "buffer_bytes": 1 << 20,
    "cache_bytes": None,
    "failed": {"openvino convolution 3×3 fp32": "RuntimeError: no"},
}
CUT = [
    {"name": name, "runtime": "torch_eager", "flop": 500, "moved_bytes": 10, "note": ""}
    for name in ("encoder", "head")
]


@dataclass
class FakeWorker:
    """Answers every turn at once; `fails` names a turn and how it fails, `fault` a wrong answer."""

    run_ms: float = 100.0
    fails: tuple[str, FailureKind, str] | None = None
    fault: str | None = None
    asked: list[str] = field(default_factory=list)
    ticking: dict[str, bool] = field(default_factory=dict)
    ended: bool = False
    on_ask: Callable[[str, dict[str, Any]], None] = lambda do, arguments: None
    cores_busy: float = 1.0
    threads: str = "1"
    paused: bool = False
    told: tuple[str, dict[str, Any]] = ("", {})

    def tell(self, do: str, **arguments: Any) -> None:
        self.told = (do, arguments)

    def answer(
        self, *, on_phase: Callable[[str], None], on_tick: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        do, arguments = self.told
        return self.ask(do, on_phase=on_phase, on_tick=on_tick, **arguments)

    def pause(self) -> None:
        assert not self.ended
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def pss_bytes(self) -> int:
        return 1 << 20

    def ask(
        self,
        do: str,
        *,
        on_phase: Callable[[str], None],
        on_tick: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        assert not self.ended
        assert not self.paused, f"{do} was asked of a stopped process"
        self.asked.append(do)
        self.ticking[do] = on_tick is not None
        self.on_ask(do, arguments)
        if self.fails and self.fails[0] == do:
            raise WorkerLost(*self.fails)
        if do in ("run", "turn"):
            runs = arguments["runs"] if do == "turn" else min(arguments["at_most"], 10)
            times = [round(self.run_ms * MS)] * runs
            counters = {"steal_ticks": 0}
            return {
                "bind_ns": [1] * runs, "run_ns": times, "read_ns": [1] * runs,
                "cpu_ns": round(sum(times) * self.cores_busy), "before": counters, "after": counters, "warmup_ns": times[:1],
            }  # fmt: skip
        answers: dict[str, dict[str, Any]] = {
            "load": LOADED,
            "memory": {"peak_rss_bytes": 1 << 20, "held_bytes": 1 << 10, "peak_is": "VmHWM"},
            "read": {"parity": PARITY, "fault": self.fault, "in_force": {"threads": self.threads}},
            "check": {"parity": PARITY, "fault": self.fault, "in_force": {"threads": self.threads}},
            "limits": LIMITS,
            "cut": {"sections": CUT, "within": [["encoder"], [""]]},
            "time_sections": {
                "by": "counters",
                "whole_ns": [100],
                "sections_ns": [[60], [50]],
                "before": {},
                "after": {},
            },
        }
        return dict(answers.get(do, {}))

    def thread_times_ns(self) -> dict[int, int]:
        assert not self.ended
        return {1: 1}

    def denormals(self, before: Mapping[int, int]) -> str:
        assert before == {1: 1}
        return "flushed in all 1"

    def log_tail(self) -> str:
        return "what it printed" if self.ended else ""  # read to its end only then

    def end(self) -> None:
        self.ended = True
