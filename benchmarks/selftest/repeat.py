"""Proof 6: the same sweep twice, hours apart: do ratios agree, is any verdict reversed?

`uv run benchmarks/selftest/repeat.py STORE [STORE]` reads the two latest sessions with paired blocks of the
stores, and compares every pair of cases that both have looked at.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from figures import Figure, publish

from unetbench.records import Session
from unetbench.reporting.standing import Standings, of_session, swapped
from unetbench.store import reading
from unetbench.verdicts import Pair


def main() -> None:
    found: list[tuple[Session, Standings]] = []
    for path in map(Path, sys.argv[1:]):
        with reading(path) as store:
            for session in store.sessions():
                said, _ = of_session(store, session, store.results(session.identifier))
                if said.cases:
                    found.append((session, said))
    found.sort(key=lambda each: each[0].started_utc)
    if len(found) < 2:
        raise SystemExit("two sessions with paired blocks are needed: run a suite with --budget twice")
    (first, before), (second, after) = found[-2:]
    pairs = [(a, b) for key, a in before.pairs.items() if a.low and (b := _pair(after, *key)) and b.low]
    if not pairs:
        raise SystemExit("the two latest sessions have no pair in common with a look made")
    within = sum(abs(_log(a) - _log(b)) <= math.hypot(_half(a), _half(b)) for a, b in pairs)
    decided = [(a, b) for a, b in pairs if "not decided" not in {a.verdict, b.verdict}]
    reversed_ = sum({a.verdict, b.verdict} == {"faster", "slower"} for a, b in decided)
    shifts = sorted(abs(_log(a) - _log(b)) for a, b in pairs)
    note = f"{first.started_utc} and {second.started_utc}, typical difference {shifts[len(shifts) // 2]:.2%}"
    both = f"{before.decided} of {before.stated} and {after.decided} of {after.stated}"
    publish(
        "6",
        "the same sweep twice",
        [
            Figure(name="pairs decided", value=both, bar="half",
                   met=all(2 * said.decided >= said.stated for said in (before, after)), note=note),
            Figure(name="ratios that agree within their intervals", value=f"{within} of {len(pairs)}",
                   bar="10 of 11", met=within >= math.ceil(10 / 11 * len(pairs))),
            Figure(name="verdicts reversed", value=f"{reversed_} of {len(decided)}", bar="0", met=reversed_ == 0),
        ],
    )  # fmt: skip


def _pair(said: Standings, first: str, second: str) -> Pair | None:
    if (first, second) in said.pairs:
        return said.pairs[first, second]
    other = said.pairs.get((second, first))
    return swapped(other) if other else None


def _log(pair: Pair) -> float:
    assert pair.ratio is not None
    return math.log(pair.ratio)


def _half(pair: Pair) -> float:
    assert pair.low is not None
    assert pair.high is not None
    return math.log(pair.high / pair.low) / 2


if __name__ == "__main__":
    main()
