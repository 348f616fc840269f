"""Short trials of known work through the code that measures networks: blocks, turns, canaries, verdicts.

Scaled down to runs of a millisecond; nothing is replaced but the work itself. A trial stops as a race does:
at one of the protocol's looks, as soon as its pair is settled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory

from unetbench.measuring import canary as canaries
from unetbench.measuring.canary import Canary
from unetbench.measuring.launch import ProcessWorker
from unetbench.measuring.paired import PairedBlock
from unetbench.measuring.preset import Turns
from unetbench.records import Case, Measurement, Network, Recipe, Turn
from unetbench.samples import together
from unetbench.verdicts import LOOKS, Pair, pair

SHORT = Turns(
    runs=3, warmup_ns=2_000_000, at_least=6, quiet_runs=15, case_limit_s=2.0,
    first_warmups=5, first_warmup_ns=10_000_000,
)  # fmt: skip
Work = tuple[str, float]  # kind and amount, see spin_worker

_LOAD = """
import random, sys, time
random = random.Random(int(sys.argv[1])); burst, pause = float(sys.argv[2]), float(sys.argv[3])
while True:
    time.sleep(random.expovariate(1 / pause))
    start = time.time(); end = start + burst
    while time.time() < end: pass
    print(start, end, flush=True)
"""


def small_canary(threads: int = 1) -> Canary:
    """Return a canary of a quarter of a millisecond: runs of a few milliseconds need no longer one."""
    canaries._CACHE_PASSES, canaries._WINDOW_FLOATS, canaries._RING_FLOATS = 100, 1 << 20, 16 << 20
    return Canary(threads)


def case(name: str) -> Case:
    """Return a case of that name; only the name says which work it is."""
    recipe = Recipe.parse("torch_eager/fp32")
    return Case(network=Network(name), recipe=recipe, height_px=32, width_px=32, threads=1)


Taken = dict[str, dict[int, Sequence[Turn]]]  # of each case the turns by block


def blocks(
    work: Mapping[str, Work],
    count: int,
    *,
    canary: Canary,
    seed: int,
    turns: Turns = SHORT,
    threads: int = 1,
    taken: Taken | None = None,
) -> Taken:
    """Return the turns of each case, made by real processes; `taken` gets blocks until it has so many."""
    cases = {name: case(name) for name in work}
    taken = {name: {} for name in work} if taken is None else taken
    with TemporaryDirectory(prefix="unetbench-") as name:
        folder = Path(name)
        (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")

        def start(_: Case) -> ProcessWorker:
            return ProcessWorker(
                threads=threads, memory_bytes=4 << 30, limit_s=60.0, scratch=folder, online=False,
                module="spin_worker",
            )  # fmt: skip

        for number in range(1 + len(next(iter(taken.values()))), count + 1):
            block = PairedBlock(
                cases=list(cases.values()), group="trial", number=number, seed=seed * 1000 + number, folder=folder,
                artifacts=dict.fromkeys(cases.values()),
                start_worker=start, canary=canary, turns=turns,
                earlier={cases[n]: [t for each in taken[n].values() for t in each] for n in work},
                on_phase=lambda _: None, on_tick=lambda: None, clock=time.time,
            )  # fmt: skip
            _, outcomes = block.run()
            for each, of in cases.items():
                outcome = outcomes[of]
                if not isinstance(outcome, Measurement):
                    raise RuntimeError(f"{each}: {outcome}")
                taken[each][number] = outcome.turns
    return taken


def raced(work: Mapping[str, Work], **options: object) -> tuple[Pair, int]:
    """Return what is said of two cases when their race stops, and after how many blocks."""
    taken: Taken = {name: {} for name in work}
    for count, _ in LOOKS:
        blocks(work, count, taken=taken, **options)  # type: ignore[arg-type]
        said = pair(*together(taken).values())
        if said.settled:
            break
    return said, count


@dataclass
class Load:
    """A process that spins in bursts at random times."""

    process: Popen[str]

    def bursts(self) -> list[tuple[float, float]]:
        """End it and return when each burst began and ended, in seconds of `time.time`."""
        self.process.kill()
        out, _ = self.process.communicate()
        return [tuple(map(float, line.split())) for line in out.splitlines()]  # type: ignore[misc]


@contextmanager
def load(seed: int, *, burst_s: float, pause_s: float) -> Iterator[Load]:
    """Spin on one core in bursts, with exponential pauses, while the body runs."""
    process = Popen(
        [sys.executable, "-c", _LOAD, str(seed), str(burst_s), str(pause_s)], stdout=-1, text=True
    )
    try:
        yield Load(process)
    finally:
        process.kill()
        process.wait()


class Clock:
    """How long a proof has run, and whether it must end."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    @property
    def over(self) -> bool:
        return time.monotonic() > self._end


def from_here() -> None:
    """Let worker processes find `spin_worker`."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


def per_ms(kind: str) -> float:
    """Return how much work of a kind takes a millisecond here."""
    sys.path.insert(0, str(Path(__file__).parent))
    from spin_worker import Spin

    if kind == "deadline":
        return 1e6
    amount = 1000.0
    times = []
    spin = Spin(kind, amount)
    for _ in range(200):
        start = time.perf_counter_ns()
        spin.run()
        times.append(time.perf_counter_ns() - start)
    return amount / (sorted(times)[len(times) // 2] / 1e6)
