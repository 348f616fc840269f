"""Results on disk: one SQLite file, durable, versioned, one writer at a time.

Each result is one transaction, synced before it is shown as done. Raw measurements only; nothing is
ever summarised here, and nothing measured is deleted. History of the schema: 1, the first.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from unetbench.errors import StoreError
from unetbench.records import Case, Failure, Machine, Measurement, Result, Session

SCHEMA = 1
_APPLICATION = 0x756E6574  # "unet" in the file's header: tells our stores from other databases
_TABLES = """
CREATE TABLE session (
    id INTEGER PRIMARY KEY, started_utc TEXT NOT NULL, machine TEXT NOT NULL, preset TEXT NOT NULL,
    images TEXT NOT NULL, command TEXT NOT NULL
);
CREATE TABLE fact (
    session INTEGER NOT NULL REFERENCES session(id), name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (session, name)
);
CREATE TABLE "case" (key TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE result (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id),
    "case" TEXT NOT NULL REFERENCES "case"(key), block INTEGER NOT NULL, finished_utc TEXT NOT NULL,
    measurement TEXT, failure TEXT, log_tail TEXT NOT NULL,
    UNIQUE (session, "case", block), CHECK ((measurement IS NULL) <> (failure IS NULL))
);
"""


class Store:
    """An open store. Make it with `writing` or `reading`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions, oldest first."""
        rows = self._connection.execute(
            "SELECT id, started_utc, machine, preset, images, command FROM session ORDER BY id"
        )
        return tuple(
            Session(
                identifier=identifier,
                started_utc=started,
                machine=msgspec.json.decode(machine, type=Machine),
                preset=preset,
                images=images,
                command=command,
            )
            for identifier, started, machine, preset, images, command in rows
        )

    def results(self, session: int) -> tuple[Result, ...]:
        """Return the results of a session, one a case, in the order in which they came."""
        rows = self._connection.execute(
            'SELECT c.key, c.record, r.measurement, r.failure FROM result r JOIN "case" c ON c.key = r."case" '
            "WHERE r.session = ? ORDER BY r.id",
            (session,),
        )
        found: dict[str, Result] = {}
        for key, record, measurement, failure in rows:
            earlier = found.get(key)
            measurements = earlier.measurements if earlier else ()
            if measurement is not None:
                measurements += (msgspec.json.decode(measurement, type=Measurement),)
            found[key] = Result(
                key=key,
                case=msgspec.json.decode(record, type=Case),
                session=session,
                measurements=measurements,
                failure=None if failure is None else msgspec.json.decode(failure, type=Failure),
            )
        return tuple(found.values())

    def facts(self, session: int) -> dict[str, Any]:
        """Return what was found out about the machine in a session, by name."""
        rows = self._connection.execute("SELECT name, value FROM fact WHERE session = ?", (session,))
        return {name: json.loads(value) for name, value in rows}

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
        with self._connection:
            self._connection.execute(
                "INSERT INTO session (started_utc, machine, preset, images, command) VALUES (?, ?, ?, ?, ?)",
                (_now(), msgspec.json.encode(machine).decode(), preset, images, shlex.join(command)),
            )
        return self.sessions()[-1]

    def note(self, session: int, name: str, value: Any) -> None:
        """Keep a fact of a session; one that is there is replaced."""
        with self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO fact (session, name, value) VALUES (?, ?, ?)",
                (session, name, json.dumps(value)),
            )

    def append(
        self, session: int, case: Case, outcome: Measurement | Failure, *, block: int = 0, log_tail: str = ""
    ) -> None:
        """Write one result; when this returns, it is on the disk.

        A case that was not run may be run later: its note is replaced, nothing else ever is.
        """
        text = msgspec.json.encode(outcome).decode()
        measured = isinstance(outcome, Measurement)
        values = (session, case.key(), block, _now(), text if measured else None, None if measured else text)
        with self._connection:
            self._connection.execute(
                'INSERT OR IGNORE INTO "case" (key, record) VALUES (?, ?)',
                (case.key(), msgspec.json.encode(case).decode()),
            )
            self._connection.execute(
                'DELETE FROM result WHERE session = ? AND "case" = ? AND block = ? '
                "AND failure ->> '$.kind' = 'not run'",
                values[:3],
            )
            self._connection.execute(
                'INSERT INTO result (session, "case", block, finished_utc, measurement, failure, log_tail) '
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, log_tail),
            )


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
    with _translated(path), _held(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if _pragma(connection, "user_version") == 0:
            connection.executescript(
                f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
            )
        yield Store(connection, path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def reading(path: Path) -> Iterator[Store]:
    """Open a store for reading; a run may go on writing meanwhile.

    Raises: StoreError as `writing`, and where there is no such file.
    """
    if not path.is_file():
        raise StoreError(
            f"there is no store at {str(path)!r}: run the suite first, or give --store the file of a run."
        )
    with _translated(path), closing(_read_only(path)) as connection:
        _check(connection, path)
        yield Store(connection, path)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock file beside the store; its text names the holder."""
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            raise StoreError(
                f"store {str(path)!r} is held by another run ({holder}): "
                "wait for it, end it, or give another --store FILE."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} since {_now()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what SQLite, msgspec and the disk say into one line with the next step."""
    try:
        yield
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"store {str(path)!r} holds a damaged record ({error}): nothing was changed; copy it and start a new one."
        ) from error
    except OSError as error:
        raise StoreError(
            f"store {str(path)!r} cannot be used ({error.strerror}): give another --store FILE."
        ) from error
    except sqlite3.DatabaseError as error:
        reason = "it is no SQLite database" if "not a database" in str(error) else str(error)
        raise StoreError(
            f"store {str(path)!r} cannot be used ({reason}): nothing was changed; give another --store FILE."
        ) from error


def _read_only(path: Path) -> sqlite3.Connection:
    """Open without writing; on a read-only disk SQLite must be told that nobody else writes."""
    address = path.resolve().as_uri()
    try:
        connection = sqlite3.connect(f"{address}?mode=ro", uri=True)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        log = path.with_name(path.name + "-wal")
        if log.is_file() and log.stat().st_size:
            raise  # results in the log would be left out silently
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    schema, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != _APPLICATION and (tables or schema):
        raise StoreError(
            f"{str(path)!r} is a database of another program: nothing was changed; give another --store FILE."
        )
    if schema > SCHEMA:
        raise StoreError(
            f"store {str(path)!r} has schema {schema}, this program reads up to {SCHEMA}: "
            "install a newer unetbench; nothing was changed."
        )
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise StoreError(
            f"store {str(path)!r} is damaged ({damage.splitlines()[0]}): copy it and start a new one."
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
