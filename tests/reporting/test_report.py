"""Rows, tables and files made from results: every figure once, nothing cut, nothing half-written."""

from __future__ import annotations

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.samples import MS, case, machine, measurement, parity
from unetbench.errors import BadInput, StoreError
from unetbench.records import DENORMALS_SEEN, Case, Failure, Measurement, Result, RewriteReport, Session
from unetbench.reporting import files
from unetbench.reporting.live import LiveView, PlainLines, duration
from unetbench.reporting.report import Report, certificate, markdown, report
from unetbench.reporting.rows import fastest_per_network, rows
from unetbench.reporting.table import terminal_table
from unetbench.store import reading, writing

FIRED = RewriteReport(
    rewrite="reparameterize",
    offered=3,
    modules_before=90,
    modules_after=40,
    parameters_before=5_000_000,
    parameters_after=4_000_000,
)


def _result(case: Case, outcome: Measurement | Failure, session: int = 1) -> Result:
    if isinstance(outcome, Failure):
        return Result(case=case, session=session, failure=outcome)
    return Result(case=case, session=session, measurements=(outcome,))


RESULTS = (
    _result(case("resnet18"), measurement(200)),
    _result(case("mobilenetv4_conv_medium.e500_r224_in1k"), measurement(180)),
    _result(case("resnet18", "torch_compile/bf16+reparameterize"), measurement(50, rewrites=(FIRED,))),
    _result(
        case("mobilenetv4_conv_medium.e500_r224_in1k", "torch_compile/bf16+reparameterize"),
        Failure(stage="checking", kind="wrong output", message="agreement 98.7 %"),
    ),
    _result(
        case("resnet18", "torch_eager/bf16"), Failure(stage="preflight", kind="not run", message="emulated")
    ),
)
REPORT = Report(
    session=Session(
        identifier=1, started_utc="2026-11-23T10:00:00+00:00", machine=machine(), preset="quick", images="x", command="run"
    ),
    rows=rows(RESULTS),
    other_sessions=0,
)  # fmt: skip


def test_figures() -> None:
    row = rows(RESULTS)[0]
    assert (row.encoder, row.recipe) == ("resnet18", "torch_compile/bf16+reparameterize")
    assert row.median_ms == pytest.approx(50)
    assert (row.low_ms, row.high_ms) == (pytest.approx(47.5), pytest.approx(52.5))
    assert row.end_to_end_ms == pytest.approx(53)
    assert row.images_per_s == pytest.approx(20)
    assert row.speedup == pytest.approx(4)
    assert row.images_per_s_per_m == pytest.approx(5)
    assert (row.parameters_m, row.encoder_parameters_m, row.gflop, row.peak_mb) == (4, 1, 16, 800)
    assert row.rewrites == "reparameterize: modules 90 → 40, parameters 5,000,000 → 4,000,000"


def test_a_batch_counts_its_images() -> None:
    (row,) = rows([_result(case(batch=4), measurement(100))])
    assert row.images_per_s == pytest.approx(40)


def test_rows_are_fastest_first_and_failures_last() -> None:
    assert [row.status for row in rows(RESULTS)] == ["ok", "ok", "ok", "wrong output", "not run"]
    times = [row.median_ms for row in rows(RESULTS)[:3]]
    assert times == sorted(times, key=float)  # type: ignore[arg-type]
    assert [result.failed for result in RESULTS] == [False, False, False, True, False]


@pytest.mark.parametrize("changes", [{"height_px": 256}, {"threads": 1}, {"batch": 2}])
def test_a_speed_up_is_against_the_same_input_and_threads(changes: dict[str, int]) -> None:
    other = case(recipe="torch_compile/fp32", **changes)
    table = rows([_result(case(), measurement(100)), _result(other, measurement(50))])
    assert {row.recipe: row.speedup for row in table}["torch_compile/fp32"] is None


def test_a_speed_up_is_against_the_same_session() -> None:
    other = _result(case(recipe="torch_compile/fp32"), measurement(50), session=2)
    table = rows([_result(case(), measurement(100)), other])
    assert {row.recipe: row.speedup for row in table}["torch_compile/fp32"] is None


def test_the_fastest_of_each_network() -> None:
    best = fastest_per_network(rows(RESULTS))
    assert [(row.encoder, row.recipe) for row in best] == [
        ("resnet18", "torch_compile/bf16+reparameterize"),
        ("mobilenetv4_conv_medium.e500_r224_in1k", "torch_eager/fp32"),
    ]


