"""What a search found: per network and measured class the fastest recipe, and those not told apart from it.

Classes share no rank: an exact form is never beaten by a less exact one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from unetbench.amounts import counted
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
        quiet = [row for row in rows if row.status == "ok"]
        for place, measured_class in enumerate(MEASURED_CLASSES):
            yield from _class_lines(report, measured_class, quiet, MEASURED_CLASSES[:place])
        blocks = sum(row.blocks is not None for row in rows)
        others = Counter(row.status for row in rows if row.status != "ok")
        told = "".join(f", {count} {status} (see above)" for status, count in sorted(others.items()))
        yield f"  tried {len(rows)} recipes: {blocks} in paired blocks{told}"


def _class_lines(
    report: Report, measured_class: str, rows: Sequence[Row], more_exact: Sequence[str]
) -> Iterator[str]:
    found = [row for row in rows if row.measured_class == measured_class]
    if not found:
        yield f"  {measured_class}: none"
        return
    if _outdone(found, [row for row in rows if row.measured_class in more_exact]):
        yield f"  {measured_class}: none that is faster than a more exact one"
        return
    winner = min(comparable(found), key=_slowness)
    yield f"  {measured_class}: {winner.recipe}"
    yield f"    {_time(winner)}; error {winner.relative_error:.0e}, same class on {winner.agreement:.2%} of the pixels"
    if found_of_it := report.limits.attribution(winner.case):
        yield f"    its time: {in_short(found_of_it, Recipe.parse(winner.recipe).precision)}"
    if winner.interval_low_ms is None and any(row.interval_low_ms is not None for row in found):
        yield "    blocks too few to tell it apart; it was faster than all others alone, too"
    tied = [
        row.recipe
        for row in found
        if row is not winner and report.said.told_apart(winner.case, row.case) is False
    ]
    for recipe in tied:
        yield f"    not told apart from it: {recipe}"


def _outdone(found: Sequence[Row], more_exact: Sequence[Row]) -> bool:
    """Whether a more exact row is faster than all of a class: by the surest times that both have, else alone."""
    if not more_exact:
        return False
    best = comparable([*found, *more_exact])
    own = [row for row in best if row in found]
    if own and len(own) < len(best):
        return min(best, key=_slowness) not in found
    alone, rivals = ([row.alone_ms for row in of if row.alone_ms] for of in (found, more_exact))
    return bool(alone and rivals) and min(alone) > min(rivals)


def _slowness(row: Row) -> float:
    return row.median_ms or float("inf")


def _time(row: Row) -> str:
    low, high = row.interval_low_ms, row.interval_high_ms
    if low is not None and high is not None:
        sure = f" ({low:.4g}–{high:.4g})"
    else:
        sure = ", alone" if row.blocks is None else f", {counted(row.blocks, 'block')} without an interval"
    faster = "" if row.speedup is None else f", {row.speedup:.3g} × torch_eager/fp32"
    if row.speedup_low is not None and row.speedup_high is not None:
        faster += f" ({row.speedup_low:.3g}–{row.speedup_high:.3g})"
    return f"{row.median_ms:.4g} ms{sure}{faster}"


def _place(row: Row) -> tuple[str, str]:
    return (row.network, row.size)
