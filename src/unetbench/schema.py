"""What a store's file holds: its tables, their history, the seal on each row, and what is refused.

History: 1, the first; 2, what the cases of a paired block share, which case is in hand, and the seals.
Migrations go forward only.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unetbench.errors import StoreError

SCHEMA = 2
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
_SINCE = {  # schema: what it added to the one before
    2: """
CREATE TABLE block (
    session INTEGER NOT NULL REFERENCES session(id), "group" TEXT NOT NULL, number INTEGER NOT NULL,
    record TEXT NOT NULL, seal TEXT NOT NULL, PRIMARY KEY (session, "group", number)
);
ALTER TABLE session ADD COLUMN seal TEXT;
ALTER TABLE fact ADD COLUMN seal TEXT;
ALTER TABLE "case" ADD COLUMN seal TEXT;
ALTER TABLE result ADD COLUMN seal TEXT;
CREATE TABLE in_hand (session INTEGER NOT NULL, "case" TEXT NOT NULL, process INTEGER NOT NULL);
""",
}


COLUMNS = {  # of each table, those that are sealed, in the order in which the file has them
    "session": ("id", "started_utc", "machine", "preset", "images", "command"),
    "fact": ("session", "name", "value"),
    "case": ("key", "record"),
    "result": ("session", "case", "block", "finished_utc", "measurement", "failure", "log_tail"),
    "block": ("session", "group", "number", "record"),
}


_AS_TEXT = json.JSONEncoder(default=repr)  # made once: a store has thousands of rows


def seal(table: str, row: Sequence[Any]) -> str:
    """Return what tells whether a row is still what was written: damage may leave a row that reads well."""
    return hashlib.sha256(_AS_TEXT.encode([table, *row]).encode()).hexdigest()[:16]


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store to this program's schema, forward only, in one transaction."""
    there = pragma(connection, "user_version")
    if there == SCHEMA:
        return
    steps = [_TABLES] if there == 0 else []
    steps += [step for schema, step in _SINCE.items() if schema > there]
    connection.executescript(
        f"BEGIN; {' '.join(steps)} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
    )


def check(connection: sqlite3.Connection, path: Path) -> None:
    schema, application = pragma(connection, "user_version"), pragma(connection, "application_id")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if application != _APPLICATION and (names or schema):
        raise StoreError(
            f"{str(path)!r} is a database of another program: nothing was changed; give another --store FILE."
        )
    if schema > SCHEMA:
        raise StoreError(
            f"store {str(path)!r} has schema {schema}, this program reads up to {SCHEMA}: "
            "install a newer unetbench; nothing was changed."
        )
    # Read as of an older program, rows would be taken without their seals.
    if names and (schema < 1 or (schema < SCHEMA and "block" in names)):
        raise StoreError(
            f"store {str(path)!r} is damaged (schema {schema} in its header is not that of its tables): "
            "`unetbench recover FILE NEW` saves what is whole."
        )
    # Not the quick one: an index that is damaged leaves out rows without a word.
    damage = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if damage != "ok":
        raise StoreError(
            f"store {str(path)!r} is damaged ({damage.splitlines()[0]}): `unetbench recover FILE NEW` saves what is whole."
        )


def pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
