"""The file of a store: held by one writer, opened for reading, its troubles told in one line with the next step."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from unetbench.errors import StoreError

SUFFIXES = ("", "-wal", "-shm", ".lock")  # of the files that a store is, while it is open
WORK = ".work"  # of the folder beside it, for what a run can make again
_KEPT = "what was shown is stored, and the same command goes on from there"


def now() -> str:
    """Return the time as it is written into a store: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def held(path: Path) -> Iterator[None]:
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
        os.pwrite(descriptor, f"process {os.getpid()} since {now()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite, msgspec and the disk say into one line with the next step."""
    try:
        yield
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"store {str(path)!r} holds a damaged record ({error}): nothing was changed; `unetbench recover FILE NEW` saves what is whole."
        ) from error
    except BrokenPipeError:
        raise  # the reader of our output left; the store is well
    except OSError as error:
        # Nothing of this file: no memory for a process, a disk or a quota that is full.
        if error.filename is None:
            raise StoreError(f"this machine cannot go on ({error.strerror}): {_KEPT}.") from error
        name = str(path) if isinstance(error.filename, int) else os.fsdecode(error.filename)
        own = name in {f"{path}{suffix}" for suffix in (*SUFFIXES, WORK)} or path.is_relative_to(name)
        if not own:  # another file, met on the way
            raise StoreError(f"{name!r} cannot be used ({error.strerror}): {_KEPT}.") from error
        raise StoreError(
            f"store {str(path)!r} cannot be used ({error.strerror}): give another --store FILE."
        ) from error
    except (KeyError, json.JSONDecodeError) as error:  # a store of the first schema has no seals
        raise StoreError(
            f"store {str(path)!r} holds a damaged row ({error}): `unetbench recover FILE NEW` saves what is whole."
        ) from error
    except sqlite3.DatabaseError as error:
        if "full" in str(error):
            raise StoreError(f"the disk of store {str(path)!r} is full: make room; {_KEPT}.") from error
        reason = "it is no SQLite database" if "not a database" in str(error) else str(error)
        raise StoreError(
            f"store {str(path)!r} cannot be used ({reason}): nothing was changed; give another --store FILE."
        ) from error


def read_only(path: Path) -> sqlite3.Connection:
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
