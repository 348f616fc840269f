"""How many times as fast the fastest form of one kind is as the fastest of another, network by network.

Only what was measured under the same conditions is compared: every ratio is within one network's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from unetbench.records import REFERENCE, Recipe
from unetbench.reporting.row import Row
from unetbench.reporting.rows import alone_ratio, comparable
from unetbench.reporting.standing import NONE, Standings

USUAL = ("torch_compile", "onnxruntime", "openvino")  # what users run today
AS_IT_COMES = {"reparameterize", "channels_last"}  # rewrites that they have too
_USUAL_OPTIONS = {"freezing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How many times as fast one choice is as another on one network."""

    ours: Row
    theirs: Row
    ratio: float
    interval: tuple[float, float] | None = None  # of paired blocks, at the confidence that all pairs share

    def __str__(self) -> str:
        between = "" if self.interval is None else " ({:.2f}–{:.2f})".format(*self.interval)
        return f"{self.ratio:.2f}{between}"


def gains(
    rows: Sequence[Row],
    networks: Iterable[str],
    *,
    ours: Callable[[Row], bool],
    theirs: Callable[[Row], bool],
    said: Standings = NONE,
) -> dict[str, Gain]:
    """Return by network how many times as fast the fastest of one kind is as the fastest of another."""
    found = {}
    for network in networks:
        best, other = fastest(rows, network, ours), fastest(rows, network, theirs)
        if best and other and (gained := gain(best, other, said)):
            found[network] = gained
    return found


def gain(ours: Row, theirs: Row, said: Standings = NONE) -> Gain | None:
    """Return what blocks say of the two, as a row's speed-up does, else their processes alone; None where neither does."""
    pair = said.between(ours.case, theirs.case)
    ratio, interval = alone_ratio(ours, theirs) if pair is None or pair.ratio is None else pair.ratio, None
    if ratio is None:
        return None
    if pair is not None and pair.low is not None and pair.high is not None:
        interval = (pair.low, pair.high)
    return Gain(ours=ours, theirs=theirs, ratio=ratio, interval=interval)


def counts_as_fp32(row: Row) -> bool:
    """Whether its answer is as good as that of fp32 arithmetic."""
    return row.measured_class in ("exact", "near")


def is_reference(row: Row) -> bool:
    return row.recipe == str(REFERENCE)


def is_usual(row: Row) -> bool:
    """Whether it is a runtime as it comes, as people use it today."""
    recipe = Recipe.parse(row.recipe)
    plain = {rewrite.name for rewrite in recipe.rewrites} <= AS_IT_COMES
    names = {choice.name for choice in recipe.runtimes}
    options = {key for choice in recipe.runtimes for key, _ in choice.options}
    alone = len(recipe.runtimes) == 1 and names <= set(USUAL)
    return alone and recipe.precision == "fp32" and plain and options <= _USUAL_OPTIONS


def fastest(rows: Sequence[Row], network: str, wanted: Callable[[Row], bool]) -> Row | None:
    """Return the fastest row of one kind among those of a network that may be compared."""
    found = comparable(row for row in rows if row.network == network and wanted(row))
    return min(found, key=_time, default=None)


def _time(row: Row) -> float:
    return float("inf") if row.median_ms is None else row.median_ms
