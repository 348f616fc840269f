"""Results to table rows: what blocks say of them, speed-ups against the reference, winners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from msgspec.structs import replace

from unetbench.records import MEASURED_CLASSES, REFERENCE, Result
from unetbench.reporting.row import Row, of_result
from unetbench.reporting.standing import NONE, Standing, Standings
from unetbench.stats import NS_PER_MS


def rows(results: Iterable[Result], said: Standings = NONE) -> tuple[Row, ...]:
    """Return the rows of results, fastest first, failures last; `said` is what their blocks say.

    A speed-up is against torch_eager/fp32 on the same network and input in the same session: by paired
    blocks where there are some, else by processes that ran alone.
    """
    standing = said.cases
    found = []
    for result in results:
        row = of_result(result)
        # Where blocks say a time, it is none of the process alone's that others disturbed that one.
        if row.status in ("ok", "not quiet") and row.case in standing:
            row = _with_blocks(row, standing[row.case], result)
        found.append((_place(result), result.case.recipe == REFERENCE, row))
    reference = {place: row for place, is_reference, row in found if is_reference}
    made = []
    for place, _, row in found:
        base = reference.get(place)
        if base and row.status == base.status == "ok":
            row = _against(row, base, standing.get(row.case))
        made.append(row)
    return _with_winners(sorted(made, key=_slowness))


def comparable(table: Iterable[Row]) -> list[Row]:
    """Return of each network's rows those with the surest kind of time that any of them has.

    Those are blocks with an interval, else blocks, else processes alone: one kind is no match for another. What has
    blocks too few for an interval is among them where these lie below all intervals of those and it was faster alone.
    """
    return [row for of in _by_network(table) for row in _surest(of)]


def _by_network(table: Iterable[Row]) -> Iterable[list[Row]]:
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in table:
        if row.status == "ok":
            found.setdefault(_network(row), []).append(row)
    return found.values()


def _surest(of_network: Sequence[Row]) -> Iterator[Row]:
    surest = max(map(_sureness, of_network))
    best = [row for row in of_network if _sureness(row) == surest]
    return (row for row in of_network if _sureness(row) == surest or _outruns(row, best))


def _sureness(row: Row) -> int:
    return (row.blocks is not None) + (row.interval_low_ms is not None)


def _outruns(row: Row, others: Sequence[Row]) -> bool:
    """Whether a row with blocks is faster than all others both in them, below their intervals, and alone."""
    if row.blocks is None:
        return False
    return all(
        ours is not None and theirs is not None and ours < theirs
        for other in others
        for ours, theirs in (
            (row.median_ms, other.interval_low_ms or other.median_ms),
            (row.alone_ms, other.alone_ms),
        )
    )


def _with_winners(ordered: Sequence[Row]) -> tuple[Row, ...]:
    """Mark in rows, fastest first, those of a network that nothing as exact or more so outruns."""
    # By identity: the keys of rows may be of several sessions.
    winning = {id(row) for of_network in _by_network(ordered) for row in _winning(of_network)}
    return tuple(replace(row, winner=row.measured_class) if id(row) in winning else row for row in ordered)


def _winning(of_network: Sequence[Row]) -> Iterable[Row]:
    return of_network if len(of_network) == 1 else _outrun_by_none(of_network)


def _outrun_by_none(of_network: Sequence[Row]) -> Iterator[Row]:
    fastest: Row | None = None  # among the winners so far
    for place, measured_class in enumerate(MEASURED_CLASSES):
        as_exact = [row for row in of_network if row.measured_class in MEASURED_CLASSES[: place + 1]]
        best = next(_surest(as_exact), None) if as_exact else None
        if best is None or best.measured_class != measured_class:
            continue
        # One more exact may have won already that has blocks too few to be compared with this one.
        if fastest is None or _slowness(best) <= _slowness(fastest):
            fastest = best
            yield best


def _network(row: Row) -> tuple[object, ...]:
    """What rows share that may be told from each other by their recipes alone; the session last."""
    return (
        row.encoder, row.decoder, row.weights, row.size, row.batch, row.classes, row.channels, row.threads, row.session,
    )  # fmt: skip


def _place(result: Result) -> tuple[object, ...]:
    """What a case shares with its reference: all but the recipe."""
    case = result.case
    return (
        result.session,
        case.network,
        case.batch,
        case.height_px,
        case.width_px,
        case.threads,
        case.device,
    )


def _with_blocks(row: Row, standing: Standing, result: Result) -> Row:
    """Put what the blocks say in the place of what the process alone said."""
    time = standing.steady
    # Of the blocks, as the time is; a damaged store may have lost theirs.
    known = list(result.blocks.values()) or result.alone[-1:]
    handed = [sum(ns) for each in known for ns in zip(each.bind_ns, each.read_ns, strict=True)]
    assert row.median_ms is not None and row.images_per_s is not None
    images_per_s = row.images_per_s * row.median_ms / time.median_ms
    assert row.parameters_m is not None
    return replace(
        row,
        median_ms=time.median_ms,
        end_to_end_ms=time.median_ms + median(handed) / NS_PER_MS,
        images_per_s=images_per_s,
        images_per_s_per_m=images_per_s / row.parameters_m,
        interval_low_ms=time.low_ms,
        interval_high_ms=time.high_ms,
        blocks=time.blocks,
        rank=standing.rank,
        quiet_share=time.quiet_share,
        adjusted=time.adjusted,
        status="unsteady" if time.unsteady else "ok",
        reason="its time still changes in the second half of each block" if time.unsteady else "",
    )


def _against(row: Row, base: Row, standing: Standing | None) -> Row:
    """Compare a row with its reference's."""
    pair = standing.against_reference if standing else None
    if pair is not None and pair.ratio is not None:
        return replace(
            row,
            speedup=pair.ratio,
            speedup_low=pair.low,
            speedup_high=pair.high,
            speedup_ungated=pair.ungated,
            verdict=pair.state or (pair.verdict if pair.low is not None else ""),
            detectable=pair.detectable,
            # No gain, nothing to repay it.
            pays_after_images=_pays_after(row, base, alone=False) if pair.verdict == "faster" else None,
        )
    speedup = 1.0 if row is base else alone_ratio(row, base)
    return replace(row, speedup=speedup, pays_after_images=_pays_after(row, base, alone=True))


