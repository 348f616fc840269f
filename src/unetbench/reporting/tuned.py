"""What a search found: per network and measured class the fastest recipe, and those not told apart from it.

Classes share no rank: an exact form is never beaten by a less exact one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from unetbench.records import MEASURED_CLASSES, Recipe
from unetbench.reporting.attribution import in_short
from unetbench.reporting.report import Report
from unetbench.reporting.row import Row
from unetbench.reporting.rows import comparable


def lines(report: Report, cases: Collection[str]) -> Iterator[str]:
    """Return the findings of a session about those cases, by key: a few lines a network."""
    shown = [row for row in report.shown if row.case in cases]
    for (network, size), group in groupby(sorted(shown, key=_place), key=_place):
        rows = list(group)
        yield f"{network} at {size}"
        for measured_class in MEASURED_CLASSES:
            yield from _class_lines(report, measured_class, [row for row in rows if row.status == "ok"])
        blocks = sum(row.blocks is not None for row in rows)
        others = Counter(row.status for row in rows if row.status != "ok")
        told = "".join(f", {count} {status} (see above)" for status, count in sorted(others.items()))
        yield f"  tried {len(rows)} recipes: {blocks} in paired blocks{told}"


def _class_lines(report: Report, measured_class: str, rows: Sequence[Row]) -> Iterator[str]:
    found = [row for row in rows if row.measured_class == measured_class]
    if not found:
        yield f"  {measured_class}: none"
        return
    winner = min(comparable(found), key=lambda row: row.median_ms or float("inf"))
    yield f"  {measured_class}: {winner.recipe}"
    yield f"    {_time(winner)}; error {winner.relative_error:.0e}, same class on {winner.agreement:.2%} of the pixels"
    if found_of_it := report.limits.attribution(winner.case):
        yield f"    its time: {in_short(found_of_it, Recipe.parse(winner.recipe).precision)}"
    if winner.interval_low_ms is None and any(row.interval_low_ms is not None for row in found):
        yield "    blocks too few to tell it apart; it was faster than all others alone, too"
    tied = [row.recipe for row in found if row is not winner and _tied(report, winner, row)]
    for recipe in tied:
        yield f"    not told apart from it: {recipe}"


def _time(row: Row) -> str:
    low, high = row.interval_low_ms, row.interval_high_ms
    if low is not None and high is not None:
        sure = f" ({low:.4g}–{high:.4g})"
    else:
        sure = ", alone" if row.blocks is None else f", {row.blocks} blocks without an interval"
    faster = "" if row.speedup is None else f", {row.speedup:.3g} × torch_eager/fp32"
    if row.speedup_low is not None and row.speedup_high is not None:
        faster += f" ({row.speedup_low:.3g}–{row.speedup_high:.3g})"
    return f"{row.median_ms:.4g} ms{sure}{faster}"


def _tied(report: Report, winner: Row, row: Row) -> bool:
    first, other = report.said.cases.get(winner.case), report.said.cases.get(row.case)
    looked = first is not None and other is not None and None not in (first.best_rank, other.best_rank)
    return looked and not report.said.told_apart(winner.case, row.case)


def _place(row: Row) -> tuple[str, str]:
    return (row.network, row.size)
