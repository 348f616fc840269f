"""Proof 3: do the intervals cover, and is no verdict false, with optional stopping at the fixed looks?

Simulated machines (simulated.py) through the code that judges real ones: looks, gate, t over blocks,
stopping as soon as a pair is settled, unequal sensitivity to neighbours, a case that slows its canary.
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import combinations
from random import Random

from figures import Figure, publish, upper_bound
from rich.progress import track
from simulated import Machine, Simulated, blocks

from unetbench import quiet
from unetbench.records import ROUNDS, Turn
from unetbench.samples import together
from unetbench.verdicts import EQUAL, LOOKS, Pair, pair

# As seen on a machine whose neighbours share a large cache: the memory canary was quiet in 4 % of the turns.
_BUSY = Machine(memory=(0.5, 0.35), turns=12)
# The same an hour later: neighbours that never leave (canaries in memory 1.35 × the record at their quietest), or a
# slower clock, which the second case feels by half.
_CROWDED = Machine(memory=(0.7, 0.35), turns=12)
_SLOWER = Machine(memory=(0.5, 0.35), turns=12, clock=0.07)
# Neighbours that stay for whole blocks, so that nothing within a block tells what they cost.
_STAYING = Machine(stays=0.4, turns=12)
_NEVER_LEAVING = Machine(memory=(0.3, 0.0), stays=0.4, turns=12)
# As seen on a machine with AVX2: canaries explain a fifth of what turns vary by.
_LOUD = Machine(contention=0.2, process=0.02, run=0.05, turn=0.09, canary=0.05, memory=(0.1, 0.12), turns=12)
_LOUD_CROWDED = replace(_LOUD, memory=(0.35, 0.15))
_ON_RECORD = (
    _CROWDED,
    _SLOWER,
    _NEVER_LEAVING,
    _LOUD_CROWDED,
)  # judged beside a record made when the machine was quiet
_SETTINGS = {
    "same against same": (Simulated(), Simulated(), Machine()),
    "the second feels neighbours 1.5 × as much": (Simulated(), Simulated(sensitivity=1.5), Machine()),
    "the second slows its own canary by 8 %": (Simulated(), Simulated(offset=1.08), Machine()),
    "3 % slower": (Simulated(), Simulated(ratio=1.03), Machine()),
    "5 % slower": (Simulated(), Simulated(ratio=1.05), Machine()),
    "never quiet, same against same": (Simulated(), Simulated(), _BUSY),
    "never quiet, the second feels neighbours 1.5 × as much": (
        Simulated(), Simulated(sensitivity=1.5, memory_sensitivity=0.15), _BUSY,
    ),
    "never quiet, 3 % slower": (Simulated(), Simulated(ratio=1.03), _BUSY),
    "never quiet, 10 % slower": (Simulated(), Simulated(ratio=1.1), _BUSY),
    "above the record, the second feels neighbours twice as much": (
        Simulated(), Simulated(memory_sensitivity=0.2), _CROWDED,
    ),
    "above the record, 10 % slower and feels neighbours twice as much": (
        Simulated(), Simulated(ratio=1.1, memory_sensitivity=0.2), _CROWDED,
    ),
    "a slower clock than on record, the second feels half of it": (
        Simulated(), Simulated(clock_sensitivity=0.5), _SLOWER,
    ),
    "a slower clock than on record, the second feels a fifth of it and no neighbours": (
        Simulated(sensitivity=1.5), Simulated(sensitivity=0.0, clock_sensitivity=0.2), _SLOWER,
    ),
    "neighbours that stay for whole blocks, the second feels three times as much": (
        Simulated(), Simulated(memory_sensitivity=0.3), _STAYING,
    ),
    "above the record, by neighbours that stay for whole blocks, the second feels three times as much": (
        Simulated(), Simulated(memory_sensitivity=0.3), _NEVER_LEAVING,
    ),
    "neighbours that stay for whole blocks, 10 % slower": (Simulated(), Simulated(ratio=1.1), _STAYING),
    "a slower clock than on record, 20 % slower": (Simulated(), Simulated(ratio=1.2), _SLOWER),
    "hardly felt by canaries, same against same": (
        Simulated(sensitivity=0.5), Simulated(sensitivity=0.5), _LOUD,
    ),
    "hardly felt by canaries, the second feels neighbours by a quarter more": (
        Simulated(sensitivity=0.45, memory_sensitivity=0.05), Simulated(sensitivity=0.55, memory_sensitivity=0.1), _LOUD,
    ),
    "hardly felt by canaries, the second feels neighbours twice as much": (
        Simulated(sensitivity=0.4, memory_sensitivity=0.05), Simulated(sensitivity=0.8, memory_sensitivity=0.1), _LOUD,
    ),
    "hardly felt by canaries, the second slows its own canary by 8 %": (
        Simulated(sensitivity=0.5), Simulated(sensitivity=0.5, offset=1.08), _LOUD,
    ),
    "hardly felt by canaries, 15 % slower": (
        Simulated(sensitivity=0.5), Simulated(sensitivity=0.5, ratio=1.15), _LOUD,
    ),
    "hardly felt by canaries, above the record, the second feels neighbours three times as much": (
        Simulated(sensitivity=0.5, memory_sensitivity=0.05), Simulated(sensitivity=0.5, memory_sensitivity=0.15), _LOUD_CROWDED,
    ),
    "hardly felt by canaries, two of six, each of which feels neighbours otherwise": (
        *(Simulated(sensitivity=each) for each in (0.35, 0.6, 0.4, 0.45, 0.5, 0.55)), _LOUD,
    ),
    "hardly felt by canaries, two of six, one of which stalls": (
        *(Simulated(sensitivity=0.5) for _ in range(5)), Simulated(sensitivity=0.5, stalls=0.5), _LOUD,
    ),
    "never quiet, two of six, the second feels neighbours twice as much as the others": (
        Simulated(), Simulated(sensitivity=2.0, memory_sensitivity=0.2), *(Simulated() for _ in range(4)), _BUSY,
    ),
}  # fmt: skip

# What a table says: all pairs together, each at the look where it is settled. Of each network its cases.
_RATIOS = (1.0, 1.0, 1.03, 1.1, 1.0, 1.5)


def _six(**second: float) -> list[list[Simulated]]:
    """Six cases of one network, the second of which is unlike the others."""
    return [[Simulated(ratio=ratio, **(second if place == 1 else {})) for place, ratio in enumerate(_RATIOS)]]


_TABLES = {
    "six cases alike": (_six(), Machine()),
    "never quiet, six cases alike": (_six(), _BUSY),
    "hardly felt by canaries, six that feel neighbours otherwise": (
        [[Simulated(ratio=ratio, sensitivity=felt) for ratio, felt in zip(_RATIOS, (0.35, 0.6, 0.4, 0.45, 0.5, 0.55), strict=True)]],
        _LOUD,
    ),
    "six whose processes are unlike, by up to 16 times": (
        [[Simulated(ratio=ratio, process=0.005 * 2**place) for place, ratio in enumerate(_RATIOS)]], Machine(),
    ),
    "six, the processes of one of which are ten times as unlike": (_six(process=0.07), Machine()),
    "six, one in four processes of one of which is 3 % slower": (_six(slow_mode=0.03), Machine()),
    "hardly felt by canaries, six, one of which stalls": (_six(stalls=0.5), _LOUD),
    "never quiet, four networks of three cases": ([[Simulated(ratio=1.0 + 0.2 * n) for _ in range(3)] for n in range(4)], _BUSY),
    "hardly felt by canaries, six networks of two cases": ([[Simulated(), Simulated(ratio=1.1)] for _ in range(6)], _LOUD),
}  # fmt: skip
_Key = tuple[int, int]  # of a case: its network, and its place there


def table(random: Random, networks: list[list[Simulated]], machine: Machine) -> dict[tuple[_Key, _Key], Pair]:
    """Return what is said of each pair where the race lets it go: at a look, when it is settled."""
    made = {
        (network, place): {ROUNDS * network + number: turns for number, turns in each.items()}
        for network, cases in enumerate(networks)
        for place, each in enumerate(blocks(random, cases, machine, LOOKS[-1][0]))
    }
    both = list(combinations(made, 2))
    said: dict[tuple[_Key, _Key], Pair] = {}
    for count, _ in LOOKS:
        taken = {
            key: {n: turns for n, turns in each.items() if n % ROUNDS <= count} for key, each in made.items()
        }
        samples = together(taken)
        for a, b in both:
            if (a, b) not in said or not said[a, b].settled:
                said[a, b] = pair(samples[a], samples[b], pairs=len(both))
    return said


def stopped(random: Random, cases: list[Simulated], machine: Machine) -> tuple[Pair, int]:
    """Return what is said of the first two when the race stops, as it does: at a look, when the pair is settled."""
    made = blocks(random, cases, machine, LOOKS[-1][0])
    for count, _ in LOOKS:
        taken = [{n: each[n] for n in range(1, count + 1)} for each in made]
        above = _above(taken[0], _record()) if machine in _ON_RECORD else quiet.AT_RECORD
        samples = together(dict(enumerate(taken)), above or quiet.AT_RECORD)
        said = Pair() if above is None else pair(samples[0], samples[1])
        if said.settled:
            break
    return said, count


def _above(taken: dict[int, list[Turn]], record: quiet.Level) -> quiet.Above | None:
    """How far the session lies above a record: a case that leaves its canaries alone stands for the null runtime."""
    turns = [turn for each in taken.values() for turn in each]
    level = quiet.level(turns)
    assert level is not None
    return quiet.Levels(level, record).above


@cache
def _record() -> quiet.Level:
    (null,) = blocks(Random("record"), [Simulated()], Machine(contention=0.0), LOOKS[-1][0])
    level = quiet.level(turn for turns in null.values() for turn in turns)
    assert level is not None
    return level


def _figure(name: str, number: int, trials: int) -> Figure:
    *cases, machine = _SETTINGS[name]
    random = Random(number)
    truth = math.log(cases[1].ratio)
    covered = false = found = used = refused = adjusted = 0
    widths = []
    for _ in range(trials):
        said, count = stopped(random, cases, machine)
        used += count
        refused += said.state == "load-dependent"
        adjusted += said.adjusted
        if said.low is None or said.high is None:
            covered += 1  # nothing was stated
            continue
        covered += math.log(said.low) <= truth <= math.log(said.high)
        widths.append(math.log(said.high / said.low) / 2)
        found += said.verdict == "faster"
        false += _is_false(said.verdict, truth)
    # An interval that is never stated misses nothing: but where nothing can be known, that is the right answer.
    stated = machine is _NEVER_LEAVING or len(widths) >= 0.9 * trials
    return Figure(
        name=f"{name}: intervals that cover",
        value=f"{covered} of {trials}",
        bar="≥ 98.5 %, no false verdict" + ("" if machine is _NEVER_LEAVING else ", stated in ≥ 90 %"),
        met=covered / trials >= 0.985 and false == 0 and stated,
        note=f"stated in {len(widths) / trials:.0%}, false verdicts {false} (95 % bound {upper_bound(false, trials):.2%}), faster said in "
        f"{found / trials:.0%}, half-width {sum(widths) / max(1, len(widths)):.2%}, "
        f"{used / trials:.1f} blocks, load-dependent {refused / trials:.1%}, adjusted {adjusted / trials:.0%}",
    )


def _table_figure(name: str, number: int, trials: int) -> Figure:
    networks, machine = _TABLES[name]
    random = Random(number)
    covered = false = stated = decided = 0
    widths = []
    for _ in range(trials):
        all_cover, any_false = True, False
        told = table(random, networks, machine)
        for (a, b), said in told.items():
            if said.low is None or said.high is None:
                continue
            truth = networks[b[0]][b[1]].log_time - networks[a[0]][a[1]].log_time
            all_cover &= math.log(said.low) <= truth <= math.log(said.high)
            any_false |= _is_false(said.verdict, truth)
            widths.append(math.log(said.high / said.low) / 2)
            decided += said.verdict != "not decided"
            stated += 1
        covered += all_cover
        false += any_false
    pairs = trials * len(told)
    return Figure(
        name=f"{name}: tables of which all {len(told)} intervals cover", value=f"{covered} of {trials}",
        bar="≥ 98.5 %, no false verdict, stated in ≥ 90 %", met=covered / trials >= 0.985 and false == 0 and stated >= 0.9 * pairs,
        note=f"stated in {stated / pairs:.0%}, tables with a false verdict {false} (95 % bound {upper_bound(false, trials):.2%}), "
        f"half-width {sum(widths) / max(1, len(widths)):.2%}, decided {decided / pairs:.0%}",
    )  # fmt: skip


def _is_false(verdict: str, truth: float) -> bool:
    """Whether a verdict of the first against the second is wrong; `truth` is the log of the second over the first."""
    if verdict == "the same":
        return abs(truth) > math.log1p(EQUAL)
    return (verdict == "faster" and truth <= 0.0) or (verdict == "slower" and truth >= 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500, help="of each setting")
    parser.add_argument(
        "--tables", type=int, default=200, help="of each setting whose pairs are stated together"
    )
    options = parser.parse_args()
    wanted = [(_figure, name, options.trials) for name in _SETTINGS]
    wanted += [(_table_figure, name, options.tables) for name in _TABLES]
    # Threads would share one interpreter; a setting is a process's, its seed its number.
    with ProcessPoolExecutor() as pool:
        asked = [pool.submit(of, name, number, trials) for number, (of, name, trials) in enumerate(wanted)]
        figures = [each.result() for each in track(asked, "settings")]
    publish("3", "intervals cover at stopping (simulation)", figures, seeds=f"0 to {len(wanted) - 1}")


if __name__ == "__main__":
    main()
