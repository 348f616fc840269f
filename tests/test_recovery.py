"""Saving what is whole: every intact row of a damaged store, nothing that changed silently; and merging."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path
from random import Random

import pytest

from tests.samples import case, machine, measurement
from tests.test_store import may_not_write
from unetbench import recovery, sqlite_pages
from unetbench.errors import StoreError
from unetbench.records import Block, Failure, Turn
from unetbench.schema import COLUMNS, seal
from unetbench.store import Store, reading, writing

ENCODERS = tuple(f"encoder{number}" for number in range(12))


def _filled(path: Path, **changes: object) -> Path:
    with writing(path) as store:
        facts = {"preset": "standard", "images": "x", "command": ["run"], "fresh": True}
        session = store.open_session(machine(**changes), **facts).identifier  # type: ignore[arg-type]
        store.note(session, "bf16", {"fp32_ms": 1.0})
        for number, encoder in enumerate(ENCODERS):
            runs = tuple(range(10_000_000, 10_000_000 + 100 * number))  # some rows need overflow pages
            store.append(session, case(encoder), measurement(run_ns=runs or (1,)), log_tail="é" * number)
        shared = Block(
            group="g", number=1, seed=1, null_turns=(Turn(order=0, before_ns=(1, 2), after_ns=(3, 4)),),
            pss_bytes=None, ready_s=(1.0,),
        )  # fmt: skip
        turned = measurement(turns=shared.null_turns, block=1)
        store.append_block(session, shared, {case(ENCODERS[0]): turned}, {})
    return path


def _results(path: Path) -> dict[str, object]:
    with reading(path) as store:
        return {result.case.network.encoder: result for result in store.results(1)}


def test_an_undamaged_store_is_saved_whole(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    saved = recovery.recover(path, tmp_path / "b.sqlite")
    assert (saved.count, saved.damaged, saved.unsealed) == (len(ENCODERS) + 1, 0, 0)
    assert _results(tmp_path / "b.sqlite") == _results(path)
    with reading(path) as old, reading(tmp_path / "b.sqlite") as new:
        for table in COLUMNS:
            assert sorted(map(repr, old.rows(table))) == sorted(map(repr, new.rows(table)))


def test_the_pages_read_as_sqlite_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "any.sqlite"
    random = Random(2)
    rows = [
        (
            n,
            random.choice([None, 0, 1, -1, 2**40, -(2**60)]),
            random.choice(["", "é" * n, "x" * 9000]),
            b"\0" * n,
        )
        for n in range(300)
    ]
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a, b, c, d)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    found = [values for _, values in sqlite_pages.rows(path.read_bytes()) if len(values) == 4]
    assert sorted(found, key=lambda row: row[0]) == rows  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("seed", range(60))
def test_damage_never_changes_a_row_silently_and_other_rows_are_saved(tmp_path: Path, seed: int) -> None:
    """A short form of benchmarks/selftest/durability.py."""
    path = _filled(tmp_path / "a.sqlite")
    truth = _results(path)
    content = bytearray(path.read_bytes())
    random = Random(seed)
    page = 4096 * random.randrange(1, len(content) // 4096)
    match seed % 3:
        case 0:
            content[page + random.randrange(4096)] ^= 1 << random.randrange(8)
        case 1:
            content[page : page + 4096] = bytes(4096)
        case _:
            del content[page:]
    path.write_bytes(content)
    try:
        recovery.recover(path, tmp_path / "b.sqlite")
    except StoreError as error:
        assert "could be saved" in str(error)
        return
    saved = _results(tmp_path / "b.sqlite")
    for encoder, result in saved.items():
        if encoder != ENCODERS[0]:  # it has two rows, and may have lost one
            assert result == truth[encoder]


def test_one_damaged_page_costs_only_what_lay_on_it(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'result'").fetchone()[0]
    connection.close()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = bytes(4096)  # SQLite finds no result any more
    path.write_bytes(content)
    with pytest.raises(StoreError, match="recover"), reading(path) as store:
        store.results(1)
    saved = recovery.recover(path, tmp_path / "b.sqlite")
    assert saved.count >= len(ENCODERS) - 2


def test_a_row_that_reads_well_but_was_changed_is_refused(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE result SET measurement = replace(measurement, '10000000', '90000000')")
    connection.close()
    with pytest.raises(StoreError, match=r"not what was written.*recover"), reading(path) as store:
        store.results(1)


def test_nothing_is_overwritten_and_nothing_is_made_of_nothing(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="there already"):
        recovery.recover(path, path)
    with pytest.raises(StoreError, match="there already"):
        recovery.merge([path], path)
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match="no store"):
        recovery.recover(tmp_path / "none", tmp_path / "new")
    (tmp_path / "noise").write_bytes(Random(1).randbytes(50_000))
    with pytest.raises(StoreError, match="could be saved"):
        recovery.recover(tmp_path / "noise", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_results_in_the_log_of_a_killed_run_are_saved(tmp_path: Path) -> None:
    with writing(tmp_path / "a.sqlite") as store:
        facts = {"preset": "quick", "images": "x", "command": ["run"], "fresh": True}
        session = store.open_session(machine(), **facts).identifier  # type: ignore[arg-type]
        store.append(session, case(), measurement())
        saved = recovery.recover(tmp_path / "a.sqlite", tmp_path / "b.sqlite")
    assert saved.count == 1


def test_the_log_of_a_store_that_may_not_be_written_is_saved_too() -> None:
    """Its copy has a mode of its own: the two are joined by writing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with writing(folder / "a.sqlite") as store:
            facts = {"preset": "quick", "images": "x", "command": ["run"], "fresh": True}
            store.append(store.open_session(machine(), **facts).identifier, case(), measurement())  # type: ignore[arg-type]
            for suffix in ("", "-wal"):
                copy = shutil.copy(folder / f"a.sqlite{suffix}", folder / f"killed.sqlite{suffix}")
                Path(copy).chmod(0o444)
        folder.chmod(0o777)
        with may_not_write():
            assert recovery.recover(folder / "killed.sqlite", folder / "new.sqlite").count == 1


