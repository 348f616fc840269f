"""Proofs 1, 1b and 2: same against same, known ratios, and 3 % more work; on a machine left alone and disturbed.

Each trial is a race of two cases of fresh processes, with the protocol's looks and its stopping. Load is a
process that spins on one core at random times. Trials are kept: the same command goes on from them.
"""

from __future__ import annotations

import argparse
import math
import time
from contextlib import nullcontext

import kept
from figures import Figure, publish, upper_bound
from kept import Trial
from trials import Clock, from_here, load, per_ms, raced, small_canary

_MS = 1.0  # of a run


def trial(
    of: str, kind: str, ratio: float, *, seed: int, canary: object, amount: float, disturbed: bool
) -> Trial:
    """Return what a race says of two cases whose true ratio is known."""
    work = {"first": (kind, amount), "second": (kind, amount * ratio)}
    began = time.monotonic()
    with load(seed, burst_s=0.3, pause_s=1.0) if disturbed else nullcontext():
        said, blocks = raced(work, canary=canary, seed=seed)
    return Trial.told(of, seed, said, blocks=blocks, minutes=(time.monotonic() - began) / 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300, help="of same against same, and of 3 % more work")
    parser.add_argument("--minutes", type=float, default=20.0, help="for each proof, about")
    parser.add_argument("--proof", choices=_PROOFS, action="append", help="this alone (default: all)")
    options = parser.parse_args()
    from_here()
    canary = small_canary()
    for proof in options.proof or _PROOFS:
        _PROOFS[proof](options.trials, options.minutes, canary)
    canary.close()


def _same(trials: int, minutes: float, canary: object) -> None:
    same = [_figure("compute", 1.0, trials, minutes, canary, disturbed=True)]
    _publish("1", "same against same, random load on one core", same)


def _known(trials: int, minutes: float, canary: object) -> None:
    known = []
    for kind in ("compute", "stream", "deadline"):
        for disturbed in (False, True):
            known.append(_figure(kind, 1.1, max(1, trials // 18), minutes / 6, canary, disturbed))
    _publish("1b", "a true ratio of 1.1, with and without load", known)


def _slower(trials: int, minutes: float, canary: object) -> None:
    slower = []
    for percent in (1, 2, 5, 3):
        count, share = (trials, 1.0) if percent == 3 else (max(1, trials // 30), 0.2)
        slower.append(_figure("compute", 1 + percent / 100, count, minutes * share, canary, disturbed=False))
    _publish("2", "more work is found", slower)


def _publish(number: str, title: str, told: list[tuple[Figure, list[Trial]]]) -> None:
    machines = [trial.machine for _, made in told for trial in made]
    publish(number, title, [figure for figure, _ in told], seeds="0, 1, 2 …", machines=machines)


_PROOFS = {"1": _same, "1b": _known, "2": _slower}


def _figure(
    kind: str, ratio: float, trials: int, minutes: float, canary: object, disturbed: bool
) -> tuple[Figure, list[Trial]]:
    amount = per_ms(kind) * _MS
    clock = Clock(minutes * 60)
    name = f"{kind}, true ratio {ratio:g}, {'disturbed' if disturbed else 'left alone'}"

    def make(seed: int) -> Trial:
        return trial(name, kind, ratio, seed=seed, canary=canary, amount=amount, disturbed=disturbed)

    for made in kept.each(name, trials, make, over=lambda: clock.over):
        said = made
    count = len(said)
    found = sum(each.verdict == "faster" for each in said)
    never = {"slower", "faster"} if ratio == 1.0 else {"slower", "the same"} if ratio > 1.02 else {"slower"}
    wrong = sum(each.verdict in never for each in said)
    stated = [each for each in said if each.low and each.high and each.ratio]
    missed = sum(not each.low <= ratio <= each.high for each in stated)
    shifts = sorted(abs(math.log(each.ratio / ratio)) for each in stated if each.verdict != "not decided")
    widths = [math.log(each.high / each.low) / 2 for each in stated]
    allowed = _allowed(len(stated))
    sound = wrong == 0 and missed <= allowed
    note = (
        f"wrong verdicts {wrong}, 99 % intervals that miss the truth {missed} (bar: {allowed} of {len(stated)}), mean half-width "
        f"{sum(widths) / max(1, len(widths)):.2%}, no interval in {count - len(stated)}, "
        f"{sum(each.blocks for each in said) / max(1, count):.1f} blocks on average"
    )
    if ratio == 1.0:
        return Figure(
            name=f"{name}: false verdicts", value=f"{wrong} of {count}", bar=f"0 of {trials}",
            met=sound and count == trials,
            note=f"95 % bound {upper_bound(wrong, count):.2%}; {note}",
        ), said  # fmt: skip
    if ratio == 1.1:
        typical = shifts[len(shifts) // 2] if shifts else 0.0
        return Figure(
            name=f"{name}: typical shift of the ratio", value=f"{typical:.2%} in {len(shifts)} of {count}",
            bar="≤ 1 % or no verdict", met=sound and typical <= 0.01, note=note,
        ), said  # fmt: skip
    asked = ratio == 1.03  # the others draw the curve
    return Figure(
        name=f"{name}: found", value=f"{found} of {count}", bar="≥ 93 % of 300" if asked else "none wrong",
        met=sound and (not asked or (found >= 0.93 * count and count == trials)), note=note,
    ), said  # fmt: skip


def _allowed(count: int) -> int:
    """Return how many of so many 99 % intervals may miss the truth: more would be as unlikely as more than 7 of 300."""

    def more_than(most: int, of: int) -> float:
        return 1 - sum(math.comb(of, k) * 0.01**k * 0.99 ** (of - k) for k in range(most + 1))

    return next(most for most in range(count + 1) if more_than(most, count) <= more_than(7, 300))


if __name__ == "__main__":
    main()
