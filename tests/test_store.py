"""The store: durable at once, one writer, nothing lost by a kill, nothing foreign touched."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.samples import case, machine, measurement
from unetbench.errors import StoreError
from unetbench.records import Failure, Network
from unetbench.results import load
from unetbench.store import Store, reading, writing

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


def test_what_is_read_at_once_is_of_one_moment(path: Path) -> None:
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case(), measurement())
        with reading(path) as reader:
            before = reader.results(session.identifier)
            store.append(session.identifier, case("vgg16"), measurement())
            assert reader.results(session.identifier) == before
        with reading(path) as reader:
            assert len(reader.results(session.identifier)) == 2


def test_troubles_of_the_machine_are_none_of_the_store(path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"cannot go on \(Cannot allocate memory\): what was shown is stored"),
        writing(path),
    ):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")
    with pytest.raises(StoreError, match=r"'/photos/a\.png' cannot be used \(No such file"), writing(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/photos/a.png")
    with pytest.raises(StoreError, match=r"work/worker-1' cannot be used \(No space left"), writing(path):
        raise OSError(errno.ENOSPC, "No space left on device", f"{path}.work/worker-1")
    with (
        pytest.raises(StoreError, match=r"results\.sqlite' cannot be used .*: give another --store"),
        writing(path),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", f"{path}-wal")
    with pytest.raises(StoreError, match="is full: make room; what was shown is stored"), writing(path):
        raise sqlite3.OperationalError("database or disk is full")


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


def test_the_next_measurement_alone_has_a_number_below_all_that_are_there(path: Path) -> None:
    """A recovered store may have lost the first of them: how many there are says nothing."""
    with writing(path) as store:
        session = _session(store)
        assert store.next_alone(session, case().key()) == 0
        store.append(session, case(), measurement(1.0), block=-1)
        store.append(session, case(), measurement(1.0), block=3)
        assert store.next_alone(session, case().key()) == -2
        store.append(session, case(), measurement(2.0), block=-2)
        assert store.next_alone(session, case("resnet34").key()) == 0


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


def test_a_header_that_says_another_schema_than_the_tables_is_damage(path: Path) -> None:
    """Else rows would be read as those of an older program, which has no seals."""
    with writing(path) as store:
        _session(store)
    for schema in (0, 1):
        content = _foreign(path, "PRAGMA journal_mode = DELETE", f"PRAGMA user_version = {schema}")
        for opened in (reading, writing):
            with pytest.raises(StoreError, match=rf"damaged \(schema {schema}.*recover"), opened(path):
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
    with pytest.raises(StoreError, match="measure first"), reading(path):
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


def test_a_result_is_visible_to_another_process_before_the_writer_closes(path: Path) -> None:
    code = (
        "import sys, unetbench; print([r.case.network.encoder for r in unetbench.load(sys.argv[1]).results])"
    )
    with writing(path) as store:
        session = _session(store)
        for count, encoder in enumerate(("resnet18", "resnet34"), start=1):
            store.append(session, case(encoder), measurement())
            out = subprocess.run(
                [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
            )
            assert out.stdout.strip() == str(["resnet18", "resnet34"][:count])


def test_a_result_is_measured_or_failed_never_both_nor_neither(path: Path) -> None:
    insert = (
        'INSERT INTO result (session, "case", block, finished_utc, measurement, failure, log_tail) '
        "VALUES (?, ?, 1, '', ?, ?, '')"
    )
    with writing(path) as store:
        session = _session(store)
        store.append(session, case(), measurement())
        for pair in ((None, None), ("{}", "{}")):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK"), store._connection:
                store._connection.execute(insert, (session, case().key(), *pair))
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store._connection:
            store._connection.execute(insert, (session + 1, case().key(), "{}", None))


def test_a_failure_that_is_no_skip_is_never_replaced(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        store.append(session, case(), CRASHED)
        for outcome in (measurement(), NOT_RUN, CRASHED):
            with pytest.raises(sqlite3.IntegrityError):
                store.append(session, case(), outcome)
        assert [result.failure for result in store.results(session)] == [CRASHED]


def test_sessions_keep_their_own_results(path: Path) -> None:
    with writing(path) as store:
        first, second = _session(store), _session(store, fresh=True)
        store.append(first, case(), CRASHED)
        store.append(second, case(), measurement())
        assert store.results(first)[0].failure == CRASHED
        assert store.results(second)[0].measurements == (measurement(),)
    assert load(path).session.identifier == second


def test_damage_is_left_as_it_is(path: Path) -> None:
    with writing(path) as store:
        session = _session(store)
        for index in range(30):
            store.append(session, case(threads=index + 1), measurement())
    content = bytearray(path.read_bytes())
    for offset in range(4096 * 3, len(content), 4096):
        content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    for opened in (reading, writing):
        with pytest.raises(StoreError) as caught, opened(path):
            pass
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == content


def test_an_empty_file_has_no_session_and_stays_empty(path: Path) -> None:
    """As a run leaves its store that was killed before it wrote."""
    path.touch()
    with pytest.raises(StoreError, match="no session yet") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b""


@contextmanager
def may_not_write() -> Iterator[None]:
    """Be nobody for a while where the tests run as root, whom no permission stops."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A store with two results in a folder that cannot be written; the second result is in the WAL alone."""
    folder = Path(tempfile.mkdtemp())  # tmp_path lies below a folder that nobody but its owner may enter
    path = folder / "results.sqlite"
    code = (
        "import os, sys; from pathlib import Path; from tests.samples import *\n"
        "from unetbench.store import writing\n"
        "for name in ('resnet18', 'resnet34'):\n"
        "    with writing(Path(sys.argv[1])) as store:\n"
        "        session = store.open_session(machine(), preset='quick', images='x', command=[], fresh=False)\n"
        "        store.append(session.identifier, case(name), measurement())\n"
        "        name == 'resnet34' and os._exit(9)  # as a kill would\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert done.returncode == 9
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    yield path
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_read_only_store_is_read_whole(locked: Path) -> None:
    before = {file.name: file.read_bytes() for file in locked.parent.iterdir()}
    with may_not_write():
        assert len(load(locked).results) == 2
        after = {file.name: file.read_bytes() for file in locked.parent.iterdir()}
    assert after.keys() == before.keys()
    assert after["results.sqlite"] == before["results.sqlite"]


def test_a_store_whose_log_cannot_be_read_is_not_shown_as_whole(locked: Path) -> None:
    locked.parent.chmod(0o755)
    locked.with_name(locked.name + "-shm").unlink()
    locked.parent.chmod(0o555)
    with may_not_write(), suppress(StoreError):  # told, not hidden
        assert len(load(locked).results) == 2


def test_a_folder_that_cannot_be_written_is_told(locked: Path) -> None:
    with may_not_write(), pytest.raises(StoreError), writing(locked):
        pass


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_a_disk_that_fails_in_the_middle_costs_nothing_that_was_acknowledged(path: Path, error: int) -> None:
    """A short form of benchmarks/selftest/durability.py."""
    source, shim = ROOT / "benchmarks" / "selftest" / "failing_disk.c", path.with_name("failing_disk.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    code = (
        "import sys; from pathlib import Path; from tests.samples import *\n"
        "from unetbench.store import writing\n"
        "with writing(Path(sys.argv[1])) as store:\n"
        "    session = store.open_session(machine(), preset='quick', images='x', command=[], fresh=False)\n"
        "    for number in range(1000):\n"
        "        store.append(session.identifier, case(f'e{number}'), measurement())\n"
        "        print(f'e{number}', flush=True)\n"
    )
    failing = {"LD_PRELOAD": str(shim), "FAILS_AFTER": "100", "FAILS_WITH": str(error)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT, check=False, capture_output=True, text=True, env=os.environ | failing,
    )  # fmt: skip
    acknowledged = done.stdout.split()
    assert done.returncode
    assert 0 < len(acknowledged) < 1000
    assert {result.case.network.encoder for result in load(path).results} >= set(acknowledged)
    assert done.stderr.splitlines()[-1].startswith("unetbench.errors.StoreError: ")


@pytest.mark.parametrize("damaged", [b'"run_nt"', b'\x00run_ns"'])
def test_a_damaged_record_is_told_in_one_line(path: Path, damaged: bytes) -> None:
    with writing(path) as store:
        store.append(_session(store), case(), measurement())
    content = path.read_bytes()
    assert content.count(b'"run_ns"') == 1
    path.write_bytes(content.replace(b'"run_ns"', damaged))
    with pytest.raises(StoreError, match=r"^[^\n]*$"):
        load(path)


def test_a_checkpoint_that_was_trained_further_is_another_case(path: Path) -> None:
    weights = path.with_name("weights.pt")
    trained = replace(case(), network=Network("resnet18", weights=str(weights)))
    with writing(path) as store:
        session = _session(store)
        for content in (b"1", b"2"):
            weights.write_bytes(content)
            store.append(session, trained, measurement())
        assert [len(result.measurements) for result in store.results(session)] == [1, 1]


@pytest.mark.parametrize("other", [{"preset": "standard"}, {"images": "y"}, {"machine": machine(cores=1)}])
def test_each_condition_by_itself_begins_a_new_session(path: Path, other: dict[str, object]) -> None:
    with writing(path) as store:
        first = _session(store)
        assert _session(store, **other) == first + 1
        assert _session(store, **other) == first + 1, "which goes on in its turn"


def test_a_folder_is_no_store_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(StoreError, match="is a folder"), writing(folder):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["results"]
