"""Trials kept beside the figures: the same command goes on from them, on this machine or on another.

A trial counts only as long as the code that made and judged it is what it was: an edit there starts anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from figures import machine_named
from rich.progress import track

import unetbench
from unetbench.reporting.files import write_text
from unetbench.verdicts import Pair

_HERE = Path(__file__).parent
_FILE = _HERE / "published" / "trials.jsonl"
# What makes blocks, what judges them, and the scripts: of the package, then here.
_PACKAGE = (
    "adjusting", "machine", "quiet", "samples", "stats", "student_t", "verdicts", "measuring/block", "measuring/canary",
    "measuring/launch", "measuring/noise", "measuring/paired", "measuring/preset", "measuring/processes",
    "measuring/timing", "measuring/worker",
)  # fmt: skip
_SCRIPTS = ("known_ratio", "real_network", "sized_worker", "spin_worker", "trials")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one race came to. Ratios are the second case's time over the first's, the interval that of its look."""

    of: str
    seed: int
    verdict: str
    ratio: float | None
    low: float | None
    high: float | None
    blocks: int
    minutes: float
    machine: str
    code: str

    @classmethod
    def told(cls, of: str, seed: int, said: Pair, *, blocks: int, minutes: float) -> Trial:
        """Return the trial of a pair."""
        return cls(
            of=of, seed=seed, verdict=said.verdict, ratio=said.ratio, low=said.low, high=said.high,
            blocks=blocks, minutes=round(minutes, 2), machine=machine_named(), code=code(),
        )  # fmt: skip


def code() -> str:
    """Return a digest of the code that makes trials and judges them."""
    package = Path(unetbench.__file__).parent
    paths = [*(package / f"{name}.py" for name in _PACKAGE), *(_HERE / f"{name}.py" for name in _SCRIPTS)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def known(of: str) -> list[Trial]:
    """Return the trials of that name that the code as it is has made, in the order of their seeds."""
    if not _FILE.is_file():
        return []
    found = (Trial(**json.loads(line)) for line in _FILE.read_text(encoding="utf-8").splitlines())
    return sorted((trial for trial in found if (trial.of, trial.code) == (of, code())), key=lambda t: t.seed)


def each(
    of: str, count: int, make: Callable[[int], Trial], *, over: Callable[[], bool]
) -> Iterator[list[Trial]]:
    """Yield the trials of a name so far, then again after each that is made: until there are so many, or it is over."""
    made = known(of)[:count]
    yield made
    for seed in track(range(len(made), count), of, completed=len(made), total=count, auto_refresh=False):
        if over():
            return
        made = [*made, make(seed)]
        _keep(made[-1])
        yield made


def _keep(trial: Trial) -> None:
    """Add a trial, and drop what other code made of the same name."""
    lines = _FILE.read_text(encoding="utf-8").splitlines() if _FILE.is_file() else []
    others = [
        line for line in lines if (old := json.loads(line))["of"] != trial.of or old["code"] == trial.code
    ]
    write_text(_FILE, "\n".join([*others, json.dumps(asdict(trial))]) + "\n")