def _text(width: int) -> str:
    console = Console(record=True, width=width, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(terminal_table(REPORT.shown, title=REPORT.title, width=width))
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 250])
def test_a_table_fits_its_terminal_and_cuts_no_figure(width: int) -> None:
    text = _text(width)
    assert max(map(len, text.splitlines())) <= width
    assert "50.0" in text
    assert "mobilenetv4_conv_medium" in text
    assert "…" not in text


def test_a_narrow_table_has_a_legend_and_says_what_left() -> None:
    text = _text(80)
    assert "A  torch_eager/fp32" in text
    assert "B  torch_compile/bf16+reparameterize" in text
    assert "not shown at this width" in text


def test_a_wide_table_has_everything() -> None:
    text = _text(250)
    assert "e500_r224_in1k" in text
    assert "not shown" not in text
    assert "torch_compile/bf16+reparameterize" in text


def test_markdown_has_conditions_and_a_note_for_each_failure() -> None:
    text = markdown(REPORT)
    for said in ("A CPU", "2 threads", "2026-11-23", "torch 2.15.0", "no verdicts", "agreement 98.7 %"):
        assert said in text
    assert "Not run: torch_eager/bf16 on 1 network" in text
    folded = text.partition("<details><summary>What the rewrites did</summary>")[2]
    assert "resnet18 reparameterize: modules 90 → 40" in folded
    assert folded.rstrip().endswith("</details>")
    assert "<details>" not in markdown(REPORT, fastest=True), "the front page has them elsewhere"
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_pictures_of_one_processor_are_told_apart_by_what_it_offers() -> None:
    captions = set()
    for sets in (("avx2", "fma"), ("avx2", "fma", "avx512f", "amx_int8"), ()):
        session = replace(REPORT.session, machine=machine(instruction_sets=sets))
        captions.add(replace(REPORT, session=session).caption())
    kept, day = f"{REPORT.title}\nA CPU, 2 cores granted, 2 threads, 8 GiB", "2026-11-23"
    assert captions == {f"{kept} · avx2 · {day}", f"{kept} · amx_int8 · {day}", f"{kept} · {day}"}


def test_markdown_escapes_what_would_break_it() -> None:
    text = files.markdown_text("t", ["encoder"], [["a|b</script>"]], ["x<y"])
    assert "a\\|b&lt;/script>" in text
    assert "x&lt;y" in text


def test_csv_has_every_column_and_no_formula() -> None:
    table = rows([_result(case(), Failure(stage="run", kind="crashed", message="x"))])
    hostile = [row.__class__(**(files.columns(row) | {"encoder": "=cmd()"})) for row in table]
    (read,) = csv.DictReader(files.csv_text(hostile).splitlines())
    assert read["encoder"] == "'=cmd()"
    assert read["status"] == "crashed"
    assert read["median_ms"] == ""


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    files.write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_plain_lines() -> None:
    lines: list[str] = []
    view = PlainLines([result.case for result in RESULTS[:2]], RESULTS[:1], lines.append, "bf16 go")
    view.started(RESULTS[1].case, 100.0)
    view.finished(RESULTS[1], 2, 0.0)
    assert lines == [
        "bf16 go",
        "1 of 2 cases have a result already: going on from there",
        "[2/2] mobilenetv4_conv_medium.e500_r224_in1k/unet torch_eager/fp32: 180 ms",
    ]


def test_the_live_view_fits_the_terminal_and_shows_where_it_is() -> None:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        console = Console(record=True, force_terminal=True, width=80, height=24, file=nowhere)
        view = LiveView([result.case for result in RESULTS], RESULTS[:1], console, "a suite")
        view.started(RESULTS[1].case, 600.0)
        view.phase("compiling")
        view.finished(RESULTS[1], 2, 500.0)
        view.started(RESULTS[2].case, 400.0)
        view.phase("measuring")
        console.print(view._drawn())
        view.close()
    text = console.export_text()
    assert "measuring: resnet18/unet torch_compile/bf16+reparameterize" in text
    assert "2 of 5 cases" in text
    assert "about 7 min left" in text
    assert "180" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (45, "45 s"), (89, "89 s"), (120, "2 min"), (5400, "1 h 30 min"), (7500, "2 h 05 min")]
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_samples_are_consistent() -> None:
    assert measurement().run_ns[1] == 100 * MS
    assert parity().measured_class == "exact"


