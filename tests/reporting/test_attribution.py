"""Where the time goes, by hand: shares, peaks, which limit is the nearer one, the page and the chart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.samples import case, machine, measurement
from unetbench.records import LIMITS_FACT, Breakdown, Kernel, MachineLimits, Section, breakdown_fact
from unetbench.reporting import limits_page
from unetbench.reporting.attribution import (
    UNTOLD,
    attributed,
    in_short,
    machine_lines,
    peaks,
    section_lines,
)
from unetbench.reporting.charts import write_png
from unetbench.reporting.report import certificate, markdown, report, write_files
from unetbench.store import reading, writing

MS = 1_000_000
FOUND = Breakdown(
    precision="fp32",
    threads=2,
    whole_ns=(50 * MS, 48 * MS, 90 * MS),
    sections=(
        Section(
            name="encoder", runtime="openvino", flop=2_000_000_000, moved_bytes=10_000_000, run_ns=(40 * MS,)
        ),
        Section(
            name="head", runtime="mnn", flop=100_000_000, moved_bytes=100_000_000, run_ns=(10 * MS,), note="n"
        ),
    ),
)
MACHINE = MachineLimits(
    threads=2,
    kernels=(
        Kernel(kind="fp32", name="torch product fp32", work=1_000_000_000, run_ns=(10 * MS, 9 * MS, 99 * MS)),
        Kernel(kind="fp32", name="worse", work=1_000_000_000, run_ns=(20 * MS,)),
        Kernel(kind="int8", name="bytes", work=4_000_000_000, run_ns=(10 * MS,)),
        Kernel(kind="memory", name="triad", work=20_000_000, run_ns=(1 * MS,)),
    ),
    buffer_bytes=256 << 20,
    cache_bytes=32 << 20,
    failed={"onnxruntime convolution 3×3 int8": "RuntimeError: no"},
)  # peaks of 100 GFLOP/s in fp32, 400 in int8, 20 GB/s


def test_peaks_are_the_best_by_the_median() -> None:
    found = peaks(MACHINE)
    assert found["fp32"].per_s == pytest.approx(100e9)
    assert found["fp32"].kernel == "torch product fp32"
    assert [name for name, _ in found["fp32"].tried] == ["torch product fp32", "worse"]
    assert found["memory"].per_s == pytest.approx(20e9)
    assert "bf16" not in found
    assert peaks(None) == {}


def test_figures_by_hand() -> None:
    found = attributed(FOUND, peaks(MACHINE))
    encoder, head = found.sections
    assert (encoder.ms, encoder.share) == (pytest.approx(40), pytest.approx(0.8))
    assert encoder.gflop_per_s == pytest.approx(50)
    assert encoder.of_peak == pytest.approx(0.5)
    assert encoder.of_bandwidth == pytest.approx(0.0125)
    assert (encoder.bound, head.bound) == ("arithmetic", "memory")
    assert head.of_bandwidth == pytest.approx(0.5)
    assert encoder.limit_ms == pytest.approx(20)
    assert found.limit_ms == pytest.approx(25)
    assert (found.together_ms, found.whole_ms) == (pytest.approx(50), pytest.approx(50))
    assert found.gflop_per_s == pytest.approx(42)
    assert found.of_peak == pytest.approx(0.42)


def test_of_each_kernel_the_best_shape_is_told() -> None:
    def kernel(channels: int, ms: int) -> Kernel:
        name = f"mnn convolution 3×3 fp32, {channels} channels"
        return Kernel(kind="fp32", name=name, work=10**9, run_ns=(ms * MS,))

    several = replace(MACHINE, kernels=(*MACHINE.kernels, kernel(64, 50), kernel(128, 25)))
    (line,) = [each for each in machine_lines(several) if each.startswith("fp32")]
    assert "mnn convolution 3×3 fp32, 128 channels 40" in line
    assert "64 channels" not in line


def test_a_precision_has_its_own_peak_and_the_size_of_its_numbers() -> None:
    encoder, _ = attributed(replace(FOUND, precision="int8"), peaks(MACHINE)).sections
    assert encoder.of_peak == pytest.approx(0.125)
    assert encoder.gb_per_s == pytest.approx(0.0625)
    encoder, _ = attributed(replace(FOUND, precision="bf16"), peaks(MACHINE)).sections
    assert (encoder.of_peak, encoder.limit_ms, encoder.bound) == (None, None, "unknown")


def test_the_words() -> None:
    lines = list(section_lines(attributed(FOUND, peaks(MACHINE))))
    assert lines[0] == (
        "encoder 40.0 ms, 80%: 50 GFLOP/s (50% of the peak), 0.25 GB/s (1% of memory's); bound by arithmetic, in openvino"
    )
    assert lines[1].endswith("bound by memory, in mnn (n)")
    assert lines[2].startswith("together 50.0 ms, 1.00 of the whole's 50.0 ms")
    assert lines[3] == "at the machine's limits 25.0 ms"
    said = list(machine_lines(MACHINE))
    assert said[0] == "fp32 peak 100 GFLOP/s (torch product fp32; worse 50)"
    assert said[2] == "memory 20 GB/s (triad)"
    assert "256 MiB each, largest cache 32 MiB" in said[3]
    assert said[4] == "not measured: onnxruntime convolution 3×3 int8 (RuntimeError: no)"


def test_sections_that_do_not_add_up_to_the_whole_tell_no_shares() -> None:
    """As in int8, whose sections hand over maps in fp32."""
    apart = attributed(replace(FOUND, whole_ns=(30 * MS,)), peaks(MACHINE))
    assert not apart.adds_up
    assert apart.bars == [(UNTOLD, pytest.approx(30))]
    *sections, together, _ = section_lines(apart)
    assert not any("80%" in line for line in sections)
    assert together.endswith("1.67 of the whole's 30.0 ms in the same minutes: the difference is the cut's, too much for shares to mean anything")  # fmt: skip
    assert in_short(apart, "int8").startswith("not told by its sections, which come to 1.7 × the whole; ")
    near = attributed(replace(FOUND, whole_ns=(34 * MS,)), peaks(MACHINE))
    assert near.bars == [("encoder", pytest.approx(40)), ("head", pytest.approx(10))]
    assert limits_page.drawn_order([UNTOLD, "encoder", "head"]) == ["encoder", "head", UNTOLD]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_cut(tmp_path / "results.sqlite")


def write_cut(path: Path) -> Path:
    """Write a store with a case that was cut into sections and one that could not be."""
    first, second = case("resnet18", "openvino>mnn/fp32"), case("resnet34")
    with writing(path) as opened:
        session = opened.open_session(
            machine(), preset="quick", images="x", command=["run"], fresh=True
        ).identifier
        for each in (first, second, case("resnet18")):
            opened.append(session, each, measurement(60))
        opened.note(session, LIMITS_FACT, {"2": {"found": msgspec.to_builtins(MACHINE)}})
        opened.note(session, breakdown_fact(first.key()), {"found": msgspec.to_builtins(FOUND)})
        failure = {"stage": "cut", "kind": "unsupported", "message": "operator <x>"}
        opened.note(session, breakdown_fact(second.key()), {"failure": failure})
    return path


def test_a_case_shows_its_parts_and_the_machine(store: Path) -> None:
    with reading(store) as opened:
        made = report(opened)
        first = dict(certificate(opened, made, "resnet18/unet openvino>mnn/fp32"))
        second = dict(certificate(opened, made, "resnet34/unet torch_eager/fp32"))
    assert first["sections"].startswith("encoder 40.0 ms")
    assert first["machine"].startswith("fp32 peak 100 GFLOP/s")
    assert second["sections"] == "not cut: unsupported while cut: operator <x>"


def test_the_files(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    with reading(store) as opened:
        made = report(opened)
    assert "Machine: fp32 peak 100 GFLOP/s" in markdown(made)
    written = write_files(made, tmp_path / "out")
    assert [path.name for path in written[-2:]] == ["limits.md", "limits.png"]
    text = written[-2].read_text(encoding="utf-8")
    assert (
        "| resnet18 | unet | openvino>mnn/fp32 | 40.0 | 10.0 | 50.0 | 50.0 | 42 | 42% | 25.0 | head |" in text
    )
    assert "not cut, cut: operator &lt;x>" in text
    assert written[-1].stat().st_size > 5_000


def test_the_chart_has_a_bar_for_each_part_and_both_marks(store: Path, tmp_path: Path) -> None:
    with reading(store) as opened:
        made = report(opened)
    chart = limits_page.chart(made.shown, made.limits, title="T", subtitle="S").to_dict()
    bars, ticks = (chart["datasets"][layer["data"]["name"]] for layer in chart["layer"])
    assert [(bar["section"], bar["ms"]) for bar in bars] == [("encoder", 40.0), ("head", 10.0)]
    assert [(tick["what"], tick["ms"]) for tick in ticks] == [
        ("the whole", 50.0),
        ("at the machine's limits", 25.0),
    ]
    write_png(limits_page.chart(made.shown, made.limits, title="T", subtitle="S"), tmp_path / "c.png")


def test_by_counters_or_by_cuts_is_told_of_each_runtime(store: Path) -> None:
    counted = msgspec.to_builtins(replace(FOUND, by="counters"))
    whole = case("resnet18")
    with writing(store) as opened:
        opened.note(1, breakdown_fact(whole.key()), {"found": counted})
    with reading(store) as opened:
        made = report(opened)
        said = [text for _, text in certificate(opened, made, "resnet18/unet torch_eager/fp32")]
    assert any("the difference is what the runtime's counters cost, or do not see" in text for text in said)
    text = limits_page.page(made.shown, made.limits, title="T", notes=())
    assert "torch_eager: sections by the runtime's own counters" in text
    assert "openvino>mnn: each section is converted and timed as a network of its own" in text


def test_one_recipe_at_two_sizes_has_two_bars(tmp_path: Path) -> None:
    cases = [case("resnet18", "openvino/fp32", height_px=side, width_px=side) for side in (256, 512)]
    with writing(tmp_path / "a.sqlite") as opened:
        session = opened.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        opened.note(session.identifier, LIMITS_FACT, {"2": {"found": msgspec.to_builtins(MACHINE)}})
        for each in cases:
            opened.append(session.identifier, each, measurement(60))
            found = {"found": msgspec.to_builtins(FOUND)}
            opened.note(session.identifier, breakdown_fact(each.key()), found)
        made = report(opened)
    chart = limits_page.chart(made.shown, made.limits, title="T", subtitle="S").to_dict()
    bars = chart["datasets"][chart["layer"][0]["data"]["name"]]
    assert len({bar["case"] for bar in bars}) == 2
    page = limits_page.page(made.shown, made.limits, title="T", notes=())
    assert "| unet @256x256 |" in page
    assert "| unet @512x512 |" in page


def test_limits_that_failed_are_told(store: Path) -> None:
    failure = {"stage": "limits", "kind": "timeout", "message": "no answer within 900 s"}
    with writing(store) as opened:
        opened.note(1, LIMITS_FACT, {"2": {"failure": failure}})
    with reading(store) as opened:
        text = markdown(report(opened))
    assert "Machine: not measured: limits 2 threads (timeout while limits: no answer within 900 s)." in text


def test_one_line_of_it() -> None:
    said = in_short(attributed(FOUND, peaks(MACHINE)), "fp32")
    assert said == "encoder 80%, head 20%; 42% of the fp32 peak, 25.0 ms at the machine's limits"
    assert in_short(attributed(FOUND, {}), "fp32") == "encoder 80%, head 20%"


def test_without_breakdowns_nothing_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as opened:
        session = opened.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        opened.append(session.identifier, case(), measurement())
    with reading(path) as opened:
        written = write_files(report(opened), tmp_path, chart=False)
    assert [each.name for each in written] == ["results.csv", "results.md"]