def test_merged_sessions_keep_their_machines_apart(tmp_path: Path) -> None:
    a = _filled(tmp_path / "a.sqlite")
    b = _filled(tmp_path / "b.sqlite", cpu="Another CPU")
    assert recovery.merge([a, b], tmp_path / "c.sqlite") == 2
    with reading(tmp_path / "c.sqlite") as store:
        first, second = store.sessions()
        assert (first.machine.cpu, second.machine.cpu) == ("A CPU", "Another CPU")
        assert len(store.results(1)) == len(store.results(2)) == len(ENCODERS)
        assert store.blocks(2)[0].number == 1
        assert store.facts(2)["bf16"] == {"fp32_ms": 1.0}


def test_seals_differ_by_table_and_by_every_value() -> None:
    assert len({seal("a", (1, "x")), seal("b", (1, "x")), seal("a", (1, "y")), seal("a", ("1", "x"))}) == 4


def test_a_store_of_the_first_schema_is_read_and_brought_forward(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:  # what the first program wrote
        connection.execute("DROP TABLE block")
        connection.execute("DROP TABLE in_hand")
        connection.execute("DELETE FROM result WHERE block = 1")
        for table in ("session", "fact", "case", "result"):
            connection.execute(f'ALTER TABLE "{table}" DROP COLUMN seal')
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with reading(path) as store:
        assert len(store.results(1)) == len(ENCODERS)
        assert store.blocks(1) == ()
    assert recovery.recover(path, tmp_path / "saved.sqlite").unsealed > 0
    with writing(path) as store:
        store.append(1, case("new"), Failure(stage="run", kind="crashed", message="x"))
        assert isinstance(store, Store)
        assert len(store.results(1)) == len(ENCODERS) + 1


def test_results_whose_case_is_lost_are_told_not_counted(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute('DELETE FROM "case" WHERE key = ?', (case(ENCODERS[3]).key(),))
    connection.close()
    saved = recovery.recover(path, tmp_path / "b.sqlite")
    assert (saved.count, saved.orphaned) == (len(ENCODERS), 1)
    assert len(_results(tmp_path / "b.sqlite")) == len(ENCODERS) - 1


def test_a_text_that_became_bytes_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = _filled(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE result SET finished_utc = CAST(finished_utc AS BLOB) WHERE id = 1")
    connection.close()
    with pytest.raises(StoreError, match="not what was written"), reading(path) as store:
        store.results(1)
    assert recovery.recover(path, tmp_path / "b.sqlite").count == len(ENCODERS)


def test_a_new_store_that_cannot_be_written_whole_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = _filled(tmp_path / "a.sqlite")
    (tmp_path / "new.sqlite.mine").write_text("notes")

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "insert", full)
    new = tmp_path / "new.sqlite"
    for write in (lambda: recovery.merge([good], new), lambda: recovery.recover(good, new)):
        with pytest.raises(StoreError, match="is full: make room"):
            write()
        assert [path.name for path in tmp_path.glob("new*")] == ["new.sqlite.mine"]


def test_a_merge_that_fails_leaves_nothing(tmp_path: Path) -> None:
    good = _filled(tmp_path / "a.sqlite")
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    with pytest.raises(StoreError):
        recovery.merge([good, tmp_path / "noise"], tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()


def test_two_that_write_one_new_file_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    good = _filled(tmp_path / "a.sqlite")
    new = tmp_path / "new.sqlite"
    recovery.merge([good], new)
    content = new.read_bytes()
    with pytest.raises(StoreError, match="is there already"), recovery._made(new):
        pass  # as where the other was faster after both had looked
    assert new.read_bytes() == content


def test_what_is_saved_comes_in_the_order_in_which_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later row may lie on an earlier page, where something was replaced."""
    path = tmp_path / "a.sqlite"
    with writing(path) as store:
        facts = {"preset": "standard", "images": "x", "command": ["run"], "fresh": True}
        session = store.open_session(machine(), **facts).identifier  # type: ignore[arg-type]
        for number, encoder in enumerate(ENCODERS):
            store.append(session, case(encoder), measurement(run_ns=tuple(range(1, 9 + number))))
        lost = Failure(stage="run", kind="crashed", message="x")
        store.append(session, case(ENCODERS[0]), lost, block=1)
    backwards = sorted(sqlite_pages.rows(recovery._content(path)), key=lambda each: -each[0])
    monkeypatch.setattr(sqlite_pages, "rows", lambda _: iter(backwards))
    recovery.recover(path, tmp_path / "b.sqlite")
    with reading(tmp_path / "b.sqlite") as store:
        found = next(r for r in store.results(1) if r.case == case(ENCODERS[0]))
    assert found.failure == lost
