"""How much is measured: quick states no verdicts, standard and rigorous do (docs/measuring.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unetbench.errors import BadInput, unknown
from unetbench.verdicts import LOOKS_OF

# Turns that take as long as the processes of a block take to start, and no more than so many, cost little.
_CHEAP_S, _MOST_TURNS = 8.0, 40
_BLOCK_S = 4.0  # of each case in a block, on two cores: its process starts, then its turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """How a block is divided."""

    runs: int = 3  # timed, in one turn
    warmup_ns: int = 50_000_000  # and at least one run, after each stop
    at_least: int = 8  # turns of each case
    quiet_runs: int = 15  # of each case, then the block ends
    at_most: int = 12  # turns of each case: where quiet is rare, more blocks tell more than more turns
    case_limit_s: float = 60.0  # of one case's turns, then it ends all the same
    first_warmups: int = 5  # runs after loading, and
    first_warmup_ns: int = 2_000_000_000

    def fitted(self, run_s: Sequence[float]) -> Turns:
        """Return the same for cases whose runs take so long: more turns where those are short.

        The times are those of processes alone, so that the number says nothing of the block's own.
        """
        turn_s = sum(self.runs * each + max(each, self.warmup_ns / 1e9) for each in run_s)
        return replace(self, at_most=max(self.at_most, min(_MOST_TURNS, int(_CHEAP_S / turn_s))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A process alone for every case, and then, where there are looks, paired blocks."""

    name: str
    warmups: int = 3
    runs_at_least: int = 3  # a quartile needs as many
    runs_at_most: int = 10
    limit_ns: int = 2_000_000_000  # of running: after it no run starts
    attempts: int = 3  # at timed runs that other processes do not disturb
    checked_inputs: int  # whose answer is compared with fp64
    block_inputs: int = 1  # the same after a case's first block, where processes alone compare few
    case_limit_s: float = 900.0  # then the case is a timeout
    looks: tuple[tuple[int, float], ...] = ()  # blocks, and the α that looking there spends
    turns: Turns = field(default_factory=Turns)
    builds: int = 1  # of what is autotuned: blocks take them in turn

    def then(self, cases: int, budget_s: float | None, alone_s: float) -> str:
        """Say what follows the processes alone, which take about so long: nothing where no verdicts are asked."""
        if not self.looks:
            return ""
        fewest, most = (blocks for blocks, _ in (self.looks[0], self.looks[-1]))
        between = f"{fewest} to {most}" if fewest < most else str(most)
        if budget_s is not None and budget_s <= alone_s:
            return (
                f": more than the budget of {budget_s / 60:.3g} min, which leaves no time for paired blocks; the same "
                "command goes on from where it ended"
            )
        if budget_s is not None:
            return (
                f", then up to {most} paired blocks of each network; all within about {budget_s / 60:.3g} min"
            )
        hours = [f"{cases * blocks * _BLOCK_S / 3600:.1f}" for blocks in dict.fromkeys((fewest, most))]
        return f", then {between} paired blocks of each network, about {' to '.join(hours)} h"


QUICK = Preset(name="quick", checked_inputs=1)
STANDARD = Preset(name="standard", checked_inputs=16, looks=LOOKS_OF["standard"])
RIGOROUS = Preset(name="rigorous", checked_inputs=16, looks=LOOKS_OF["rigorous"], builds=3)
# Of `unetbench tune`, with halving: who comes to blocks may be named a winner, and answers for as much as in standard.
TUNE = Preset(name="tune", checked_inputs=4, block_inputs=16, looks=LOOKS_OF["tune"])
_PRESETS = {preset.name: preset for preset in (QUICK, STANDARD, RIGOROUS)}


def preset(name: str) -> Preset:
    """Return a preset by name.

    Raises: BadInput for one that is not there.
    """
    if name not in _PRESETS:
        raise unknown("preset", name, _PRESETS, "quick states no verdicts, standard does.")
    return _PRESETS[name]


def budget_s(text: str) -> float:
    """Read a time: 90s, 20m or 1.5h; the unit must be there, since 20 may be meant as minutes.

    Raises: BadInput for what is no time.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise BadInput(f"budget {text!r} is no time: give it as 90s, 20m or 1.5h.")
    return seconds