def test_a_report_is_of_the_latest_session_or_of_one_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        for encoder in ("resnet18", "resnet34"):
            session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
            store.append(session.identifier, case(encoder), measurement())
    with reading(path) as store:
        assert [row.encoder for row in report(store).rows] == ["resnet34"]
        assert any("Other sessions in the store: 1;" in note for note in report(store).notes())
        assert [row.encoder for row in report(store, session=1).rows] == ["resnet18"]
        for unknown in (0, -1, 3):
            with pytest.raises(BadInput, match="holds 1, 2"):
                report(store, session=unknown)


def test_cases_not_run_for_one_reason_are_one_note() -> None:
    reason = Failure(stage="preflight", kind="not run", message="emulated")
    other = Failure(stage="preflight", kind="not run", message="else")
    bf16 = [_result(case(name, "torch_eager/bf16"), reason) for name in ("resnet18", "resnet34", "lcnet_100")]
    bf16.append(_result(case("lcnet_150", "torch_eager/bf16"), other))
    made = Report(session=REPORT.session, rows=rows([*bf16, RESULTS[0]]), other_sessions=0)
    notes = [note for note in made.notes() if note.startswith("Not run")]
    assert len(notes) == 2
    assert "on 3 networks (preflight: emulated)" in " ".join(notes)
    assert [row.encoder for row in made.shown] == ["resnet18"], "the table has the measured row alone"


def test_a_report_that_stands_for_a_session_names_each_failure() -> None:
    failures = [note for note in REPORT.notes() if "wrong output" in note]
    assert failures == [
        "mobilenetv4_conv_medium.e500_r224_in1k torch_compile/bf16+reparameterize: "
        "wrong output, checking: agreement 98.7 %."
    ]


def test_peaks_of_memory_that_are_no_high_water_marks_are_labelled(tmp_path: Path) -> None:
    path, told = tmp_path / "results.sqlite", "ru_maxrss, which may be the parent's and is never reset"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case("resnet18"), measurement())
        assert not [note for note in report(store).notes() if "Peak memory" in note]
        store.append(session.identifier, case("resnet34"), measurement(peak_is=told))
    with reading(path) as store:
        found = report(store)
        assert f"Peak memory is by {told}." in found.notes()
        assert ("", f"by {told}") in certificate(store, found, "resnet34/unet torch_eager/fp32")
        plain = certificate(store, found, "resnet18/unet torch_eager/fp32")
        assert not [text for _, text in plain if told in text]


@pytest.mark.parametrize("held", [None, 19_000_000])
def test_what_measuring_held_is_told_where_peaks_have_it(tmp_path: Path, held: int | None) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case("resnet18"), measurement(held_bytes=held))
    with reading(path) as store:
        told = report(store)
        assert ("measuring held among it" in markdown(told, fastest=True)) == (held is None)
        text = " ".join(fact for _, fact in certificate(store, told, "resnet18"))
    assert ("19 MB that measuring held" in text) == (held is not None)


def test_a_session_that_has_peaks_of_both_kinds_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        for encoder, held in (("resnet18", None), ("resnet34", 19_000_000), ("resnet50", 19_000_000)):
            store.append(session.identifier, case(encoder), measurement(held_bytes=held))
    with reading(path) as store:
        assert "in 1 of 3 rows the inputs and expected answers" in markdown(report(store))


def test_a_case_whose_threads_keep_denormals_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        for encoder, seen in (("resnet18", "flushed in all 2"), ("resnet34", "kept in 1 of 2")):
            found = measurement(in_force={DENORMALS_SEEN: seen})
            store.append(session.identifier, case(encoder), found)
    with reading(path) as store:
        (note,) = [note for note in report(store).notes() if "denormals" in note]
    assert note.endswith("slower: resnet34/unet torch_eager/fp32.")


def test_the_front_page_names_those_of_its_rows_that_keep_denormals(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        for recipe, ms in (("torch_eager/fp32", 300), ("openvino/fp32", 100), ("onnxruntime/fp32", 200)):
            found = measurement(ms, in_force={DENORMALS_SEEN: "kept in 1 of 2"})
            store.append(session.identifier, case("resnet18", recipe), found)
    with reading(path) as store:
        front = markdown(report(store), fastest=True)
    assert front.rstrip().endswith("slower: resnet18/unet openvino/fp32.")
