"""The store: durable at once, one writer, nothing lost by a kill, nothing foreign touched."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.samples import case, machine, measurement
from unetbench.errors import StoreError
from unetbench.records import Failure
from unetbench.store import Store, load, reading, writing

ROOT = Path(__file__).parents[1]
NOT_RUN = Failure(stage="preflight", kind="not run", message="emulated")
CRASHED = Failure(stage="run", kind="crashed", message="killed by SIGSEGV")


def _session(store: Store, **changes: object):  # type: ignore[no-untyped-def]
    conditions: dict = {"preset": "quick", "images": "x", "command": ["run"], "fresh": False} | changes
    return store.open_session(conditions.pop("machine", machine()), **conditions).identifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def test_what_is_appended_is_read_back(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        store.append(session, case(), measurement())
        store.append(session, case("resnet34"), CRASHED)
    first, second = load(path).results
    assert (first.case, first.measurements, first.failure) == (case(), (measurement(),), None)
    assert (second.case, second.measurements, second.failure) == (case("resnet34"), (), CRASHED)


def test_a_result_is_visible_to_others_as_soon_as_it_is_appended(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        store.append(session, case(), measurement())
        with reading(path) as other:
            assert len(other.results(session)) == 1
        assert store._connection.execute("PRAGMA synchronous").fetchone()[0] == 2, (
            "FULL: each commit is synced"
        )


def test_the_same_conditions_go_on_and_others_begin_anew(path: Path) -> None:
    with writing(path) as store:
        first = _session(store)
        assert _session(store) == first
        assert _session(store, preset="standard") == first + 1
        assert _session(store, images="y") == first + 2
        assert _session(store, machine=machine(cores=1)) == first + 3
        assert _session(store, machine=machine(cores=1), images="z", fresh=True) == first + 4


def test_only_a_case_that_was_not_run_may_be_replaced(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        store.append(session, case(), NOT_RUN)
        store.append(session, case(), measurement())
        with pytest.raises(sqlite3.IntegrityError):
            store.append(session, case(), CRASHED)
        (result,) = store.results(session)
        assert result.measurements == (measurement(),)


def test_a_second_writer_is_refused_and_told_who_holds_it(path: Path) -> None:
    code = f"from unetbench.store import writing\nwith writing({str(path)!r}): pass"
    code = code.replace(repr(str(path)), f"__import__('pathlib').Path({str(path)!r})")
    with writing(path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreError" in done.stderr
    assert f"held by another run (process {os.getpid()} since" in done.stderr
    with writing(path):
        pass  # released


@pytest.mark.parametrize("content", [b"these are no results", b"SQLite format 3\0" + b"\xff" * 500])
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opened in (reading, writing):
        with pytest.raises(StoreError, match=r"^(?!.*\n)"), opened(path):
            pass
    assert path.read_bytes() == content


def _foreign(path: Path, *statements: str) -> bytes:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path.read_bytes()


def test_another_programs_database_is_left_as_it_is(path: Path) -> None:
    content = _foreign(path, "CREATE TABLE theirs (a)")
    for opened in (reading, writing):
        with pytest.raises(StoreError, match="another program"), opened(path):
            pass
    assert path.read_bytes() == content


def test_a_newer_store_is_refused_and_left_as_it_is(path: Path) -> None:
    with writing(path) as store:
        _session(store)
    content = _foreign(path, "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 99")
    for opened in (reading, writing):
        with pytest.raises(StoreError, match=r"schema 99.*install a newer unetbench"), opened(path):
            pass
    assert path.read_bytes() == content


def test_damage_is_found_on_opening(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        for index in range(30):
            store.append(session, case(threads=index + 1), measurement())
    content = bytearray(path.read_bytes())
    for offset in range(4096 * 3, len(content), 4096):
        content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(StoreError), reading(path):
        pass


def test_there_is_nothing_to_read_where_nothing_was_run(path: Path) -> None:
    with pytest.raises(StoreError, match="run the suite first"), reading(path):
        pass
    assert not path.exists()
    with writing(path):
        pass
    with pytest.raises(StoreError, match="no session yet"):
        load(path)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with writing(path) as store:
        assert store.sessions() == ()


def test_facts_are_kept_and_replaced(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        store.note(session, "bf16", {"fp32_ms": 1.0})
        store.note(session, "bf16", {"fp32_ms": 2.0})
        assert store.facts(session) == {"bf16": {"fp32_ms": 2.0}}


def test_a_frame_has_a_row_a_case_and_the_columns_of_the_csv(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        store.append(session, case(), measurement(100.0))
        store.append(session, case(recipe="torch_compile/fp32"), measurement(50.0))
    frame = load(path).to_pandas()
    assert list(frame["speedup"]) == [2.0, 1.0]
    assert {"encoder", "median_ms", "peak_mb", "status"} <= set(frame.columns)


_WRITER = """
import sys
from pathlib import Path
from tests.samples import case, machine, measurement
from unetbench.store import writing
with writing(Path(sys.argv[1])) as store:
    session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=False)
    done = {result.case.threads for result in store.results(session.identifier)}
    for threads in range(1, 10_000):
        if threads not in done:
            store.append(session.identifier, case(threads=threads), measurement(float(threads)))
            print(threads, flush=True)
"""


def test_kill_9_loses_no_acknowledged_result_and_doubles_none(path: Path) -> None:
    acknowledged: list[int] = []
    delays = random.Random(1)
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as writer:
            assert writer.stdout is not None
            acknowledged.append(int(writer.stdout.readline()))
            time.sleep(delays.uniform(0, 0.05))
            writer.kill()
            acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    stored = [result.case.threads for result in load(path).results]
    assert len(acknowledged) == len(set(acknowledged)) >= 8
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
