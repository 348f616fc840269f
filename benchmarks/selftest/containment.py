"""Proofs 8, 9 and 14: memory that ends, processes that misbehave, memory that is told rightly."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from figures import Figure, publish

_ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(_ROOT))

from tests.zoo_worker import zoo_worker  # noqa: E402

from unetbench.errors import WorkerLost  # noqa: E402
from unetbench.measuring.launch import ProcessWorker  # noqa: E402

_CAP = 1 << 30
_LIMIT_S = 3.0
_ZOO: dict[str, tuple[str, dict[str, object], str]] = {
    "hangs": ("hang", {"deaf": False}, "timeout"),
    "hangs and ignores SIGTERM": ("hang", {"deaf": True}, "timeout"),
    "is killed by SIGSEGV": ("die_by", {"name": "SIGSEGV"}, "crashed"),
    "is killed by SIGILL": ("die_by", {"name": "SIGILL"}, "crashed"),
    "is killed by SIGABRT": ("die_by", {"name": "SIGABRT"}, "crashed"),
    "is killed by SIGBUS": ("die_by", {"name": "SIGBUS"}, "crashed"),
    "is killed by SIGKILL, as by the kernel": ("die_by", {"name": "SIGKILL"}, "out of memory"),
    "ends silently with exit code 0": ("leave", {"code": 0}, "crashed"),
    "ends with exit code 3": ("leave", {"code": 3}, "crashed"),
    "raises an exception": ("fail", {"message": "what it says"}, "crashed"),
    "fills the memory": ("fill_memory", {}, "out of memory"),
    "stops itself": ("die_by", {"name": "SIGSTOP"}, "timeout"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="of filling the memory")
    trials = parser.parse_args().trials
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    with TemporaryDirectory(prefix="unetbench-") as name:
        scratch = Path(name)
        publish("8", "memory that ends is contained", [_memory_ends(scratch, trials)])
        publish("9", "misbehaving processes are named and contained", _zoo(scratch))
        publish("14", "memory is told rightly", _memory_told(scratch))


def _worker(scratch: Path, limit_s: float = 60.0) -> ProcessWorker:
    return zoo_worker(scratch, limit_s=limit_s, memory_bytes=_CAP)


def _lost(worker: ProcessWorker, do: str, **arguments: object) -> str:
    try:
        worker.ask(do, on_phase=lambda _: None, **arguments)
    except WorkerLost as lost:
        return lost.kind
    return "nothing"


def _memory_ends(scratch: Path, trials: int) -> Figure:
    contained = unharmed = 0
    for _ in range(trials):
        worker = _worker(scratch)
        contained += _lost(worker, "fill_memory") == "out of memory"
        worker.end()
        following = _worker(scratch)
        unharmed += following.ask("echo", on_phase=lambda _: None, value=1)["value"] == 1
        following.end()
    return Figure(
        name="out of memory, contained and the next case unharmed",
        value=f"{min(contained, unharmed)} of {trials}",
        bar=f"{trials} of {trials}",
        met=contained == unharmed == trials,
    )


def _zoo(scratch: Path) -> list[Figure]:
    named, slowest = 0, 0.0
    wrong = []
    for what, (do, arguments, kind) in _ZOO.items():
        worker = _worker(scratch, _LIMIT_S)
        start = time.monotonic()
        found = _lost(worker, do, **arguments)
        worker.end()
        slowest = max(slowest, time.monotonic() - start)
        named += found == kind
        wrong += [] if found == kind else [f"{what}: {found}"]
    chattering = _worker(scratch)
    start = time.monotonic()
    chattering.ask("chatter", on_phase=lambda _: None, megabytes=1024)
    chatter_s = time.monotonic() - start
    chattering.end()
    kept = len(chattering.log_tail().encode())
    parent = _worker(scratch)
    grandchild = parent.ask("have_grandchild", on_phase=lambda _: None)["pid"]
    parent.end()
    return [
        Figure(
            name="named rightly", value=f"{named} of {len(_ZOO)}", bar=f"{len(_ZOO)} of {len(_ZOO)}",
            met=named == len(_ZOO), note="; ".join(wrong),
        ),
        Figure(name="over the limit, at most", value=f"{slowest - _LIMIT_S:.1f} s", bar="≤ 5 s", met=slowest - _LIMIT_S <= 5),
        Figure(name="orphans", value=str(int(_alive(grandchild))), bar="0", met=not _alive(grandchild)),
        Figure(name="1 GB on stdout", value=f"{chatter_s:.1f} s, {kept} bytes kept", bar="no deadlock, ≤ 4 KiB", met=0 < kept <= 4096),
    ]  # fmt: skip


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]
    return state != "Z"


def _memory_told(scratch: Path) -> list[Figure]:
    held = np.ones(500 << 20, np.uint8)  # a large parent must not show in the child's peak
    figures = []
    for megabytes in (64, 256, 700):
        grown = _grown(scratch, megabytes)
        error = abs(grown / (megabytes << 20) - 1)
        figures.append(
            Figure(
                name=f"{megabytes} MB touched under a parent of 500 MB", value=f"{grown / (1 << 20):.1f} MB",
                bar="≤ 2 % or 5 MB", met=error <= 0.02 or abs(grown - (megabytes << 20)) <= 5 << 20,
            )
        )  # fmt: skip
    del held
    return figures


def _grown(scratch: Path, megabytes: int) -> int:
    worker = _worker(scratch)

    def peak(reset: bool) -> int:
        told: int = worker.ask("memory", on_phase=lambda _: None, reset=reset)["peak_rss_bytes"]
        return told

    before = peak(reset=True)
    worker.ask("touch", on_phase=lambda _: None, megabytes=megabytes)
    grown = peak(reset=False) - before
    worker.end()
    return grown


if __name__ == "__main__":
    main()
