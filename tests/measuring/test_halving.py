"""Successive halving: the slower half of each class leaves, the reference never does."""

from __future__ import annotations

from dataclasses import replace

from tests.samples import case, measurement
from unetbench.measuring import halving
from unetbench.records import Case, Failure, Result, RewriteReport, Turn


def _result(recipe: str, ms: float, measured_class: str = "exact") -> Result:
    found = measurement(ms)
    found = replace(found, parity=replace(found.parity, measured_class=measured_class))  # type: ignore[arg-type]
    return Result(case=case("resnet18", recipe), session=1, measurements=(found,))


REFERENCE = _result("torch_eager/fp32", 300)
EXACT = [_result(f"{name}/fp32", ms) for name, ms in
         (("openvino", 100), ("onnxruntime", 105), ("ncnn", 140), ("torch_compile", 150), ("mnn", 200), ("mnn[winograd=0]", 210))]  # fmt: skip
APPROXIMATE = [_result("openvino/int8", 40, "approximate"), _result("onnxruntime/int8", 70, "approximate")]
LOST = Result(case=case("resnet18", "openvino/bf16"), session=1,
              failure=Failure(stage="load", kind="unsupported", message="no"))  # fmt: skip


def _names(cases: tuple[Case, ...]) -> list[str]:
    return [str(each.recipe.runtime) + "/" + each.recipe.precision for each in cases]


def test_alone_the_faster_half_of_each_class_goes_on_with_the_reference() -> None:
    found = halving.contenders([REFERENCE, *EXACT, *APPROXIMATE, LOST])
    assert _names(found) == [
        "torch_eager/fp32", "openvino/fp32", "onnxruntime/fp32", "ncnn/fp32", "openvino/int8", "onnxruntime/int8",
    ]  # fmt: skip


def test_a_less_exact_form_that_a_more_exact_one_outdoes_is_nobodys_choice() -> None:
    outdone = [_result("openvino/int8", 126, "approximate"), _result("mnn/fp32", 140, "near")]
    near = _result("ncnn/fp32", 124, "near")  # one process alone may be wrong by so much
    everyone = [REFERENCE, *EXACT[:2], *outdone, near]
    assert _names(halving.contenders(everyone)) == [
        "torch_eager/fp32", "openvino/fp32", "onnxruntime/fp32", "ncnn/fp32",
    ]  # fmt: skip
    results = {each.case: each for each in everyone}
    left = halving.leaving(_turned(everyone, 1), results)
    assert _names(left) == ["openvino/int8", "mnn/fp32", "ncnn/fp32"], "paired blocks are surer"


def test_a_time_that_others_disturbed_drops_nobody() -> None:
    slow = _result("mnn[winograd=1]/fp32", 900)
    busy = replace(slow, measurements=(replace(slow.alone[-1], waiting_share=0.5),))
    found = halving.contenders([REFERENCE, *EXACT, busy])
    assert busy.case in found
    assert len(found) == 1 + 3 + 1, "nor does it count among those of which half stay"


def test_networks_are_not_compared_with_each_other() -> None:
    other = [
        replace(each, case=replace(each.case, network=replace(each.case.network, encoder="resnet34")))
        for each in (REFERENCE, EXACT[-1], EXACT[-2])
    ]
    assert len(halving.contenders([REFERENCE, *EXACT, *other])) == 4 + 3


def test_those_as_fast_as_the_fastest_are_not_cut_by_a_count() -> None:
    close = [_result(f"mnn[winograd={n}]/fp32", 100 + n) for n in range(4)] + [_result("ncnn/fp32", 100)] * 1
    assert len(halving.contenders(close)) == 5


def _turned(results: list[Result], blocks: int) -> dict[Case, dict[int, tuple[Turn, ...]]]:
    return {
        each.case: {
            number: (Turn(order=0, before_ns=(1, 1), after_ns=(1, 1), run_ns=each.alone[-1].run_ns),)
            for number in range(1, blocks + 1)
        }
        for each in results
        if each.alone
    }


def test_at_a_rung_the_slower_half_of_each_class_leaves_the_reference_never() -> None:
    everyone = [REFERENCE, *EXACT, *APPROXIMATE]
    left = halving.leaving(_turned(everyone, 1), {each.case: each for each in everyone})
    assert _names(left) == ["torch_compile/fp32", "mnn/fp32", "mnn[winograd=0]/fp32"]


def test_who_failed_or_has_no_block_is_not_compared() -> None:
    everyone = [REFERENCE, *EXACT]
    turned = _turned(everyone, 1)
    turned[EXACT[0].case] = {}
    results = {each.case: each for each in everyone}
    results[EXACT[1].case] = replace(EXACT[1], failure=LOST.failure)
    assert _names(halving.leaving(turned, results)) == ["mnn/fp32", "mnn[winograd=0]/fp32"]


def test_of_two_recipes_that_came_to_the_same_network_one_goes_on() -> None:
    def done(recipe: str, ms: float, fired: tuple[int, ...]) -> Result:
        found = _result(recipe, ms)
        reports = tuple(
            RewriteReport(
                rewrite=rewrite.name, offered=count, remaining=0, modules_before=1, modules_after=1,
                parameters_before=1, parameters_after=1,
            )
            for rewrite, count in zip(found.case.recipe.rewrites, fired, strict=True)
        )  # fmt: skip
        return replace(found, measurements=(replace(found.alone[-1], rewrites=reports),))

    same = [
        done("openvino/fp32+reparameterize+fold_head", 99, (0, 1)),
        done("openvino/fp32+fold_head", 100, (1,)),
        done("openvino/fp32+reparameterize+fold_head+fold_upconv", 101, (0, 1, 0)),
        done("onnxruntime/fp32+reparameterize+fold_head", 102, (0, 1)),
        done("openvino/fp32+reparameterize+fold_head+fold_batchnorm", 103, (0, 1, 2)),
    ]
    assert [str(each.recipe) for each in halving.contenders([REFERENCE, *same])] == [
        "torch_eager/fp32", "openvino/fp32+fold_head", "onnxruntime/fp32+reparameterize+fold_head",
        "openvino/fp32+reparameterize+fold_head+fold_batchnorm",
    ]  # fmt: skip
