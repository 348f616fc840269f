"""Files that a spreadsheet and a Markdown reader take as meant, written whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.samples import case, measurement
from unetbench.errors import StoreError
from unetbench.records import Result
from unetbench.reporting.files import csv_text, markdown_text, write_text
from unetbench.reporting.row import Row
from unetbench.reporting.rows import rows

(ROW,) = rows([Result(case=case(), session=1, measurements=(measurement(1234.56789),))])


def _read(table: list[Row]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(table), newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_a_spreadsheet_executes_no_cell(start: str) -> None:
    (read,) = _read([replace(ROW, encoder=f"{start}cmd()", reason=f"{start}1")])
    assert read["encoder"] == f"'{start}cmd()"
    assert read["reason"] == f"'{start}1"


def test_a_carriage_return_ends_no_row() -> None:
    (read,) = _read([replace(ROW, reason="\r=cmd()\rmore")])
    assert read["reason"] == " =cmd() more"


def test_a_number_below_zero_stays_a_number() -> None:
    assert _read([replace(ROW, relative_error=-0.5)])[0]["relative_error"] == "-0.5"


@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=20))
def test_a_cell_comes_back_as_it_went_or_behind_an_apostrophe(text: str) -> None:
    (read,) = _read([replace(ROW, encoder=text)])
    assert read["encoder"] in (text, "'" + text)
    assert not read["encoder"].startswith(("=", "+", "-", "@", "\t"))


def test_figures_keep_six_digits_and_what_is_not_known_stays_empty() -> None:
    (read,) = _read([replace(ROW, speedup=None)])
    assert read["median_ms"] == "1234.57"
    assert read["speedup"] == ""
    assert read["runs"] == "3"
    assert list(read) == list(Row.__struct_fields__)


def test_no_rows_are_a_header() -> None:
    assert csv_text([]).splitlines() == [",".join(Row.__struct_fields__)]


HOSTILE = st.text(st.sampled_from("ab|<>&\n*"), max_size=12)


@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=4), HOSTILE, HOSTILE)
def test_a_markdown_table_keeps_its_shape(body: list[tuple[str, str]], heading: str, note: str) -> None:
    text = markdown_text(heading, ["encoder", "median ms"], body, [note])
    lines = text.split("\n")
    table = [line for line in lines[2 : 4 + len(body)] if line.startswith("|")]
    assert len(table) == 2 + len(body)
    assert {line.replace("\\|", "").count("|") for line in table} == {3}
    assert "<" not in text


def test_figures_align_right_and_names_left() -> None:
    text = markdown_text("t", ["encoder", "median ms", "status"], [["a", "1", "ok"]], [])
    assert text.splitlines()[3] == "|---|---:|---|"


def test_a_file_is_made_with_its_folder_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.md"
    write_text(path, "old ·")
    write_text(path, "new ·")
    assert path.read_text(encoding="utf-8") == "new ·"
    assert [file.name for file in path.parent.iterdir()] == ["results.md"]


def test_it_is_synced_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    seen: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.exists()))
    write_text(path, "new")
    assert seen == [False]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_the_old_file_stays_where_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "results.csv"
    write_text(path, "old")

    def failing(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StoreError) as caught:
        write_text(path, "new")
    assert os.strerror(code) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_a_folder_that_is_a_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        write_text(tmp_path / "out" / "results.csv", "x")
