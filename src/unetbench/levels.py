"""How quiet a stored session was beside the quietest on record for its machine and threads, and who disturbs canaries.

Reads a store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev

from unetbench import quiet, student_t
from unetbench.records import Case, Result, Session, Turn
from unetbench.samples import LEAST_BLOCKS
from unetbench.store import Store
from unetbench.verdicts import ALPHA

_OTHERWISE = math.log(1.02)  # what canaries may read more or less around a case than around nothing


def levels(store: Store, session: Session, results: Iterable[Result]) -> dict[int, quiet.Levels]:
    """Return by threads a session's quiet level and the lowest on record; nothing where it has no blocks."""
    results = tuple(results)
    earlier = [
        store.facts(each.identifier).get(quiet.FACT) or {}
        for each in store.sessions()
        # What a shell sets for runtimes moves no canary.
        if each.identifier != session.identifier
        and same_canary(each, session)
        and set(each.machine.differs_from(session.machine)) <= {"environment"}
    ]
    found = {}
    for threads in {result.case.threads for result in results if result.blocks}:
        own = quiet.level(null_turns(store, session, results, threads))
        if own is not None:
            on_record = [fact[str(threads)] for fact in earlier if str(threads) in fact]
            found[threads] = quiet.Levels(own, quiet.lowest([own, *on_record]))
    return found


def same_canary(first: Session, second: Session) -> bool:
    """Return whether two sessions' canaries are the same work: their kernels are NumPy's."""
    return len({dict(each.machine.versions).get("numpy") for each in (first, second)}) == 1


def disturbing(store: Store, session: Session, results: Iterable[Result]) -> tuple[Case, ...]:
    """Return the cases around whose turns canaries read otherwise than around the null runtime's, beyond doubt."""
    null = {block.number: block.null_turns for block in store.blocks(session.identifier)}
    turned = [result for result in results if result.blocks]
    alpha = ALPHA / 4 / max(1, len(turned))
    return tuple(
        result.case
        for result in turned
        if any(_reads_otherwise(result.turns, null, place, alpha) for place in range(4))
    )


def _reads_otherwise(
    own: Mapping[int, Sequence[Turn]], null: Mapping[int, Sequence[Turn]], place: int, alpha: float
) -> bool:
    """Whether the whole interval over blocks lies beyond what is allowed; `place` is one of the four readings of a turn."""
    apart = [
        median(_log(turn, place) for turn in turns) - median(_log(turn, place) for turn in null[number])
        for number, turns in own.items()
        if turns and null.get(number)
    ]
    if len(apart) < LEAST_BLOCKS:
        return False
    unsure = student_t.quantile(alpha, len(apart) - 1) * stdev(apart) / math.sqrt(len(apart))
    return abs(fmean(apart)) - unsure > _OTHERWISE


def _log(turn: Turn, place: int) -> float:
    return math.log((*turn.before_ns, *turn.after_ns)[place])


def null_turns(store: Store, session: Session, results: Iterable[Result], threads: int) -> list[Turn]:
    """Return the turns of the null runtime in all blocks of a session that were made with so many threads."""
    numbers = {number for result in results if result.case.threads == threads for number in result.blocks}
    blocks = store.blocks(session.identifier)
    return [turn for block in blocks if block.number in numbers for turn in block.null_turns]
