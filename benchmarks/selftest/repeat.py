"""Proof 6: the same sweep twice, hours apart: do ratios to the reference agree, is any verdict reversed?

`uv run benchmarks/selftest/repeat.py STORE [STORE]` reads the two latest `standard` sessions of the stores.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from figures import Figure, publish

from unetbench.records import Session
from unetbench.reporting.standing import Standing, of_session
from unetbench.store import reading
from unetbench.verdicts import Pair


def main() -> None:
    found: list[tuple[Session, dict[str, Standing]]] = []
    for path in map(Path, sys.argv[1:]):
        with reading(path) as store:
            for session in store.sessions():
                said, _ = of_session(store, session, store.results(session.identifier))
                if said.cases:
                    found.append((session, dict(said.cases)))
    found.sort(key=lambda each: each[0].started_utc)
    if len(found) < 2:
        raise SystemExit("two sessions with paired blocks are needed: run a suite with --budget twice")
    (first, before), (second, after) = found[-2:]
    pairs = [
        (a, b)
        for key in before.keys() & after.keys()
        if (a := _looked(before[key])) is not None and (b := _looked(after[key])) is not None
    ]
    if not pairs:
        raise SystemExit("the two latest sessions have no case in common with a look made")
    within = sum(abs(_log(a) - _log(b)) <= math.hypot(_half(a), _half(b)) for a, b in pairs)
    reversed_ = sum({a.verdict, b.verdict} == {"faster", "slower"} for a, b in pairs)
    shifts = sorted(abs(_log(a) - _log(b)) for a, b in pairs)
    note = f"{first.started_utc} and {second.started_utc}, typical difference {shifts[len(shifts) // 2]:.2%}"
    asked = math.ceil(10 / 11 * len(pairs))
    publish(
        "6",
        "the same sweep twice",
        [
            Figure(name="ratios that agree within their intervals", value=f"{within} of {len(pairs)}",
                   bar="10 of 11", met=within >= asked, note=note),
            Figure(name="verdicts reversed", value=str(reversed_), bar="0", met=reversed_ == 0),
        ],
    )  # fmt: skip


def _looked(standing: Standing) -> Pair | None:
    pair = standing.against_reference
    return pair if pair is not None and pair.low is not None else None


def _log(pair: Pair) -> float:
    assert pair.ratio is not None
    return math.log(pair.ratio)


def _half(pair: Pair) -> float:
    assert pair.low is not None
    assert pair.high is not None
    return math.log(pair.high / pair.low) / 2


if __name__ == "__main__":
    main()
