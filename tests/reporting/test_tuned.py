"""What a search says: one winner a class, and who could not be told apart from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.samples import case, machine, measurement
from unetbench.records import Failure, Result, Session
from unetbench.reporting import tuned
from unetbench.reporting.report import Report
from unetbench.reporting.rows import rows
from unetbench.reporting.standing import Standing, Standings
from unetbench.verdicts import Pair, Steady


def _result(recipe: str, ms: float, measured_class: str = "exact") -> Result:
    found: Any = measurement(ms)
    found = replace(found, parity=replace(found.parity, measured_class=measured_class, agreement=0.985))
    here = case("resnet18", recipe)
    return Result(case=here, key=here.key(), session=1, measurements=(found,))


def _standing(ms: float, best: int | None, worst: int | None) -> Standing:
    steady = Steady(
        median_ms=ms,
        low_ms=ms * 0.99,
        high_ms=ms * 1.01,
        blocks=8,
        quiet_share=1.0,
        dropped_turns=0,
        unsteady=False,
    )
    return Standing(steady=steady, best_rank=best, worst_rank=worst)


def test_each_class_has_its_own_winner_and_ties_are_said() -> None:
    found = {
        "torch_eager/fp32": (_result("torch_eager/fp32", 300), _standing(300, 5, 5)),
        "openvino/fp32": (_result("openvino/fp32", 100), _standing(100, 2, 3)),
        "onnxruntime/fp32": (_result("onnxruntime/fp32", 101), _standing(101, 2, 3)),
        "ncnn/fp32": (_result("ncnn/fp32", 150), _standing(150, 4, 4)),
        "openvino/int8": (_result("openvino/int8", 40, "approximate"), _standing(40, 1, 1)),
    }
    alone = _result(
        "mnn[winograd=1]/fp32", 20
    )  # fast alone, no blocks: no winner before those that have them
    lost_case = case("resnet18", "mnn/fp32")
    lost = Result(case=lost_case, key=lost_case.key(), session=1,
                  failure=Failure(stage="converting", kind="unsupported", message="no"))  # fmt: skip
    apart = Pair(verdict="faster", low=1.1, high=1.2)
    keys = {name: result.key for name, (result, _) in found.items()}
    said = Standings(
        cases={result.key: standing for result, standing in found.values()},
        pairs={
            (keys["openvino/fp32"], keys["onnxruntime/fp32"]): Pair(low=0.99, high=1.03),
            (keys["openvino/fp32"], keys["torch_eager/fp32"]): apart,
            (keys["openvino/fp32"], keys["ncnn/fp32"]): apart,
        },
    )
    results = [result for result, _ in found.values()] + [alone, lost]
    earlier = _result("ncnn[winograd=0]/fp32", 10)  # of another search in the session: no part of this one
    session = Session(
        identifier=1, started_utc="2026-11-24T10:00:00+00:00", machine=machine(), preset="tune", images="x", command="tune"
    )  # fmt: skip
    report = Report(session=session, rows=rows([*results, earlier], said), other_sessions=0, said=said)
    lines = list(tuned.lines(report, {result.key for result in results}))
    assert lines[0] == "resnet18/unet at 512x512"
    assert lines[1] == "  exact: openvino/fp32"
    assert lines[2].startswith("    100 ms (99–101), 3 × torch_eager/fp32; error")
    assert "98.50% of the pixels" in lines[2]
    assert lines[3] == "    not told apart from it: onnxruntime/fp32"
    assert lines[4] == "  near: none"
    assert lines[5] == "  approximate: openvino/int8"
    assert lines[-1] == "  tried 7 recipes: 5 in paired blocks, 1 unsupported (see above)"


def test_who_is_faster_than_more_of_other_classes_does_not_win_its_own() -> None:
    """A noisy case has fewer decided pairs, and so the better rank."""
    found = {
        "torch_eager/fp32": (_result("torch_eager/fp32", 300), _standing(300, 5, 5)),
        "openvino/fp32": (_result("openvino/fp32", 100), _standing(100, 4, 4)),
        "onnxruntime/fp32": (_result("onnxruntime/fp32", 104), _standing(104, 3, 5)),
    }
    said = Standings(cases={result.key: standing for result, standing in found.values()})
    results = [result for result, _ in found.values()]
    session = Session(
        identifier=1, started_utc="2026-11-24T10:00:00+00:00", machine=machine(), preset="tune", images="x", command="tune"
    )  # fmt: skip
    report = Report(session=session, rows=rows(results, said), other_sessions=0, said=said)
    lines = list(tuned.lines(report, {result.key for result in results}))
    assert lines[1] == "  exact: openvino/fp32"


@pytest.mark.parametrize(
    ("near_ms", "in_blocks", "told"),
    [
        (120.0, True, "  near: none that is faster than a more exact one"),
        (120.0, False, "  near: none that is faster than a more exact one"),  # it left before it had blocks
        (90.0, True, "  near: mnn/fp32"),
        (90.0, False, "  near: mnn/fp32"),  # faster alone, and nothing else is known
    ],
)
def test_of_a_class_that_a_more_exact_one_outdoes_no_winner_is_named(
    near_ms: float, in_blocks: bool, told: str
) -> None:
    exact, near = _result("openvino/fp32", 100), _result("mnn/fp32", near_ms, "near")
    standings = {exact.key: _standing(100, 1, 2)}
    if in_blocks:
        standings[near.key] = _standing(near_ms, 1, 2)
    said = Standings(cases=standings)
    session = Session(
        identifier=1, started_utc="2026-11-24T10:00:00+00:00", machine=machine(), preset="tune", images="x", command="tune"
    )  # fmt: skip
    report = Report(session=session, rows=rows([exact, near], said), other_sessions=0, said=said)
    lines = list(tuned.lines(report, {exact.key, near.key}))
    assert "  exact: openvino/fp32" in lines
    assert told in lines