def alone_ratio(row: Row, base: Row) -> float | None:
    """How many times as fast a row is by processes alone; a time of blocks, brought to quiet, is no match for one."""
    return base.alone_ms / row.alone_ms if base.alone_ms and row.alone_ms else None


def _pays_after(row: Row, base: Row, *, alone: bool) -> float | None:
    """Images after which a longer preparation is repaid by faster runs; None where it never is.

    Runs are those of processes alone, or of blocks: one kind is no match for the other.
    """
    took_s, base_took_s = (_image_s(each, alone=alone) for each in (row, base))
    if not (took_s and base_took_s and row.cold_s and base.cold_s) or took_s >= base_took_s:
        return None
    return max(0.0, (row.cold_s - base.cold_s) / (base_took_s - took_s))


def _image_s(row: Row, *, alone: bool) -> float | None:
    if alone:
        return row.alone_ms / 1e3 / row.batch if row.alone_ms else None
    return 1.0 / row.images_per_s if row.images_per_s else None


def winners(table: Iterable[Row]) -> tuple[Row, ...]:
    """Return of each network the fastest row, and those that are fastest among answers as exact or more so."""
    return tuple(row for row in table if row.winner)


def fastest_per_network(table: Sequence[Row]) -> tuple[Row, ...]:
    """Return the fastest quietly measured row of each network and input, fastest first."""
    best: dict[tuple[object, ...], Row] = {}
    for row in sorted(comparable(table), key=_slowness):
        best.setdefault(_network(row)[:-1], row)  # whatever its session
    return tuple(best.values())


def _slowness(row: Row) -> tuple[bool, float, str, str]:
    per_image = float("inf") if row.images_per_s is None else 1.0 / row.images_per_s
    return (row.status != "ok", per_image, row.encoder, row.recipe)
