"""The main job for real, on tiny networks: measure, store, kill, go on, report."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unetbench import photos
from unetbench.measuring.schedule import has_result
from unetbench.records import DENORMALS_SEEN, Result
from unetbench.results import load

ENCODERS = ("test_resnet", "test_efficientnet", "test_byobnet")  # timm's own, made for tests


def _suite(folder: Path) -> Path:
    names = ", ".join(f'"{name}"' for name in ENCODERS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.toml").write_text(f'title = "tiny"\nencoders = [{names}]\nsizes = ["64x48"]\n')
    return folder


def _start(suite: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "unetbench", "run", str(suite), "--threads", "1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
        # As in a terminal: a shell starts what runs in the background with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def _results(suite: Path) -> tuple[Result, ...]:
    return load(suite / "results" / "results.sqlite").results


def _workers(scratch: Path) -> list[int]:
    """The live processes whose temporary folder lies in a test's own: workers, and what they started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if f"TMPDIR={scratch}".encode() in environment:
            found.append(int(folder.name))
    return found


def _wait_for_worker(scratch: Path) -> None:
    """The next case's process starts a moment after a row is shown."""
    for _ in range(500):
        if _workers(scratch):
            return
        time.sleep(0.01)
    pytest.fail("no worker is running when its parent is killed")


def test_kill_9_and_ctrl_c_lose_nothing_that_was_shown_and_the_same_command_goes_on(tmp_path: Path) -> None:
    suite = _suite(tmp_path / "suite")

    with _start(suite) as killed:
        shown = _line(killed, "[1/3]").split()[1].partition("/")[0]
        _wait_for_worker(tmp_path)
        killed.kill()
    first = _results(suite)
    assert [result.case.network.encoder for result in first] == [shown]

    stopped = _start(suite)
    line = _line(stopped, "[2/3]")
    assert line.startswith("[2/3] test_efficientnet/unet torch_eager/fp32:")
    _wait_for_worker(tmp_path)
    stopped.send_signal(signal.SIGINT)
    code, _, err = _finish(stopped)
    assert code == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err

    # A machine that is busy with something else gives rows that are not quiet: those are measured again.
    kept = sum(map(has_result, _results(suite)))
    code, out, err = _finish(_start(suite))
    assert (code, err) == (0, "")
    assert f"{kept} of 3 cases have a result already" in out or not kept
    results = _results(suite)
    assert [result.case.network.encoder for result in results] == list(ENCODERS)
    assert results[0].measurements[0] == first[0].measurements[0], "what was measured before the kill is kept"
    assert not list((suite / "results").glob("*.work")), "weights and inputs go when all is measured"
    rows = list(csv.DictReader((suite / "results" / "results.csv").read_text().splitlines()))
    assert {row["status"] for row in rows} <= {"ok", "not quiet"}
    assert {row["size"] for row in rows} == {"64x48"}
    if any(row["status"] == "ok" for row in rows):
        assert (suite / "results" / "throughput.png").read_bytes().startswith(b"\x89PNG")

    # A measurement holds what the report needs to be true.
    measurement = results[0].measurements[0]
    assert len(measurement.warmup_ns) == 3
    assert 3 <= len(measurement.run_ns) <= 10
    assert measurement.in_force["threads"] == "1"
    assert measurement.in_force[DENORMALS_SEEN].startswith(("flushed in all", "unknown"))
    assert measurement.parity.measured_class == "exact"
    assert measurement.peak_run_bytes > 50e6


def test_ones_own_photographs_are_what_is_measured(tmp_path: Path) -> None:
    suite, images = _suite(tmp_path / "suite"), tmp_path / "images"
    images.mkdir()
    for name, value in (("a.png", 0), ("b.png", 255)):
        Image.fromarray(np.full((64, 64), value, np.uint8)).save(images / name)
    code, _, err = _finish(
        _start(suite, "--encoder", "test_resnet", "--images", str(images), "--channels", "1")
    )
    assert (code, err) == (0, "")
    run = load(suite / "results" / "results.sqlite")
    assert (
        run.session.images
        == photos.digest(photos.folder_photos(images))
        != photos.digest(photos.default_photos())
    )
    (result,) = run.results
    assert result.case.network.in_channels == 1
    assert result.failure is None


def test_compile_and_reparameterize_for_real(tmp_path: Path) -> None:
    suite = _suite(tmp_path / "suite")
    code, out, err = _finish(
        _start(
            suite,
            "--encoder",
            "test_byobnet",
            "--recipe",
            "torch_compile/fp32+reparameterize",
            "--size",
            "32",
        )
    )
    assert (code, err) == (0, ""), out
    (result,) = _results(suite)
    measurement = result.measurements[0]
    assert measurement.rewrites[0].rewrite == "reparameterize"
    assert measurement.prepare_s > measurement.first_run_s, "compiling is a cost of its own"


def test_failures_are_rows_and_the_exit_code_says_so(tmp_path: Path) -> None:
    suite = _suite(tmp_path / "suite")
    code, out, _ = _finish(
        _start(
            suite,
            "--encoder",
            "test_vit",
            "--encoder",
            "test_resnet",
            "--recipe",
            "ncnn/fp32",
            "--size",
            "64",
        )
    )
    assert code == 1
    failed, measured = _results(suite)
    assert failed.failure is not None
    assert failed.failure.kind == "unsupported"
    assert "ncnn has no operator" in failed.failure.message
    assert measured.failure is None
    assert "unsupported" in out


def test_a_timeout_is_a_row(tmp_path: Path) -> None:
    suite = _suite(tmp_path / "suite")
    code, _, _ = _finish(_start(suite, "--encoder", "test_resnet", "--timeout", "1"))
    assert code == 1
    (result,) = _results(suite)
    assert result.failure is not None
    assert result.failure.kind == "timeout"


def _line(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line
    pytest.fail(f"no line starts with {start}: {process.stderr.read() if process.stderr else ''}")


@pytest.fixture(autouse=True)
def _no_process_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not _workers(tmp_path)
