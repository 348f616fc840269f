"""A sweep is seen while it runs: whole in a terminal of 80 x 24, a line each elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.samples import case, measurement
from unetbench.records import Case, Failure, Result
from unetbench.reporting import live
from unetbench.reporting.live import LiveView, PlainLines, duration, observer
from unetbench.suite import read_suite

CASES = read_suite(Path(__file__).parents[2] / "benchmarks" / "unet_decoder").cases(threads=2)
FAILURE = Failure(stage="run", kind="timeout", message="no answer within 900 s")
NOT_RUN = Failure(stage="preflight", kind="not run", message="emulated")


def _measured(of: Case, run_ms: float = 100.0) -> Result:
    return Result(case=of, session=1, measurements=(measurement(run_ms),))


def _console(width: int = 80, height: int = 24) -> Console:
    return Console(record=True, force_terminal=True, width=width, height=height, file=io.StringIO())


def _screen(known: list[Result], *, width: int = 80, height: int = 24, note: str = "") -> list[str]:
    """The lines that the view wants to draw while the next case runs."""
    console = _console(width, height)
    view = LiveView(CASES, known, console, note)
    view.started(CASES[min(len(known), len(CASES) - 1)], 600.0)
    view.phase("compiling")
    drawn = view._drawn()
    view.close()
    text = Console(record=True, width=width, height=height, file=io.StringIO())
    text.print(drawn)
    return text.export_text().splitlines()


@pytest.mark.parametrize("finished", [0, 1, 5, 124])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_passes_the_edge(finished: int, width: int) -> None:
    known = [_measured(of, 100.0 + place) for place, of in enumerate(CASES[:finished])]
    assert max(map(len, _screen(known, width=width, note="a note " * 20))) <= width


@pytest.mark.parametrize("finished", [0, 1, 5])
def test_the_view_says_what_runs_how_far_it_is_and_how_long_it_takes(finished: int) -> None:
    known = [_measured(of) for of in CASES[:finished]]
    lines = _screen(known, note="a suite · bf16 go")
    assert len(lines) < 24
    text = "\n".join(lines)
    assert f"{finished} of 125 cases, about 10 min left" in text
    assert f"compiling: {CASES[finished].name}" in text
    assert "a suite · bf16 go" in text


@pytest.mark.parametrize("finished", [20, 49])
def test_a_long_table_leaves_room_for_the_progress(finished: int) -> None:
    assert len(_screen([_measured(of, 100.0 + place) for place, of in enumerate(CASES[:finished])])) <= 24


def test_a_long_table_says_how_many_rows_are_hidden_and_shows_the_fastest() -> None:
    known = [_measured(of, 1000.0 - place) for place, of in enumerate(CASES[:25])]
    lines = [line for line in _screen(known) if not line.startswith("compiling: ")]
    text = "\n".join(lines)
    shown = [of.network.encoder.partition(".")[0] for of in CASES[:25]]
    hidden = sum(name not in text.split() for name in shown)
    assert hidden > 0
    assert f"… and {hidden} slower rows" in text
    assert shown[-1] in text.split(), "the fastest"
    assert shown[0] not in text.split(), "the slowest"


def test_a_failure_is_seen_and_a_case_that_was_not_run_is_no_row() -> None:
    failed = Result(case=CASES[0], session=1, failure=FAILURE)
    skipped = Result(case=CASES[1], session=1, failure=NOT_RUN)
    text = "\n".join(_screen([failed, skipped]))
    assert "timeout" in text
    assert "mobileone_s1" not in text


def test_the_time_left_runs_down_between_results(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    view = LiveView(CASES, [], _console(), "")
    view.started(CASES[0], 600.0)
    seen = []
    for elapsed in (0.0, 300.0, 5000.0):
        now[0] = 1000.0 + elapsed
        apart = Console(record=True, width=80, file=io.StringIO())
        apart.print(view._progress())
        seen.append(apart.export_text().split("about ")[1].split(" left")[0])
    view.close()
    assert seen == ["10 min", "5 min", "0 s"]


def test_a_terminal_gets_the_view_and_a_pipe_gets_lines() -> None:
    lines: list[str] = []
    seen = observer(CASES, (), "bf16 go", console=_console(), write=lines.append, title="T")
    seen.close()
    assert isinstance(seen, LiveView)
    assert lines == []
    pipe = Console(file=io.StringIO(), force_terminal=False)
    assert isinstance(observer(CASES, (), "bf16 go", console=pipe, write=lines.append, title="T"), PlainLines)
    assert isinstance(observer(CASES, (), None, console=pipe, write=lines.append, title="T"), PlainLines)
    assert lines == ["T · bf16 go", "T"]


def test_plain_lines_tell_a_failure_with_its_reason_and_the_time_left() -> None:
    lines: list[str] = []
    view = PlainLines(CASES, (), lines.append, "")
    view.started(CASES[0], 600.0)
    view.phase("compiling")
    view.tick()
    view.finished(Result(case=CASES[0], session=1, failure=FAILURE), 1, 580.0)
    view.finished(_measured(CASES[1], 12.34), 2, 0.0)
    view.close()
    assert lines == [
        f"[1/125] {CASES[0].name}: timeout (run: no answer within 900 s) (about 10 min left)",
        f"[2/125] {CASES[1].name}: 12.3 ms",
    ]


def test_a_sweep_of_several_sizes_names_them_and_one_of_a_single_size_does_not() -> None:
    smaller = replace(CASES[0], height_px=256, width_px=320)
    lines: list[str] = []
    view = PlainLines([CASES[0], smaller], (), lines.append, "")
    view.finished(_measured(smaller, 12.34), 1, 0.0)
    view.block([_measured(CASES[0])], 1, 60.0)
    assert lines == [
        f"[1/2] {CASES[0].name} at 256x320: 12.3 ms",
        f"block 1 of {CASES[0].network.name} at 512x512: done (at most 60 s left)",
    ]
    seen = LiveView([CASES[0], smaller], [], _console(), "")
    seen.started(smaller, 60.0)
    seen.close()
    assert seen._now == f"{CASES[0].name} at 256x320"


def test_what_is_amiss_with_a_case_is_told_with_its_first_block_alone() -> None:
    lines: list[str] = []
    view = PlainLines(CASES, (), lines.append, "")
    failed = Result(case=CASES[0], session=1, failure=FAILURE)
    for number in (1, 2):
        view.block([failed, _measured(CASES[0])], number, 60.0)
    other = replace(CASES[0], height_px=640)
    view.block([replace(failed, case=other, key=other.key())], 1, 60.0)
    what = f"{CASES[0].recipe}: timeout (run: no answer within 900 s)"
    assert lines == [
        f"block 1 of {CASES[0].network.name}: {what} (at most 60 s left)",
        f"block 2 of {CASES[0].network.name}: done (at most 60 s left)",
        f"block 1 of {CASES[0].network.name}: {what} (at most 60 s left)",
    ]


def test_the_view_leaves_the_terminal_as_it_was() -> None:
    console = _console()
    view = LiveView(CASES, [], console, "")
    view.started(CASES[0], 1.0)
    view.finished(_measured(CASES[0]), 1, 0.0)
    view.close()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1, "the cursor is shown again"
    view.close()  # twice does no harm


@pytest.mark.parametrize(
    ("seconds", "text"), [(89.4, "89 s"), (90, "2 min"), (3540, "59 min"), (5399, "1 h 30 min"), (36000, "10 h 00 min")]
)  # fmt: skip
def test_a_time_is_written_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_sample_is_the_shipped_suite() -> None:
    assert len(CASES) == 125
    assert case().network.encoder in {of.network.encoder for of in CASES}
