"""Proof 6: the same sweep twice, hours apart: do ratios agree, is any verdict reversed?

`uv run benchmarks/selftest/repeat.py STORE [STORE]` reads the two latest sessions with paired blocks of the
stores, and compares every pair of cases that both have looked at.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from figures import Figure, publish

from unetbench.quiet import AT_RECORD, Above
from unetbench.records import Session
from unetbench.reporting.standing import Standings, of_session, standings, swapped
from unetbench.store import reading
from unetbench.verdicts import LOOKS_OF, Pair


def main() -> None:
    found: list[tuple[Session, Standings, Standings, Above | None]] = []
    for path in map(Path, sys.argv[1:]):
        with reading(path) as store:
            for session in store.sessions():
                results = store.results(session.identifier)
                said, above_by_threads = of_session(store, session, results)
                for above in above_by_threads.values() if said.cases else ():
                    aside = said if above == AT_RECORD else standings(results, LOOKS_OF[session.preset])
                    found.append((session, said, aside, above))
    found.sort(key=lambda each: each[0].started_utc)
    if len(found) < 2:
        raise SystemExit("two sessions with paired blocks are needed: run a suite with --budget twice")
    (first, before, plain_before, above_before), (second, after, plain_after, above_after) = found[-2:]
    pairs, plain = _both(before, after), _both(plain_before, plain_after)
    if not plain:
        raise SystemExit("the two latest sessions have no pair in common with a look made")
    within = sum(abs(_log(a) - _log(b)) <= math.hypot(_half(a), _half(b)) for a, b in pairs)
    shifts = sorted(abs(_log(a) - _log(b)) for a, b in pairs)
    note = (
        f"{first.started_utc} and {second.started_utc}; above the level on record by "
        f"{_far(above_before)} and {_far(above_after)}"
    )
    reversed_, decided = _reversed(pairs)
    aside, decided_aside = _reversed(plain)
    publish(
        "6",
        "the same sweep twice",
        [
            Figure(name="pairs decided", value=_decided(before, after), bar="half",
                   met=all(2 * said.decided >= said.stated for said in (before, after)), note=note),
            Figure(name="ratios that agree within their intervals", value=f"{within} of {len(pairs)}",
                   bar="10 of 11", met=bool(pairs) and within >= math.ceil(10 / 11 * len(pairs)),
                   note=f"typical difference {shifts[len(shifts) // 2]:.2%}" if pairs else ""),
            Figure(name="verdicts reversed", value=f"{reversed_} of {decided}", bar="0 of some",
                   met=reversed_ == 0 < decided),
            Figure(name="the level on record left aside: verdicts reversed", value=f"{aside} of {decided_aside}",
                   bar="told only", met=None, note=f"decided {_decided(plain_before, plain_after)}"),
        ],
    )  # fmt: skip


def _both(before: Standings, after: Standings) -> list[tuple[Pair, Pair]]:
    """The pairs that both have looked at."""
    return [(a, b) for key, a in before.pairs.items() if a.low and (b := _pair(after, *key)) and b.low]


def _reversed(pairs: list[tuple[Pair, Pair]]) -> tuple[int, int]:
    """How many verdicts are each other's opposite, of how many pairs that both have decided."""
    decided = [(a, b) for a, b in pairs if "not decided" not in {a.verdict, b.verdict}]
    return sum({a.verdict, b.verdict} == {"faster", "slower"} for a, b in decided), len(decided)


def _decided(before: Standings, after: Standings) -> str:
    return f"{before.decided} of {before.stated} and {after.decided} of {after.stated}"


def _far(above: Above | None) -> str:
    if above is None:
        return "too much"
    return " in cache, ".join(f"{math.expm1(far):.0%}" for far in above) + " in memory"


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
