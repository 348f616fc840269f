"""A worker whose case is known work instead of a network: the true ratio of two cases is known.

Kinds: `compute` (passes over an array in cache), `stream` (copies through memory), `deadline` (spins
until a time has passed: its true time is known to the clock's resolution).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unetbench.measuring import reference
from unetbench.measuring.worker import Turns, main

_SHORT_NS = 1e5
_FLOATS = 4096
_STREAM_FLOATS = 16 << 20


class Spin:
    """A runtime that does known work and computes nothing."""

    def __init__(self, kind: str, amount: float) -> None:
        self.kind, self.amount = kind, amount
        self.ones, self.sums = np.ones(_FLOATS, np.float32), np.zeros(_FLOATS, np.float32)
        self.memory = np.ones(_STREAM_FLOATS if kind == "stream" else 1, np.float32)
        self.sink = np.zeros_like(self.memory)
        self.answer = np.zeros((1, 1, 2, 2), np.float32)

    def bind(self, image: Any) -> None:
        pass

    def run(self) -> None:
        if self.kind == "deadline":
            end = time.perf_counter_ns() + round(self.amount)
            while time.perf_counter_ns() < end:
                pass
        elif self.kind == "stream":
            count = round(self.amount)
            np.copyto(self.sink[:count], self.memory[:count])
        else:
            many = np.broadcast_to(self.ones, (round(self.amount), _FLOATS))
            np.add.reduce(many, axis=0, out=self.sums)

    def read(self) -> Any:
        return self.answer

    def in_force(self) -> dict[str, str]:
        return {"threads": "1"}


class SpinTurns(Turns):
    """Turns of known work; answers are not compared, there are none."""

    def reference(
        self, case: Mapping[str, Any], folder: str, images: list[str], inputs: int
    ) -> dict[str, Any]:
        """Write what a sweep looks for in a network's folder: of a short spin there is nothing more to keep."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        work = {case["network"]["encoder"]: ("deadline", _SHORT_NS)}
        (place / "work.json").write_text(json.dumps(work), encoding="utf-8")
        for name in reference.FILES:
            (place / name).write_bytes(b"")
        reference.seal(place, {})
        return {}

    def load(self, case: Mapping[str, Any], folder: str, artifact: str | None) -> dict[str, Any]:
        work = json.loads((Path(folder) / "work.json").read_text(encoding="utf-8"))
        kind, amount = work[case["network"]["encoder"]]
        self._images = [np.zeros((1, 3, 2, 2), np.float32)]
        self._session = Spin(kind, amount)
        return {
            "parameters": 1, "encoder_parameters": 1, "flop": 1, "rewrites": [], "import_s": 0.0,
            "build_s": 0.0, "rewrite_s": 0.0, "prepare_s": 0.0,
        }  # fmt: skip

    def read(self) -> dict[str, Any]:
        parity = {
            "relative_error": 0.0, "eager_relative_error": 0.0, "cosine": 1.0, "agreement": 1.0,
            "flips_beyond_margin": 0, "measured_class": "exact", "inputs": 1,
        }  # fmt: skip
        return {"parity": parity, "fault": None, "in_force": {"threads": "1"}}

    def check(self, inputs: int) -> dict[str, Any]:
        return self.read()


if __name__ == "__main__":
    main(SpinTurns)
