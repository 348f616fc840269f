"""How quiet a stored session was beside the quietest on record for its machine and threads. Reads a store."""

from __future__ import annotations

from collections.abc import Iterable

from unetbench import quiet
from unetbench.records import Result, Session
from unetbench.store import Store


def levels(store: Store, session: Session, results: Iterable[Result]) -> quiet.Levels | None:
    """Return a session's quiet level, the lowest on record, and how its canaries moved; None without blocks."""
    threads = next((str(result.case.threads) for result in results if result.blocks), "")
    known = {
        each.identifier: fact[threads]
        for each in store.sessions()
        if not each.machine.differs_from(session.machine)
        and threads in (fact := store.facts(each.identifier).get(quiet.FACT) or {})
    }
    if session.identifier not in known:
        return None
    turns = (turn for block in store.blocks(session.identifier) for turn in block.null_turns)
    return quiet.Levels(known[session.identifier], quiet.lowest(known.values()), quiet.apart(turns))
