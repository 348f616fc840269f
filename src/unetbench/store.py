"""Results on disk: one SQLite file, durable, versioned, one writer at a time.

Each result is one transaction, synced before it is shown as done. Raw measurements only; nothing is
ever summarised here, and nothing measured is deleted.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from unetbench.errors import StoreError
from unetbench.records import Block, Case, Failure, Machine, Measurement, Result, Session
from unetbench.schema import COLUMNS, check, migrate, pragma, seal
from unetbench.store_file import held, now, read_only, told


class Store:
    """An open store. Make it with `writing` or `reading`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._sealed = pragma(connection, "user_version") >= 2
        self.path = path

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions, oldest first; none of a file that no run has come to write."""
        if not pragma(self._connection, "user_version"):
            return ()
        return tuple(
            Session(
                identifier=identifier,
                started_utc=started,
                machine=msgspec.json.decode(machine, type=Machine),
                preset=preset,
                images=images,
                command=command,
            )
            for identifier, started, machine, preset, images, command in self._rows("session", "ORDER BY id")
        )

    def results(self, session: int) -> tuple[Result, ...]:
        """Return the results of a session, one a case, in the order in which they came."""
        cases = dict(self._rows("case", ""))
        found: dict[str, Result] = {}
        of_session = "NOT INDEXED WHERE session = ? ORDER BY id"  # the index would have them sorted once more
        for _, key, _, _, measurement, failure, _ in self._rows("result", of_session, session):
            earlier = found.get(key)
            measurements = earlier.measurements if earlier else ()
            if measurement is not None:
                measurements += (msgspec.json.decode(measurement, type=Measurement),)
            found[key] = Result(
                key=key,
                case=earlier.case if earlier else msgspec.json.decode(cases[key], type=Case),
                session=session,
                measurements=measurements,
                failure=None if failure is None else msgspec.json.decode(failure, type=Failure),
            )
        return tuple(found.values())

    def last_words(self, session: int, key: str) -> str:
        """Return the end of what the process of a failed case printed; empty where it printed nothing."""
        latest = 'WHERE session = ? AND "case" = ? AND failure IS NOT NULL ORDER BY id DESC LIMIT 1'
        return next((str(log) for *_, log in self._rows("result", latest, session, key)), "")

    def blocks(self, session: int) -> tuple[Block, ...]:
        """Return what the cases of each paired block share, in order."""
        if not self._sealed:
            return ()  # an older store that is only read
        rows = self._rows("block", "WHERE session = ? ORDER BY rowid", session)
        return tuple(msgspec.json.decode(record, type=Block) for _, _, _, record in rows)

    def facts(self, session: int) -> dict[str, Any]:
        """Return what was found out about the machine in a session, by name."""
        return {
            name: json.loads(value) for _, name, value in self._rows("fact", "WHERE session = ?", session)
        }

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table as they are written, without their seals."""
        if table == "block" and not self._sealed:
            return []
        return list(self._rows(table, ""))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is inserted within; when it ends, it is on the disk."""
        with self._connection:
            yield

    def _rows(self, table: str, rest: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Give the sealed columns of a table's rows. Raises: StoreError where a row is not what was written."""
        columns = ", ".join(f'"{name}"' for name in COLUMNS[table])
        sealed = ", seal" if self._sealed else ", NULL"
        for read in self._connection.execute(f'SELECT {columns}{sealed} FROM "{table}" {rest}', values):
            row, written = read[:-1], read[-1]
            if written is not None and written != seal(table, row):
                raise StoreError(
                    f"store {str(self.path)!r} holds a row of {table} that is not what was written: nothing was "
                    f"changed; `unetbench recover {self.path} NEW` saves every row that is whole."
                )
            yield row

    def next_alone(self, session: int, key: str) -> int:
        """Return the number of a case's next measurement alone: 0, −1, −2 …, below all that are there.

        A recovered store may lack some of them.
        """
        rows = self._rows(
            "result", 'WHERE session = ? AND "case" = ? AND failure IS NULL AND block <= 0', session, key
        )
        return min((int(row[2]) for row in rows), default=1) - 1

    def span_s(self, session: int) -> float:
        """Return the seconds from a session's start to its last result, pauses included."""
        (started,) = self._connection.execute(
            "SELECT started_utc FROM session WHERE id = ?", (session,)
        ).fetchone()
        (finished,) = self._connection.execute(
            "SELECT max(finished_utc) FROM result WHERE session = ?", (session,)
        ).fetchone()
        return (datetime.fromisoformat(finished or started) - datetime.fromisoformat(started)).total_seconds()

    def open_session(
        self, machine: Machine, *, preset: str, images: str, command: list[str], fresh: bool
    ) -> Session:
        """Return the latest session, to go on with, if its conditions are these; else a new one.

        With `fresh` it is always a new one; the earlier ones stay in the file.
        """
        known = self.sessions()
        if known and not fresh:
            latest = known[-1]
            if (latest.machine, latest.preset, latest.images) == (machine, preset, images):
                return latest
        identifier = known[-1].identifier + 1 if known else 1
        facts = msgspec.json.encode(machine).decode()
        with self._connection:
            self.insert("session", (identifier, now(), facts, preset, images, shlex.join(command)))
        return self.sessions()[-1]

    def note(self, session: int, name: str, value: Any) -> None:
        """Keep a fact of a session; one that is there is replaced."""
        with self._connection:
            self.insert("fact", (session, name, json.dumps(value)), otherwise="REPLACE")

    def noted_before(self, session: int, fact: str, name: str) -> bool:
        """Keep a name among those of a fact; return whether it was there."""
        known = self.facts(session).get(fact, [])
        if name not in known:
            self.note(session, fact, [*known, name])
        return name in known

    def insert(self, table: str, row: Sequence[Any], *, otherwise: str = "ABORT") -> None:
        """Write one row with its seal, within the caller's transaction; where it is there, `otherwise`."""
        columns = ", ".join(f'"{name}"' for name in (*COLUMNS[table], "seal"))
        marks = ", ".join("?" * (len(row) + 1))
        self._connection.execute(
            f'INSERT OR {otherwise} INTO "{table}" ({columns}) VALUES ({marks})', (*row, seal(table, row))
        )

    def append(
        self, session: int, case: Case, outcome: Measurement | Failure, *, block: int = 0, log_tail: str = ""
    ) -> None:
        """Write one result; when this returns, it is on the disk.

        A case that was not run may be run later: its note is replaced, nothing else ever is.
        """
        with self._connection:
            self.insert_result(session, case, outcome, block, log_tail)
            if isinstance(outcome, Measurement):
                self._survived(session, case.key())

    def append_block(
        self,
        session: int,
        block: Block,
        outcomes: Mapping[Case, Measurement | Failure],
        logs: Mapping[Case, str],
    ) -> None:
        """Write a paired block with all its cases, or nothing of it."""
        with self._connection:
            record = msgspec.json.encode(block).decode()
            self.insert("block", (session, block.group, block.number, record))
            for case, outcome in outcomes.items():
                self.insert_result(session, case, outcome, block.number, logs.get(case, ""))
            self._survived(session, block.group)

    def _survived(self, session: int, name: str) -> None:
        """What has been measured is no poison: earlier interruptions with it in hand were somebody else's doing."""
        self._connection.execute('DELETE FROM in_hand WHERE session = ? AND "case" = ?', (session, name))

    @contextmanager
    def in_hand(self, session: int, names: Sequence[str]) -> Iterator[None]:
        """Remember which cases or groups are in hand: where this process dies with the machine, it is known."""
        marks = [(session, name, os.getpid()) for name in names]
        with self._connection:
            self._connection.executemany("INSERT INTO in_hand VALUES (?, ?, ?)", marks)
        try:
            yield
        finally:
            with self._connection:
                self._connection.executemany(
                    'DELETE FROM in_hand WHERE session = ? AND "case" = ? AND process = ?', marks
                )

    def interruptions(self, session: int) -> dict[str, int]:
        """Return by key how often a run ended without a word while that case or group was in hand."""
        rows = self._connection.execute(
            'SELECT "case", count(*) FROM in_hand WHERE session = ? GROUP BY "case"', (session,)
        )
        return dict(rows.fetchall())

    def insert_result(
        self,
        session: int,
        case: Case,
        outcome: Measurement | Failure,
        block: int = 0,
        log_tail: str = "",
    ) -> None:
        """Write one result within the caller's transaction; a note of not being run is replaced."""
        text = msgspec.json.encode(outcome).decode()
        measured = isinstance(outcome, Measurement)
        self.insert("case", (case.key(), msgspec.json.encode(case).decode()), otherwise="IGNORE")
        self._connection.execute(
            'DELETE FROM result WHERE session = ? AND "case" = ? AND block = ? '
            "AND failure ->> '$.kind' = 'not run'",
            (session, case.key(), block),
        )
        outcomes = (text, None) if measured else (None, text)
        self.insert("result", (session, case.key(), block, now(), *outcomes, log_tail))


@contextmanager
def writing(path: Path) -> Iterator[Store]:
    """Open a store for writing, made where it is missing, and hold it alone.

    Raises: StoreError where another run holds it, it is newer than this program, damaged or no database.
    """
    if path.is_dir():
        raise StoreError(f"store {str(path)!r} is a folder: give --store FILE, such as results.sqlite in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"folder {str(path.parent)!r} cannot be made ({error.strerror}): give --store FILE."
        ) from error
    if path.is_file() and path.stat().st_size:
        with reading(path):  # what cannot be used is refused before anything is made beside it
            pass
    with told(path), held(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
        yield Store(connection, path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def reading(path: Path) -> Iterator[Store]:
    """Open a store for reading; a run may go on writing meanwhile.

    Raises: StoreError as `writing`, and where there is no such file.
    """
    if not path.is_file():
        raise StoreError(
            f"there is no store at {str(path)!r}: measure first (`unetbench run`, `tune`, or `advise --budget 15m`), "
            "or name the file of a run."
        )
    with told(path), closing(read_only(path)) as connection:
        check(connection, path)
        connection.execute("BEGIN")  # all that is read is of one moment, whatever is written meanwhile
        yield Store(connection, path)
