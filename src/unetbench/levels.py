"""How quiet a stored session was beside the quietest on record for its machine and threads. Reads a store."""

from __future__ import annotations

from collections.abc import Iterable

from unetbench import quiet
from unetbench.records import Result, Session, Turn
from unetbench.store import Store


def levels(store: Store, session: Session, results: Iterable[Result]) -> dict[int, quiet.Levels]:
    """Return by threads a session's quiet level and the lowest on record; nothing where it has no blocks."""
    results = tuple(results)
    earlier = [
        store.facts(each.identifier).get(quiet.FACT) or {}
        for each in store.sessions()
        # What a shell sets for runtimes moves no canary.
        if each.identifier != session.identifier
        and set(each.machine.differs_from(session.machine)) <= {"environment"}
    ]
    found = {}
    for threads in {result.case.threads for result in results if result.blocks}:
        own = quiet.level(null_turns(store, session, results, threads))
        if own is not None:
            on_record = [fact[str(threads)] for fact in earlier if str(threads) in fact]
            found[threads] = quiet.Levels(own, quiet.lowest([own, *on_record]))
    return found


def null_turns(store: Store, session: Session, results: Iterable[Result], threads: int) -> list[Turn]:
    """Return the turns of the null runtime in all blocks of a session that were made with so many threads."""
    numbers = {number for result in results if result.case.threads == threads for number in result.blocks}
    blocks = store.blocks(session.identifier)
    return [turn for block in blocks if block.number in numbers for turn in block.null_turns]
