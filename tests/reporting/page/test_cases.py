"""One case in a page: its runs in order, thinned and said so, its histogram, its command."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.reporting.page.test_table import source
from tests.samples import MS, case, machine, measurement
from unetbench.arguments import parser
from unetbench.records import Network, Result, Session, Turn
from unetbench.reporting.page import cases
from unetbench.reporting.rows import rows

CANARY = (MS, MS)


def _session(command: str, preset: str = "quick") -> Session:
    return Session(identifier=1, started_utc="2026-11-23T10:00:00+00:00", machine=machine(), preset=preset, images="x", command=command)  # fmt: skip


def _result(blocks: int = 0, turns: int = 8) -> Result:
    made = tuple(
        measurement(
            100, block=number + 1,
            turns=tuple(Turn(order=at, before_ns=CANARY, after_ns=CANARY, run_ns=(MS * (at + 1),) * 3) for at in range(turns)),
        )
        for number in range(blocks)
    )  # fmt: skip
    alone = measurement(100, rejected_ns=((5 * MS, 6 * MS),))
    return Result(case=case(), key=case().key(), session=1, measurements=(alone, *made))


def _detail(result: Result, session: Session | None = None) -> dict[str, object]:
    (row,) = rows([result])
    return cases.detail(result, row, session or _session("run suite"))


def test_runs_are_in_the_order_in_which_they_were_made() -> None:
    detail = _detail(_result())
    points = detail["points"]
    assert isinstance(points, list)
    assert [kind for _, _, kind, _ in points] == ["warm-up"] * 3 + ["disturbed, made again"] * 2 + [
        "timed"
    ] * 3
    assert [at for at, *_ in points] == list(range(1, 9))
    assert detail["every"] == 1


def test_long_series_are_thinned_evenly_and_it_is_said() -> None:
    detail = _detail(_result(blocks=20, turns=9))
    points, every = detail["points"], detail["every"]
    assert isinstance(points, list)
    assert every == 2  # 548 runs
    assert [at for at, *_ in points] == list(range(1, 549, 2))
    assert len(points) <= cases.MOST_POINTS


def test_a_histogram_of_blocks_counts_every_run_of_theirs() -> None:
    bins = _detail(_result(blocks=20, turns=9))["bins"]
    assert isinstance(bins, list)
    assert sum(count for *_, count in bins) == 20 * 9 * 3


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60))
def test_bins_hold_every_value_once(values: list[float]) -> None:
    bins = cases._bins(values)
    assert sum(count for *_, count in bins) == len(values)
    assert bins[0][0] <= min(values) * (1 + 1e-5)
    assert bins[-1][1] >= max(values) * (1 - 1e-5)


def test_the_command_measures_that_case_again() -> None:
    result = _result()
    said = cases.command(
        result, _session("run my/suite --images photos --force --encoder x --timeout 99", "standard")
    )
    options = parser().parse_args(shlex.split(said)[1:])
    assert options.suite.as_posix() == "my/suite"
    assert (options.network, options.recipe) == (["resnet18/unet"], ["torch_eager/fp32"])
    assert (options.size, options.threads, options.preset) == (["512x512"], 2, "standard")
    assert (options.images.as_posix(), options.force, options.timeout) == ("photos", True, 99)
    again = cases.command(result, _session("run --preset standard --images=photos my/suite", "standard"))
    options = parser().parse_args(shlex.split(again)[1:])
    assert (options.suite.as_posix(), options.images.as_posix()) == ("my/suite", "photos")
    assert "benchmarks/unet_decoder" in cases.command(result, _session("tune resnet18", "tune"))
    grey = replace(result, case=replace(result.case, network=Network("resnet18", in_channels=1)))
    options = parser().parse_args(shlex.split(cases.command(grey, _session("run my/suite", "quick")))[1:])
    assert options.channels == 1
    own = replace(result, case=replace(result.case, network=Network("resnet18", weights="a.safetensors")))
    said = cases.command(own, _session("tune resnet18 --weights a.safetensors", "tune"))
    assert said.endswith('  # in a suite.toml with weights = "a.safetensors"')
    assert "#" not in cases.command(own, _session("run my/suite", "quick")), "that suite has them"


def test_cases_lie_deflated_in_the_order_of_the_rows() -> None:
    each = source("faster")
    (part,) = cases.deflated([each])
    found = json.loads(zlib.decompress(base64.b64decode(part)))
    assert [detail["certificate"][0][1].split(",")[0] for detail in found] == [
        f"{row.encoder}/{row.decoder} {row.recipe}" for row in each.report.rows
    ]
    assert dict(found[0]["environment"])["CPU"] == "A CPU"
