"""Which cases are measured alive together, and by which numbers their blocks are known. It computes, and starts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unetbench.keys import digest
from unetbench.records import REFERENCE, ROUNDS, Block, Case, Result

_FP32, _FP64 = 4, 8  # bytes of a number
_MEMORY_SHARE = 0.6  # of the memory granted, for all processes of a block

Group = tuple[Case, ...]


def groups(results: Iterable[Result], memory_bytes: int, inputs: int = 0) -> tuple[Group, ...]:
    """Return the cases that are measured alive together: one network and input, the reference with them.

    One that failed later stays in its group, which keeps its name; the race is told that it is lost. Where their
    peaks need more than the memory allows a group is split, each part with the reference. `inputs`: how many the blocks'
    reference has, where the processes alone may have held fewer.
    """
    peaks: dict[Case, int] = {}
    by_network: dict[str, list[Case]] = {}
    for result in results:
        if result.alone:
            alone = result.alone[-1]
            held = 0  # before it was taken off, peaks had it in them
            if alone.held_bytes is not None:
                held = max(alone.held_bytes, inputs * _held_bytes(result.case))
            peaks[result.case] = alone.peak_load_bytes + held  # which its process has, too
            by_network.setdefault(result.case.network_key(), []).append(result.case)
    return tuple(
        part for cases in by_network.values() for part in _parts(cases, peaks, memory_bytes * _MEMORY_SHARE)
    )


def _held_bytes(case: Case) -> int:
    """Return what measuring holds for one input: its pixels, the fp64 answer and the case's own."""
    of_pixel = _FP32 * case.network.in_channels + (_FP64 + _FP32) * case.network.classes
    return case.batch * case.height_px * case.width_px * of_pixel


def _parts(cases: Sequence[Case], peaks: Mapping[Case, int], room: float) -> list[Group]:
    reference = tuple(case for case in cases if case.recipe == REFERENCE)
    parts: list[Group] = []
    part = reference
    for case in cases:
        if case in reference:
            continue
        if len(part) > len(reference) and sum(peaks[each] for each in (*part, case)) > room:
            parts.append(part)
            part = reference
        part = (*part, case)
    return [*parts, part]


def group_key(group: Group) -> str:
    """Return the stored name of a group: other cases beside them make other blocks."""
    return digest(("group", *sorted(case.key() for case in group)))


def offsets(race_groups: Iterable[Group], blocks: Iterable[Block], used: Iterable[int]) -> dict[Group, int]:
    """Return what the block numbers of each group begin after: as before, or where no other's are.

    `used`: the numbers that results have, those too whose block a damaged store has lost.
    """
    known = {block.group: _offset(block.number) for block in blocks}
    free = max([*known.values(), *map(_offset, used)], default=-ROUNDS) + ROUNDS
    found = {}
    for group in race_groups:
        key = group_key(group)
        if key not in known:
            known[key] = free
            free += ROUNDS
        found[group] = known[key]
    return found


def _offset(number: int) -> int:
    return (number - 1) // ROUNDS * ROUNDS
