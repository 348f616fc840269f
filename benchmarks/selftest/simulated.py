"""A noisy machine as a model: neighbours that come and go, processes that differ, canaries that see less.

Calibrated to 300 runs on a shared 2-core machine: wall time CV 15 %, autocorrelation 0.77 from run to
run (docs/measuring.md). The same functions that judge real blocks judge these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from unetbench.records import Turn

RUN_NS = 100e6
CANARY_NS = (1e6, 0.6e6)
_RUNS = 3
_TURN_S = 0.45  # warm-up, three runs and canaries of a 100 ms network
_SLOW_SHARE = 0.25  # of the processes of a case with two modes
_MEMORY_S = 0.65  # of the neighbours: 0.77 after 0.17 s


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How noisy it is, in logs."""

    contention: float = 0.15  # spread of the neighbours' effect
    process: float = 0.007  # from process to process
    run: float = 0.03
    turn: float = 0.0  # from turn to turn, as no canary feels it
    canary: float = 0.03
    turns: int = 12
    memory: tuple[float, float] = (0.0, 0.0)  # middle and spread of what the memory canary alone feels
    clock: float = 0.0  # by how much it is slower than on record
    stays: float = (
        0.0  # spread of what the memory canary alone feels of neighbours that stay for whole blocks
    )


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A case: its time over the first's, how it feels neighbours, how it slows its own after-canary."""

    ratio: float = 1.0
    sensitivity: float = 1.0
    offset: float = 1.0
    memory_sensitivity: float = 0.1  # to what the memory canary alone feels
    clock_sensitivity: float = 1.0  # less, where it waits for memory
    stalls: float = 0.0  # spread from turn to turn of its own
    process: float = 0.0  # spread from process to process of its own, beside the machine's
    slow_mode: float = 0.0  # by how much one process in four is slower, in logs

    @property
    def log_time(self) -> float:
        """The mean over processes of its log time over the first's: what is estimated."""
        return math.log(self.ratio) + _SLOW_SHARE * self.slow_mode


def block(random: Random, cases: list[Simulated], machine: Machine) -> list[list[Turn]]:
    """Return each case's turns in one block; neighbours are shared, in shuffled order."""
    process = [
        random.gauss(0.0, math.hypot(machine.process, case.process))
        + (case.slow_mode if case.slow_mode and random.random() < _SLOW_SHARE else 0.0)
        for case in cases
    ]
    taken: list[list[Turn]] = [[] for _ in cases]
    keep = math.exp(-_TURN_S / _MEMORY_S)
    state, memory_state = random.gauss(0.0, 1.0), random.gauss(0.0, 1.0)
    staying = max(0.0, random.gauss(0.0, machine.stays)) if machine.stays else 0.0
    order = 0
    for _ in range(machine.turns):
        places = list(range(len(cases)))
        random.shuffle(places)
        for place in places:
            case = cases[place]
            state = keep * state + math.sqrt(1 - keep**2) * random.gauss(0.0, 1.0)
            memory_state = keep * memory_state + math.sqrt(1 - keep**2) * random.gauss(0.0, 1.0)
            load = machine.contention * max(0.0, state + 0.3)
            memory = max(0.0, machine.memory[0] + machine.memory[1] * memory_state) + staying
            middle = math.log(RUN_NS * case.ratio) + process[place]
            middle += case.sensitivity * load + case.memory_sensitivity * memory
            middle += case.clock_sensitivity * machine.clock
            if spread := math.hypot(machine.turn, case.stalls):
                middle += random.gauss(0.0, spread)
            runs = tuple(round(math.exp(middle + random.gauss(0.0, machine.run))) for _ in range(_RUNS))
            taken[place].append(
                Turn(
                    order=order,
                    before_ns=_canary(random, load + machine.clock, memory, machine.canary, 1.0),
                    after_ns=_canary(random, load + machine.clock, memory, machine.canary, case.offset),
                    run_ns=runs,
                )
            )
            order += 1
    return taken


def blocks(
    random: Random, cases: list[Simulated], machine: Machine, count: int
) -> list[dict[int, list[Turn]]]:
    """Return each case's blocks by number."""
    made = [block(random, cases, machine) for _ in range(count)]
    return [{number + 1: each[place] for number, each in enumerate(made)} for place in range(len(cases))]


def _canary(random: Random, load: float, memory: float, noise: float, offset: float) -> tuple[int, int]:
    cache, stream = (
        round(level * offset * math.exp(felt + random.gauss(0.0, noise)))
        for level, felt in zip(CANARY_NS, (load, load + memory), strict=True)
    )
    return cache, stream
