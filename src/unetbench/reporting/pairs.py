"""Every stated pair of a session as a row: its ratio, interval and verdict, with or without a reference among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import msgspec

from unetbench.reporting.row import Row
from unetbench.reporting.standing import Standings


class PairRow(msgspec.Struct, frozen=True, kw_only=True):
    """Two cases of one session whose blocks were paired. Ratios are the second's time over the first's."""

    first: str  # encoder, decoder and recipe
    second: str
    size: str
    batch: int
    classes: int
    channels: int
    threads: int
    ratio: float | None
    low: float | None  # the interval, in which all pairs of the session lie together at 99 %
    high: float | None
    verdict: str  # of the first against the second
    state: str  # why nothing more is said
    ungated_ratio: float | None  # with every run
    detectable: float | None  # the relative difference that would be found 4 times in 5
    blocks: int
    first_case: str
    second_case: str


def pair_rows(rows: Iterable[Row], said: Standings) -> Iterator[PairRow]:
    """Give the pairs in the order of the rows, the faster first."""
    for first, second in combinations([row for row in rows if row.case in said.cases], 2):
        pair = said.between(first.case, second.case)
        if pair is not None:
            yield PairRow(
                first=_named(first),
                second=_named(second),
                size=first.size,
                batch=first.batch,
                classes=first.classes,
                channels=first.channels,
                threads=first.threads,
                ratio=pair.ratio,
                low=pair.low,
                high=pair.high,
                verdict=pair.verdict,
                state=pair.state,
                ungated_ratio=pair.ungated,
                detectable=pair.detectable,
                blocks=pair.blocks,
                first_case=first.case,
                second_case=second.case,
            )


def _named(row: Row) -> str:
    return f"{row.network} {row.recipe}"
