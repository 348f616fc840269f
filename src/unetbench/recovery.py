"""Save what is whole in a damaged store, and bring stores of several machines together in one.

Both write a new file and leave what they read as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from unetbench import sqlite_pages
from unetbench.errors import BadInput, StoreError
from unetbench.records import Block, Case, Failure, Machine, Measurement
from unetbench.schema import COLUMNS, seal
from unetbench.store import Store, reading, writing
from unetbench.store_file import SUFFIXES

_RECORDS: dict[str, dict[int, Any]] = {  # what decodes to what, by the place in COLUMNS
    "session": {2: Machine},
    "case": {1: Case},
    "result": {4: Measurement, 5: Failure},
    "block": {3: Block},
    "fact": {},
}


@dataclass(slots=True)
class Saved:
    """What was found, by table; rows by their own key, so that a page read twice counts once."""

    sealed: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = field(
        default_factory=lambda: {table: {} for table in COLUMNS}
    )
    unsealed: int = 0  # rows of an older program, that nothing vouches for but their form
    damaged: int = 0  # rows that are there and are not what was written
    orphaned: int = 0  # whole results whose session or case is lost: nobody could say what they are of

    @property
    def count(self) -> int:
        """Results that were saved."""
        return len(self.sealed["result"])

    def lines(self, new: Path) -> Iterator[str]:
        """Say what became of a damaged store's rows."""
        yield f"saved {self.count} results to {new}; {self.damaged} rows were damaged and left out"
        yield "what lay on pages that cannot be read is lost and in neither number: a later failure of a case may be among it"
        if self.orphaned:
            yield f"{self.orphaned} whole results are left out: their session or their case is lost"
        if self.unsealed:
            yield (
                f"{self.unsealed} rows are of an older program without seals: they read well, no more is known"
            )


def recover(damaged: Path, new: Path) -> Saved:
    """Write every row of a damaged store that is whole into a new store.

    Raises: StoreError where the new file is there already, or nothing could be saved.
    """
    _refuse_existing(new)
    if not damaged.is_file():
        raise StoreError(f"there is no store at {str(damaged)!r}: give the damaged file.")
    try:
        content = _content(damaged)
    except OSError as error:
        raise StoreError(
            f"{str(damaged)!r} cannot be read ({error.strerror}): give the damaged file."
        ) from error
    saved = Saved()
    # In the order in which they were written, which is not that of the pages: the last of a case says how it ended.
    for identifier, row in sorted(sqlite_pages.rows(content), key=lambda each: each[0]):
        _sort(saved, identifier, row)
    _leave_orphans(saved)
    if not saved.count:
        raise StoreError(
            f"nothing in {str(damaged)!r} could be saved: no whole session with results was found."
        )
    with _made(new) as store:
        _write(store, saved)
    return saved


def merge(stores: Sequence[Path], new: Path) -> int:
    """Write the sessions of several stores into a new one and return their number; machines stay apart.

    Raises: StoreError as `reading` does, and where the new file is there already.
    """
    _refuse_existing(new)
    sources = []
    for path in stores:
        with reading(path) as source:
            sources.append({table: source.rows(table) for table in COLUMNS})
    number = 0
    with _made(new) as target, target.transaction():
        for tables in sources:
            renamed = {}
            for row in tables["session"]:
                number += 1
                renamed[row[0]] = number
                target.insert("session", (number, *row[1:]))
            for row in tables["case"]:
                target.insert("case", row, otherwise="IGNORE")
            for table in ("fact", "result", "block"):
                for row in tables[table]:
                    target.insert(table, (renamed[row[0]], *row[1:]))
    return number


def _content(path: Path) -> bytes:
    """The file's bytes, with what its log holds where SQLite can still join the two; on a copy."""
    with TemporaryDirectory(prefix="unetbench-") as folder:
        copy = Path(folder) / "copy.sqlite"
        shutil.copyfile(path, copy)  # not its mode: a log is joined by writing
        log = path.with_name(path.name + "-wal")
        if log.is_file():
            shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
            with contextlib.suppress(sqlite3.DatabaseError):
                connection = sqlite3.connect(copy)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
        return copy.read_bytes()


def _sort(saved: Saved, identifier: int, row: tuple[Any, ...]) -> None:
    """Put a row where it belongs: only its seal says which table it is of, and that it is whole."""
    for table, columns in COLUMNS.items():
        values = _as_columns(table, identifier, row)
        body = values[: len(columns)]
        if len(values) == len(columns) + 1 and values[-1] == seal(table, body):
            _keep(saved, table, body)
            return
        if len(values) == len(columns) and _reads(table, body):
            saved.unsealed += 1
            _keep(saved, table, body)
            return
    if len(row) >= 3 and isinstance(row[-1], str) and len(row[-1]) == 16:
        saved.damaged += 1


def _as_columns(table: str, identifier: int, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as COLUMNS names it: an integer key is kept beside the row, where the file says none."""
    if table == "session":
        return (identifier, *row[1:])
    return row[1:] if table == "result" else row


def _keep(saved: Saved, table: str, row: tuple[Any, ...]) -> None:
    keys = {"session": 1, "fact": 2, "case": 1, "result": 3, "block": 3}
    rows, key = saved.sealed[table], row[: keys[table]]
    later = table == "fact" or (table == "result" and key in rows and rows[key][4] is None)
    if key in rows and not later:
        return
    rows.pop(key, None)  # a time replaces a note of not being run, a fact an earlier one: and comes later
    rows[key] = row


def _reads(table: str, row: tuple[Any, ...]) -> bool:
    try:
        for place, kind in _RECORDS[table].items():
            if row[place] is not None:
                msgspec.json.decode(row[place], type=kind)
        if table == "fact":
            return isinstance(row[0], int) and isinstance(row[1], str) and bool(msgspec.json.decode(row[2]))
    except (msgspec.MsgspecError, TypeError, BadInput):
        return False
    return True


def _leave_orphans(saved: Saved) -> None:
    """Keep only rows that can be understood: those whose session and case are there too."""
    rows, sessions, cases = saved.sealed, saved.sealed["session"], saved.sealed["case"]
    whole = {key: row for key, row in rows["result"].items() if (row[0],) in sessions and (row[1],) in cases}
    saved.orphaned = len(rows["result"]) - len(whole)
    rows["result"] = whole
    rows["fact"] = {key: row for key, row in rows["fact"].items() if (row[0],) in sessions}
    numbers = {(row[0], row[2]) for row in whole.values()}  # session and block
    rows["block"] = {key: row for key, row in rows["block"].items() if (row[0], row[2]) in numbers}


def _write(store: Store, saved: Saved) -> None:
    with store.transaction():
        for table in COLUMNS:
            for row in saved.sealed[table].values():
                store.insert(table, row, otherwise="IGNORE")


@contextlib.contextmanager
def _made(new: Path) -> Iterator[Store]:
    """Open a new store; where it cannot be written whole, nothing of it stays in the way of the next try."""
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # ours alone from here on
    except FileExistsError:
        raise _exists(new) from None
    except OSError as error:
        raise StoreError(
            f"{str(new)!r} cannot be made ({error.strerror}): give a name in another folder."
        ) from error
    try:
        with writing(new) as store:
            yield store
    except BaseException:
        for suffix in SUFFIXES:
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        raise


def _refuse_existing(new: Path) -> None:
    if new.exists():
        raise _exists(new)


def _exists(new: Path) -> StoreError:
    return StoreError(f"{str(new)!r} is there already: give the name of a new file.")
