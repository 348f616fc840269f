"""The choice: quality in bands, then speed; what each constraint costs; why nothing is left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetbench import advisor
from unetbench.advisor import Candidate, Latency, advice, constraints, ranking, told_apart
from unetbench.quality import Quality
from unetbench.reporting.row import Row
from unetbench.reporting.standing import NONE, Standing, Standings
from unetbench.verdicts import Pair, Steady

STEADY = Steady(
    median_ms=1.0, low_ms=0.9, high_ms=1.1, blocks=8, quiet_share=1.0, dropped_turns=0, unsteady=False
)


def candidate(name: str, ms: float, quality: float | None = 70.0, **changes: Any) -> Candidate:
    """A case of that name; `said`, `high_ms` and any field of its row can be changed."""
    said, high_ms = changes.pop("said", NONE), changes.pop("high_ms", None)
    facts: dict[str, Any] = {
        "encoder": name, "decoder": "unet", "recipe": "openvino/fp32", "size": "512x512", "batch": 1, "classes": 1,
        "threads": 2, "status": "ok", "median_ms": ms, "peak_mb": 200.0, "peak_load_mb": 250.0, "artifact_mb": 10.0,
        "parameters_m": 4.0, "measured_class": "exact", "relative_error": 1e-6, "agreement": 1.0, "case": name,
    }  # fmt: skip
    return Candidate(
        row=Row(**facts | changes),
        latency=Latency(value_ms=ms, high_ms=high_ms),
        quality=None if quality is None else Quality(value=quality, told=f"{quality}"),
        said=said,
        session="a session 1",
    )


def _names(found: Any) -> list[str]:
    return [each.row.encoder for each in found]


def test_quality_comes_first_and_speed_among_those_as_good() -> None:
    found = [
        candidate("fast", 10, 68.0),
        candidate("good", 50, 75.0),
        candidate("as good", 30, 74.6),
        candidate("less", 20, 74.4),
        candidate("unknown", 5, None),
    ]
    assert _names(ranking(found, same=0.5)) == ["as good", "good", "less", "fast", "unknown"]
    assert _names(ranking(found, same=0.0)) == ["good", "as good", "less", "fast", "unknown"]


def test_an_exact_answer_goes_before_an_approximate_one_of_the_same_network() -> None:
    found = [
        candidate("int8", 10, measured_class="approximate"),
        candidate("fp32", 30),
        candidate("near", 20, measured_class="near"),
    ]
    assert _names(ranking(found, same=0.5)) == ["near", "fp32", "int8"]


@given(st.lists(st.tuples(st.floats(1, 100), st.one_of(st.none(), st.floats(50, 90))), max_size=12))
def test_a_ranking_keeps_everyone_and_no_clearly_better_one_comes_later(
    pairs: list[tuple[float, float | None]],
) -> None:
    found = ranking([candidate(str(at), ms, quality) for at, (ms, quality) in enumerate(pairs)], same=0.5)
    assert len(found) == len(pairs)
    known = [each.quality.value for each in found if each.quality]
    for at, value in enumerate(known):
        assert all(value >= later - 0.5 for later in known[at + 1 :])


def test_a_constraint_says_what_it_cost() -> None:
    found = [candidate("big", 50, 80.0, artifact_mb=90.0), candidate("small", 40, 70.0)]
    told = advice(found, constraints(max_latency_ms=60, max_size_mb=20), same=0.5)
    assert _names(told.ranked) == ["small"]
    assert [(constraint.option, each.row.encoder) for constraint, each in told.costs] == [
        ("--max-latency", "small"),
        ("--max-size", "big"),
    ]


def test_memory_counts_while_it_loads_and_weights_where_no_file_is_loaded() -> None:
    loading = candidate("a", 10, peak_mb=100.0, peak_load_mb=400.0)
    assert loading.memory_mb == 400.0
    assert candidate("b", 10, artifact_mb=None, parameters_m=4.0).size_mb == 16.0
    assert candidate("c", 10, artifact_mb=4.1, parameters_m=4.0).size_mb == 4.1  # int8
    assert candidate("d", 10, artifact_mb=2.0, parameters_m=4.0).size_mb == 18.0  # compiled code without them


def test_a_constraint_that_fails_by_itself_is_named_with_the_best() -> None:
    found = [candidate("a", 50), candidate("b", 30, measured_class="near", relative_error=3e-4)]
    told = advice(found, constraints(max_latency_ms=20, max_size_mb=20), same=0.5)
    (short,) = told.shortfalls
    assert short.alone
    assert short.constraint.option == "--max-latency"
    assert short.best is not None
    assert short.best.row.encoder == "b"
    assert told.ranked == ()


def test_constraints_that_fail_together_each_say_how_near_they_come() -> None:
    found = [candidate("fast", 10, peak_load_mb=900.0), candidate("lean", 50, peak_load_mb=210.0)]
    told = advice(found, constraints(max_latency_ms=20, max_memory_mb=300), same=0.5)
    assert [(each.constraint.option, each.alone, _names([each.best])) for each in told.shortfalls] == [
        ("--max-latency", False, ["lean"]),
        ("--max-memory", False, ["fast"]),
    ]


def test_where_no_constraint_is_the_one_too_many_the_nearest_case_tells() -> None:
    wanted = constraints(max_latency_ms=30, max_memory_mb=300, exact_only=True)
    a, b, c = (
        candidate("a", 20, peak_load_mb=400.0, measured_class="approximate"),
        candidate("b", 50, peak_load_mb=400.0),
        candidate("c", 50, peak_load_mb=250.0, measured_class="approximate"),
    )
    told = advice([a, b, c], wanted, same=0.5)
    assert [(each.constraint.option, each.alone, _names([each.best])) for each in told.shortfalls] == [
        ("--max-memory", False, ["a"]),
        ("--exact-only", False, ["a"]),
    ]


def test_exactness_and_encoders_are_constraints_too() -> None:
    found = [candidate("resnet18", 10, measured_class="approximate"), candidate("mobileone_s0", 20)]
    assert _names(advice(found, constraints(exact_only=True), same=0.5).ranked) == ["mobileone_s0"]
    assert _names(advice(found, constraints(encoders=["resnet*"]), same=0.5).ranked) == ["resnet18"]
    told = advice(found, constraints(encoders=["vgg*"]), same=0.5)
    assert (told.shortfalls[0].alone, told.shortfalls[0].best) == (True, None)


def _said(verdict: str, *names: str) -> Standings:
    return Standings(
        cases={name: Standing(steady=STEADY, best_rank=1, worst_rank=2) for name in names},
        pairs={names: Pair(ratio=1.0, low=0.9, high=1.1, verdict=verdict)},  # type: ignore[arg-type, dict-item]
    )


@pytest.mark.parametrize(("verdict", "tied"), [("not decided", ["b"]), ("the same", ["b"]), ("faster", [])])
def test_those_not_told_apart_are_tied(verdict: str, tied: list[str]) -> None:
    said = _said(verdict, "a", "b")
    found = [candidate("a", 10, said=said), candidate("b", 11, said=said), candidate("c", 12, said=said)]
    told = advice(found, (), same=0.5)
    assert _names(told.tied) == tied
    assert told_apart(found[0], found[2]) is None  # it had no blocks


def test_cases_that_no_block_pairs_are_no_tie() -> None:
    """Each has its rank, among those that it was measured with."""
    of_a, of_b = _said("faster", "a", "x"), _said("faster", "b", "y")
    said = Standings(cases={**of_a.cases, **of_b.cases}, pairs={**of_a.pairs, **of_b.pairs})
    found = [candidate("a", 10, said=said), candidate("b", 40, said=said)]
    assert told_apart(*found) is None
    assert not advice(found, (), same=0.5).tied


def test_a_case_that_fails_the_fewest_is_not_the_best_for_each_constraint() -> None:
    found = [
        candidate("a", 50, peak_load_mb=200.0, artifact_mb=4.0),
        candidate("b", 20, peak_load_mb=200.0, artifact_mb=4.0),
        candidate("c", 9, peak_load_mb=210.0, artifact_mb=6.0),
    ]
    told = advice(found, constraints(10.0, 100.0, 5.0), same=0.5)
    assert [each.alone for each in told.shortfalls] == [True], "no case has so little memory"
    told = advice([*found, candidate("d", 90, peak_mb=50.0, peak_load_mb=90.0, artifact_mb=9.0)],
                  constraints(10.0, 100.0, 5.0), same=0.5)  # fmt: skip
    assert told.shortfalls
    assert all(each.fewest and not each.alone for each in told.shortfalls)


def test_a_time_is_sure_where_its_whole_interval_is_within_the_limit() -> None:
    assert advisor.doubt(candidate("a", 10, high_ms=11.0), 12.0) == ""
    assert "ends at 11 ms" in advisor.doubt(candidate("a", 10, high_ms=11.0), 10.5)
    unsure = Candidate(
        row=candidate("a", 10).row,
        latency=Latency(value_ms=10, doubt="few runs"),
        quality=None,
        said=NONE,
        session="",
    )
    assert advisor.doubt(unsure, 60.0) == "few runs"
