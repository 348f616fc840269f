"""Every derived figure once: what is compared with what, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.samples import MS, case, measurement
from unetbench.records import Case, Failure, Measurement, Network, Result
from unetbench.reporting.row import Row, apart, listed, named, rewrite_lines
from unetbench.reporting.rows import fastest_per_network, rows
from unetbench.reporting.standing import Standing, Standings
from unetbench.verdicts import Steady

CRASHED = Failure(stage="run", kind="crashed", message="killed by SIGSEGV")
NOT_RUN = Failure(stage="preflight", kind="not run", message="emulated")


def _result(of: Case, outcome: Measurement | Failure, session: int = 1) -> Result:
    if isinstance(outcome, Failure):
        return Result(case=of, key=of.key(), session=session, failure=outcome)
    return Result(case=of, key=of.key(), session=session, measurements=(outcome,))


def _speedups(*results: Result) -> dict[str, float | None]:
    return {row.recipe: row.speedup for row in rows(results)}


OUTCOMES = st.one_of(
    st.floats(0.01, 1e5).map(measurement), st.sampled_from([CRASHED, NOT_RUN]), st.just(measurement(7.0))
)
RESULTS = st.lists(
    st.builds(
        lambda encoder, recipe, batch, outcome: _result(case(encoder, recipe, batch=batch), outcome),
        st.sampled_from(["resnet18", "resnet34", "lcnet_100"]),
        st.sampled_from(["torch_eager/fp32", "torch_compile/bf16+reparameterize"]),
        st.sampled_from([1, 4]),
        OUTCOMES,
    ),
    max_size=8,
    unique_by=lambda result: result.case,
)


@settings(deadline=None)
@given(RESULTS)
def test_every_result_is_a_row_and_the_order_is_by_images_a_second_with_failures_last(
    results: list[Result],
) -> None:
    table = rows(results)
    assert sorted(row.case for row in table) == sorted(result.case.key() for result in results)
    measured = [row.images_per_s for row in table if row.status == "ok"]
    assert measured == sorted(measured, key=lambda speed: -(speed or 0.0))
    statuses = [row.status == "ok" for row in table]
    assert statuses == sorted(statuses, reverse=True)


@settings(deadline=None)
@given(RESULTS)
def test_the_fastest_of_each_network_and_input_is_one_that_was_measured(results: list[Result]) -> None:
    table = rows(results)
    best = fastest_per_network(table)
    of = {(row.encoder, row.batch): row for row in best}
    assert len(of) == len(best)
    assert set(of) == {(row.encoder, row.batch) for row in table if row.status == "ok"}
    for row in table:
        if row.status == "ok":
            assert (of[row.encoder, row.batch].images_per_s or 0) >= (row.images_per_s or 0)


def test_a_batch_that_takes_longer_may_be_faster_an_image() -> None:
    table = rows([_result(case(), measurement(100)), _result(case(batch=4), measurement(200))])
    assert [row.batch for row in table] == [4, 1]


@pytest.mark.parametrize("outcome", [CRASHED, NOT_RUN])
def test_without_a_measured_reference_there_is_no_speed_up(outcome: Failure) -> None:
    fast = _result(case(recipe="torch_compile/fp32"), measurement(50))
    assert _speedups(_result(case(), outcome), fast) == {"torch_compile/fp32": None, "torch_eager/fp32": None}
    assert _speedups(fast) == {"torch_compile/fp32": None}


@pytest.mark.parametrize(
    "other",
    [Network("resnet34"), Network("resnet18", classes=2), Network("resnet18", seed=1)],
)
def test_a_speed_up_is_of_the_same_network(other: Network) -> None:
    fast = replace(case(recipe="torch_compile/fp32"), network=other)
    assert (
        _speedups(_result(case(), measurement(100)), _result(fast, measurement(50)))["torch_compile/fp32"]
        is None
    )


def test_the_reference_is_a_recipe_not_whatever_came_first() -> None:
    found = _speedups(
        _result(case(recipe="torch_eager/fp32+reparameterize"), measurement(10)),
        _result(case(recipe="torch_compile/fp32"), measurement(50)),
        _result(case(), measurement(100)),
    )
    assert found == {
        "torch_eager/fp32+reparameterize": pytest.approx(10),
        "torch_compile/fp32": pytest.approx(2),
        "torch_eager/fp32": pytest.approx(1),
    }


def test_end_to_end_is_the_median_of_the_sums_not_the_sum_of_the_medians() -> None:
    uneven = measurement(
        run_ns=(10 * MS, 20 * MS, 30 * MS), bind_ns=(90 * MS, 1 * MS, 1 * MS), read_ns=(0, 0, 50 * MS)
    )
    (row,) = rows([_result(case(), uneven)])
    assert row.median_ms == pytest.approx(20)
    assert row.end_to_end_ms == pytest.approx(81), "of 100, 21 and 81"


def test_what_a_measurement_costs_before_it_runs() -> None:
    costs = measurement(build_s=1.0, rewrite_s=2.0, prepare_s=4.0, first_run_s=8.0, import_s=100.0)
    (row,) = rows([_result(case(), costs)])
    assert row.load_s == pytest.approx(15)
    assert row.first_run_s == pytest.approx(8)
    assert (row.peak_load_mb, row.peak_mb) == (pytest.approx(900), pytest.approx(800))


def test_a_failure_has_its_stage_and_message_and_no_figure() -> None:
    (row,) = rows([_result(case(), CRASHED)])
    assert (row.status, row.reason) == ("crashed", "run: killed by SIGSEGV")
    empty = Row(encoder="", decoder="", recipe="", size="", batch=1, classes=1, threads=1, status="crashed")
    for name in ("median_ms", "images_per_s", "speedup", "peak_mb", "parameters_m", "relative_error", "runs"):
        assert getattr(row, name) is getattr(empty, name) is None


def test_a_rewrite_that_found_nothing_to_do_leaves_no_proof() -> None:
    assert rows([_result(case(), measurement())])[0].rewrites == ""


def test_results_of_a_checkpoint_are_shown_after_the_file_has_gone(tmp_path: Path) -> None:
    of = replace(case(), network=Network("resnet18", weights=str(tmp_path / "gone.pt")))
    assert rows([replace(_result(case(), measurement()), case=of)])[0].status == "ok"


@pytest.mark.parametrize(("share", "status"), [(None, "ok"), (0.05, "ok"), (0.051, "not quiet")])
def test_a_row_that_others_disturbed_is_told_with_its_figures(share: float | None, status: str) -> None:
    (row,) = rows([_result(case(), measurement(100, waiting_share=share))])
    assert row.status == status
    assert row.median_ms == pytest.approx(100)


def test_a_disturbed_row_ranks_below_quiet_ones_and_wins_nothing() -> None:
    table = rows(
        [
            _result(case(recipe="torch_compile/fp32"), measurement(10, waiting_share=0.5)),
            _result(case(), measurement(100)),
        ]
    )
    assert [row.status for row in table] == ["ok", "not quiet"]
    assert [row.recipe for row in fastest_per_network(table)] == ["torch_eager/fp32"]


@pytest.mark.parametrize("disturbed", ["torch_eager/fp32", "torch_compile/fp32"])
def test_there_is_no_speed_up_of_or_against_a_disturbed_row(disturbed: str) -> None:
    table = [
        _result(case(recipe=recipe), measurement(100, waiting_share=0.5 if recipe == disturbed else None))
        for recipe in ("torch_eager/fp32", "torch_compile/fp32")
    ]
    assert _speedups(*table)["torch_compile/fp32"] is None


def _in_blocks(of: Case, ms: float) -> Standings:
    time = Steady(median_ms=ms, low_ms=ms * 0.98, high_ms=ms * 1.02, blocks=8, quiet_share=0.5, dropped_turns=0, unsteady=False)  # fmt: skip
    return Standings(cases={of.key(): Standing(steady=time)})


def test_blocks_give_a_time_to_what_others_disturbed_when_it_was_alone() -> None:
    fast = case(recipe="mnn/fp32")
    table = rows(
        [_result(case(), measurement(100)), _result(fast, measurement(90, waiting_share=0.5))],
        _in_blocks(fast, 40.0),
    )
    row = next(row for row in table if row.recipe == "mnn/fp32")
    assert (row.status, row.reason, row.winner) == ("ok", "", "exact")
    assert row.median_ms == pytest.approx(40)
    assert (row.alone_ms, row.speedup) == (None, None), "nothing compares it with the reference"
    assert next(row for row in table if row is not table[0]).speedup == 1.0


def test_where_one_side_has_blocks_the_speed_up_is_of_processes_alone() -> None:
    fast = case(recipe="mnn/fp32")
    results = [_result(case(), measurement(100)), _result(fast, measurement(50))]
    row = next(row for row in rows(results, _in_blocks(fast, 40.0)) if row.recipe == "mnn/fp32")
    assert row.median_ms == pytest.approx(40)
    assert row.speedup == pytest.approx(2.0)


def test_networks_of_other_weights_are_others() -> None:
    """Their recipes do not compete: the answer of one is not that of the other."""
    mine = replace(case().network, weights="elsewhere/mine.safetensors")
    results = [
        _result(case(), measurement(90.0)),
        _result(case("resnet18", "openvino/fp32"), measurement(40.0)),
    ]
    results += [
        Result(case=replace(each.case, network=mine), key=f"mine {each.key}", session=1,
               measurements=(measurement(50.0 + number),))
        for number, each in enumerate(results)
    ]  # fmt: skip
    best = fastest_per_network(rows(results))
    assert [(row.short_network, row.median_ms) for row in best] == [
        ("resnet18", 40.0), ("resnet18 (elsewhere/mine.safetensors)", 50.0),
    ]  # fmt: skip


def test_networks_of_other_channels_are_others_and_told_apart() -> None:
    grey = replace(case(), network=replace(case().network, in_channels=1))
    made = rows([_result(case(), measurement(90.0)), _result(grey, measurement(40.0))])
    assert [row.channels for row in made] == [1, 3]
    assert apart(made) == [", 1 channel", ", 3 channels"]
    assert len(fastest_per_network(made)) == 2


def test_what_rewrites_did_is_told_once_and_many_lines_are_told_of() -> None:
    made = rows([_result(case(), measurement()), _result(case("resnet34"), measurement())])
    told = [structs.replace(row, rewrites="a: modules 2 → 1; b: parameters 9 → 8") for row in (*made, *made)]
    lines = rewrite_lines(told)
    assert len(lines) == 4
    assert rewrite_lines(told, most=4) == lines
    (line,) = rewrite_lines(told, most=3)
    assert "takes 4 lines" in line


def test_a_preparation_is_repaid_by_times_of_one_kind() -> None:
    """The reference has blocks and the other has none: both are taken as they were alone."""
    reference, other = case(), case("resnet18", "openvino/fp32")
    outcomes = measurement(90.0, prepare_s=0.0), measurement(95.0, prepare_s=10.0)
    results = [_result(of, outcome) for of, outcome in zip((reference, other), outcomes, strict=True)]
    (slower,) = (row for row in rows(results, _in_blocks(reference, 100.0)) if row.recipe == "openvino/fp32")
    assert slower.speedup == pytest.approx(90 / 95)
    assert slower.pays_after_images is None
    results[1] = _result(other, measurement(80.0, prepare_s=10.0))
    (faster,) = (row for row in rows(results, _in_blocks(reference, 70.0)) if row.recipe == "openvino/fp32")
    assert faster.pays_after_images == pytest.approx(10.0 / 0.010)


def _of_class(recipe: str, ms: float, measured_class: str) -> Result:
    found = replace(measurement(ms).parity, measured_class=measured_class)
    return _result(case("resnet18", recipe), measurement(ms, parity=found))


def test_a_winner_is_the_fastest_among_answers_at_least_as_exact() -> None:
    table = rows([
        _of_class("torch_eager/fp32", 100, "exact"), _of_class("openvino/fp32", 60, "exact"),
        _of_class("mnn/fp32", 50, "near"), _of_class("ncnn/fp32", 70, "near"),
        _of_class("openvino/int8", 30, "approximate"), _of_class("torch_compile/bf16", 40, "approximate"),
        _result(case("resnet34"), measurement(10)), _result(case("resnet18", "onnxruntime/fp32"), CRASHED),
    ])  # fmt: skip
    assert {(row.encoder, row.recipe): row.winner for row in table if row.winner} == {
        ("resnet18", "openvino/int8"): "approximate",
        ("resnet18", "mnn/fp32"): "near",
        ("resnet18", "openvino/fp32"): "exact",
        ("resnet34", "torch_eager/fp32"): "exact",
    }


def test_a_less_exact_answer_that_is_slower_wins_nothing() -> None:
    table = rows([_of_class("openvino/fp32", 60, "exact"), _of_class("openvino/int8", 61, "approximate")])
    assert [row.winner for row in table] == ["exact", ""]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("resnet18/unet[upsampling=nearest]", ("resnet18", "unet[upsampling=nearest]", "resnet18")),
        ("resnet18.a1_in1k/unet", ("resnet18.a1_in1k", "unet", "resnet18")),
        ("smp.unet[tu-resnet18.a1_in1k]", ("tu-resnet18.a1_in1k", "smp.unet", "tu-resnet18")),
        ("torchvision.fcn_resnet50", ("torchvision.fcn_resnet50", "", "torchvision.fcn_resnet50")),
    ],
)
def test_a_network_is_shown_as_encoder_and_decoder_where_it_has_them(
    text: str, shown: tuple[str, str, str]
) -> None:
    network = Network.parse(text)
    (row,) = rows([_result(replace(case(), network=network), measurement())])
    assert (row.encoder, row.decoder, row.bare_encoder) == shown
    assert row.network == (f"{shown[0]}/{shown[1]}" if shown[1] else text)


def test_the_decoder_is_what_is_not_the_encoder() -> None:
    (row,) = rows([_result(case(), measurement(parameters=4_000_000, encoder_parameters=1_000_000))])
    assert (row.decoder_parameters_m, row.decoder_share) == (3.0, 0.75)


def test_a_time_of_a_process_alone_wins_nothing_beside_times_of_blocks() -> None:
    slow, fast = (case(recipe=f"{name}/fp32") for name in ("openvino", "mnn"))
    results = [
        Result(case=of, key=of.key(), session=1, measurements=(measurement(ms),))
        for of, ms in ((slow, 100.0), (fast, 80.0))
    ]
    assert {row.recipe: row.winner for row in rows(results)} == {"openvino/fp32": "", "mnn/fp32": "exact"}
    table = rows(results, _in_blocks(slow, 90.0))
    assert {row.recipe: row.winner for row in table} == {"openvino/fp32": "exact", "mnn/fp32": ""}
    assert [row.recipe for row in fastest_per_network(table)] == ["openvino/fp32"]


def test_no_class_has_a_winner_slower_than_one_more_exact() -> None:
    """Though the two were never compared: one has blocks too few, and by itself the other was faster."""
    results = [
        _of_class("torch_eager/fp32", 100, "exact"), _of_class("openvino/fp32", 25, "exact"),
        _of_class("mnn/fp32", 24, "near"),
    ]  # fmt: skip
    times = {"torch_eager/fp32": (100.0, 98.0), "openvino/fp32": (20.0, None), "mnn/fp32": (22.0, 21.0)}
    said = Standings(
        cases={
            result.key: Standing(
                steady=Steady(
                    median_ms=ms, low_ms=low, high_ms=low and ms + 1, blocks=8, quiet_share=0.5, dropped_turns=0, unsteady=False
                )
            )
            for result in results
            for ms, low in [times[str(result.case.recipe)]]
        }
    )  # fmt: skip
    assert {row.recipe: row.winner for row in rows(results, said) if row.winner} == {"openvino/fp32": "exact"}


@pytest.mark.parametrize(("in_blocks_ms", "winner"), [(20.0, "mnn/fp32"), (120.0, "torch_eager/fp32")])
def test_blocks_too_few_for_an_interval_win_where_they_and_the_process_alone_agree(
    in_blocks_ms: float, winner: str
) -> None:
    """A form five times as fast is no loser because its blocks were not quiet enough for an interval."""
    slow, fast = case(), case(recipe="mnn/fp32")
    said = _in_blocks(slow, 100.0)
    few = Steady(
        median_ms=in_blocks_ms,
        low_ms=None,
        high_ms=None,
        blocks=5,
        quiet_share=0.1,
        dropped_turns=0,
        unsteady=False,
    )
    said = Standings(cases={**said.cases, fast.key(): Standing(steady=few)})
    table = rows([_result(slow, measurement(100)), _result(fast, measurement(20))], said)
    assert [row.recipe for row in table if row.winner] == [winner]
    assert [row.recipe for row in fastest_per_network(table)] == [winner]


def test_rows_are_named_by_network_and_a_network_whole_once() -> None:
    recipes = ("torch_eager/fp32", "openvino/fp32")
    table = [
        structs.replace(
            row, case=f"{row.recipe} {decoder}", decoder=decoder, rewrites=f"fold_head: {decoder}"
        )
        for row in rows([_result(case("resnet18", recipe), measurement(9.0)) for recipe in recipes])
        for decoder in ("unet", "fpn")
    ]
    assert set(named(table)) == {"resnet18/unet", "resnet18/fpn"}
    assert named(table[:1]) == ["resnet18"], "where nothing else is there to be told from"
    some = [row for row in table if row.decoder == "fpn" or row.recipe == recipes[0]]
    assert set(listed(some, among=table).split("; ")) == {
        f"resnet18/unet {recipes[0]}",
        "resnet18/fpn under all recipes",
    }
    assert set(rewrite_lines(table)) == {"resnet18/unet fold_head: unet.", "resnet18/fpn fold_head: fpn."}
