"""Recipes against networks: medians, marks, gains within a network only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.samples import case, measurement
from unetbench.records import Failure, Network, Result
from unetbench.reporting import ablation
from unetbench.reporting.charts import write_png
from unetbench.reporting.row import Row
from unetbench.reporting.rows import rows
from unetbench.reporting.standing import Standings
from unetbench.verdicts import Pair


def _result(encoder: str, recipe: str, ms: float | None, measured_class: str = "exact") -> Result:
    if ms is None:
        failure = Failure(stage="converting", kind="unsupported", message="operator aten.x")
        return Result(key=f"{encoder} {recipe}", case=case(encoder, recipe), session=1, failure=failure)
    found: Any = measurement(ms)
    found = replace(found, parity=replace(found.parity, measured_class=measured_class))
    return Result(key=f"{encoder} {recipe}", case=case(encoder, recipe), session=1, measurements=(found,))


def _rows() -> tuple[Row, ...]:
    return rows([
        _result("resnet18", "torch_eager/fp32", 400), _result("resnet34", "torch_eager/fp32", 800),
        _result("resnet18", "onnxruntime/fp32+reparameterize", 200),
        _result("resnet34", "onnxruntime/fp32+reparameterize", 200),
        _result("resnet18", "openvino/fp32+reparameterize+fold_head", 100),
        _result("resnet34", "openvino/fp32+reparameterize+fold_head", None),
        _result("resnet18", "mnn/fp32+fold_head", 80, "near"),
        _result("resnet34", "mnn/fp32+fold_head", 160, "near"),
        _result("resnet18", "openvino/int8", 40, "approximate"),
        _result("resnet34", "openvino/int8", 50, "approximate"),
    ])  # fmt: skip


def test_the_table_by_hand() -> None:
    text = ablation.table(_rows())
    lines = text.splitlines()
    assert lines[0] == "| recipe | resnet18 | resnet34 | × eager |"
    assert lines[2] == "| torch_eager/fp32 | 400 | 800 | 1.00 |"
    assert "| onnxruntime/fp32+reparameterize | 200 | 200 | 2.83 |" in lines
    assert "| mnn/fp32+fold_head | **80.0 ≈** | **160 ≈** | 5.00 |" in lines
    assert "| openvino/fp32+reparameterize+fold_head | 100 | unsupported | 4.00 (1 of 2) |" in lines
    assert lines[6] == "| openvino/int8 | 40.0 ~ | 50.0 ~ | 12.65 |", "the fastest last, never in bold"


def test_gains_are_within_a_class_and_against_what_users_run_today() -> None:
    text = ablation.table(_rows())
    resnet18 = "| resnet18 | mnn/fp32+fold_head ≈ | 5.00 | 2.50 | openvino/fp32+reparameterize+fold_head | 4.00 | 2.00 | openvino/int8 ~ (100.00%) | 10.00 | 5.00 |"
    resnet34 = "| resnet34 | mnn/fp32+fold_head ≈ | 5.00 | 1.25 | onnxruntime/fp32+reparameterize | 4.00 | 1.00 | openvino/int8 ~ (100.00%) | 16.00 | 4.00 |"
    assert resnet18 in text
    assert resnet34 in text
    assert "| geometric mean |  | **5.00** | **1.77** |" in text
    assert "over the fastest of onnxruntime in fp32" in text
    assert "; of torch_compile and openvino there is no time here." in text


def test_a_time_of_blocks_is_not_compared_with_one_of_a_process_alone() -> None:
    """Blocks are brought to the quiet level, a process alone is not: only like with like."""
    made = [
        structs.replace(row, median_ms=row.median_ms / 2, blocks=8, speedup=None)
        if row.recipe.startswith("mnn") and row.encoder == "resnet18" else row
        for row in _rows()
    ]  # fmt: skip
    text = ablation.table(made)
    assert "| resnet18 | mnn/fp32+fold_head ≈ | 5.00 | 2.50 |" in text, "of 400, 200 and 80 ms, all alone"


def test_what_paired_blocks_say_stands_in_the_place_of_medians() -> None:
    table = _rows()
    keys = {(row.encoder, row.recipe): row.case for row in table}
    eager, mnn = (keys["resnet18", recipe] for recipe in ("torch_eager/fp32", "mnn/fp32+fold_head"))
    pair = Pair(ratio=0.25, low=0.2, high=0.3125, ungated=None, blocks=8, verdict="slower")
    text = ablation.table(table, Standings(cases={}, pairs={(eager, mnn): pair}))
    assert "| resnet18 | mnn/fp32+fold_head ≈ | 4.00 (3.20–5.00) | 2.50 |" in text
    assert "| resnet34 | mnn/fp32+fold_head ≈ | 5.00 | 1.25 |" in text, "no blocks pair these"
    assert "In brackets: intervals over paired blocks" in text
    assert "In brackets" not in ablation.table(table)
    early = replace(pair, low=None, high=None)
    text = ablation.table(table, Standings(cases={}, pairs={(eager, mnn): early}))
    assert "| resnet18 | mnn/fp32+fold_head ≈ | 4.00 | 2.50 |" in text, (
        "as the row's own speed-up, without an interval"
    )


def test_what_users_run_today_is_named_with_the_networks_that_it_ran_on() -> None:
    result = _result("resnet18", "torch_compile[freezing=1]/fp32+reparameterize", 150)
    compiled = rows([result, _result("resnet18", "torch_eager/fp32", 400)])
    text = ablation.table([*_rows(), *(row for row in compiled if "compile" in row.recipe)])
    assert "over the fastest of torch_compile (on 1 of 2), onnxruntime in fp32" in text
    assert "; of openvino there is no time here." in text


def test_smps_unet_on_the_same_encoder_is_an_opponent() -> None:
    def result(text: str, recipe: str, ms: float) -> Result:
        asked = replace(case(recipe=recipe), network=Network.parse(text))
        return Result(key=f"{text} {recipe}", case=asked, session=1, measurements=(measurement(ms),))

    table = rows([
        result("smp.unet[tu-resnet18.a1_in1k]", "torch_eager/fp32", 300),
        result("smp.unet[tu-resnet18.a1_in1k]", "openvino/fp32+reparameterize", 150),
        result("smp.unet[tu-resnet18.a1_in1k]", "openvino/int8", 10),
        result("resnet18.a1_in1k/unet", "mnn/fp32+fold_head", 60),
        result("resnet34/unet", "mnn/fp32+fold_head", 80),
    ])  # fmt: skip
    text = ablation.table(table)
    assert "| resnet18 | mnn/fp32+fold_head | 60.0 | openvino/fp32+reparameterize | 150 | 2.50 |" in text
    assert "| geometric mean | | | | | **2.50** |" in text
    assert "| resnet34 |  |" not in text, "without a reference nothing is compared"
    assert "smp.unet, fastest usual" not in ablation.table(_rows())


def test_it_is_shown_where_there_is_something_to_compare() -> None:
    assert ablation.is_ablation(_rows())
    assert not ablation.is_ablation([row for row in _rows() if row.encoder == "resnet18"])
    assert not ablation.is_ablation([row for row in _rows() if "int8" in row.recipe])
    alone = [structs.replace(row, speedup=None) for row in _rows() if "eager" not in row.recipe]
    assert not ablation.is_ablation(alone), "nothing that all could be compared with"


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    chart = ablation.heatmap(_rows(), title="T", subtitle="S")
    assert len(chart.to_dict()["layer"]) == 3
    write_png(chart, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 5_000


def test_a_cell_without_a_time_says_why_and_no_network_or_recipe_is_shown_for_that_alone() -> None:
    pytest.importorskip("altair")
    nowhere = [
        _result("resnet50", "mnn/fp32+fold_head", None), _result("resnet18", "ncnn/fp32", None)
    ]  # fmt: skip
    chart = ablation.heatmap([*_rows(), *rows(nowhere)], title="T", subtitle="S").to_dict()
    reasons = chart["datasets"][chart["layer"][2]["data"]["name"]]
    said = [(each["recipe"], each["network"], each["text"]) for each in reasons]
    assert said == [("openvino/fp32+reparameterize+fold_head", "resnet34", "unsupported")]


@pytest.mark.parametrize(("networks", "across"), [(12, "network:N"), (13, "recipe:N")])
def test_many_networks_are_drawn_below_each_other(networks: int, across: str) -> None:
    pytest.importorskip("altair")
    recipes = {"torch_eager/fp32": 400, "onnxruntime/fp32": 200}
    table = rows(_result(f"net{n}", recipe, ms) for n in range(networks) for recipe, ms in recipes.items())
    chart = ablation.heatmap(table, title="T", subtitle="S").to_dict()
    assert chart["layer"][0]["encoding"]["x"]["field"] == across.partition(":")[0]
    assert max(chart["width"], chart["height"]) == (networks * 70 if networks == 12 else networks * 26)


def test_with_more_networks_than_recipes_the_table_is_turned() -> None:
    names = ("resnet18", "resnet34", "resnet50", "lcnet_100")
    recipes = {"torch_eager/fp32": 400, "onnxruntime/fp32": 200, "openvino/fp32": 100}
    table = rows(_result(name, recipe, ms) for name in names for recipe, ms in recipes.items())
    lines = ablation.table(table).splitlines()
    assert lines[0] == "| network | torch_eager/fp32 | onnxruntime/fp32 | openvino/fp32 |"
    assert lines[2] == "| lcnet_100 | 400 | 200 | **100** |"
    assert lines[6] == "| × eager | 1.00 | 2.00 | 4.00 |"


@pytest.mark.parametrize(
    ("encoder", "decoder", "short"),
    [
        ("resnet18.a1_in1k", "unet", "resnet18"),
        ("resnet18", "semantic_fpn", "resnet18/semantic_fpn"),
        ("tu-resnet18.a1", "smp.unet", "tu-resnet18/smp.unet"),
        ("torchvision.fcn_resnet50", "", "torchvision.fcn_resnet50"),
        ("nnunet[plans=/a/b.json]", "", "nnunet[plans=/a/b.json]"),
    ],
)
def test_a_network_has_a_short_name(encoder: str, decoder: str, short: str) -> None:
    row = structs.replace(_rows()[0], encoder=encoder, decoder=decoder)
    assert row.short_network == short
