"""What a page's table is made of: families, machines, ties."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.samples import case as a_case
from tests.samples import machine, measurement
from unetbench.records import Network, Result, Session
from unetbench.reporting.page import Source
from unetbench.reporting.page.table import family, machine_names, runtime, sources_data
from unetbench.reporting.report import Report
from unetbench.reporting.rows import rows
from unetbench.reporting.standing import Standing, Standings
from unetbench.verdicts import Pair, Steady


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("resnet18", "resnet"),
        ("resnetv2_50.a1h_in1k", "resnetv2"),
        ("mobilenetv4_conv_small.e2400_r224_in1k", "mobilenetv4"),
        ("tf_efficientnet_b0", "efficientnet"),
        ("regnetx_004", "regnetx"),
        ("res2net50d", "res2net"),
        ("vgg16", "vgg"),
    ],
)
def test_a_family_is_the_first_word_without_its_size(encoder: str, expected: str) -> None:
    assert family(encoder) == expected


def test_machines_whose_times_may_be_compared_share_a_name() -> None:
    xeon = machine(cpu="Intel(R) Xeon(R) Processor @ 2.10GHz", instruction_sets=("avx2", "avx512f"))
    newer = machine(
        cpu="Intel(R) Xeon(R) Processor @ 2.10GHz", instruction_sets=("avx2", "avx512f", "amx_bf16")
    )
    other = machine(
        cpu="Intel(R) Xeon(R) Processor @ 2.10GHz", instruction_sets=("avx2", "avx512f"), logical_cpus=8
    )
    again = machine(cpu=xeon.cpu, instruction_sets=xeon.instruction_sets, kernel="6.9")
    names = machine_names([xeon, newer, other, again])
    assert names[0] == names[3] == "Intel Xeon, 2 cores, avx512f (1)"
    assert names[1] == "Intel Xeon, 2 cores, amx_bf16"
    assert names[2] == "Intel Xeon, 2 cores, avx512f (3)"


def test_a_recipe_of_two_runtimes_has_both() -> None:
    assert runtime("onnxruntime[spinning=0]>mnn/fp32+fold_head") == "onnxruntime>mnn"


def source(verdict: str) -> Source:
    results = tuple(
        Result(case=each, key=each.key(), session=1, measurements=(measurement(ms),))
        for each, ms in ((a_case(), 200.0), (a_case(recipe="mnn/fp32"), 100.0))
    )
    steady = Steady(
        median_ms=1.0, low_ms=0.9, high_ms=1.1, blocks=8, quiet_share=1.0, dropped_turns=0, unsteady=False
    )
    keys = [each.key for each in results]
    said = Standings(
        cases={key: Standing(steady=steady, best_rank=1, worst_rank=2) for key in keys},
        pairs={(keys[0], keys[1]): Pair(ratio=1.0, low=0.9, high=1.1, verdict=verdict)},  # type: ignore[arg-type]
        stated=1,
    )
    session = Session(identifier=1, started_utc="2026-11-23T10:00:00+00:00", machine=machine(), preset="standard", images="x", command="run suite")  # fmt: skip
    report = Report(session=session, rows=rows(results, said), other_sessions=0, said=said)
    return Source(label="a", report=report, results=results)


def test_ties_are_those_not_told_apart() -> None:
    assert sources_data([source("not decided")])["ties"] == {"0": [1], "1": [0]}
    assert sources_data([source("the same")])["ties"] == {"0": [1], "1": [0]}
    assert sources_data([source("slower")])["ties"] == {}


def test_networks_without_an_encoder_keep_their_names() -> None:
    names = ["torchvision.fcn_resnet50", "torchvision.deeplabv3_resnet50", "unet_2015"]
    results = tuple(
        Result(case=each, key=each.key(), session=1, measurements=(measurement(),))
        for each in (replace(a_case(), network=Network.parse(name)) for name in names)
    )
    given = source("faster")
    shown = Source(label="a", report=replace(given.report, rows=rows(results)), results=results)
    assert sorted(sources_data([shown])["columns"]["network"]) == sorted(names)


def test_columns_are_of_one_length_and_of_plain_values() -> None:
    data = sources_data([source("faster"), source("faster")])
    assert {len(values) for values in data["columns"].values()} == {4}
    assert data["columns"]["source"] == [0, 0, 1, 1]
    assert data["title"] == "2 sessions on 1 machine"
