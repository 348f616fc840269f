"""What blocks say in a report: ranks from verdicts, speed-ups with intervals, certificates, comparisons."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from benchmarks.selftest.simulated import Machine, Simulated, blocks

from tests.samples import case, machine, measurement, parity
from unetbench import quiet
from unetbench.errors import BadInput
from unetbench.records import Block, Case, Failure, Measurement, Recipe, Result, Session
from unetbench.reporting import certificate, comparison
from unetbench.reporting.report import certificate as all_of_one
from unetbench.reporting.report import report, write_files
from unetbench.reporting.rows import rows
from unetbench.reporting.standing import standings
from unetbench.store import reading, writing
from unetbench.verdicts import LOOKS, LOOKS_OF, Pair

EAGER, COMPILED, TWIN = (
    case(recipe=recipe)
    for recipe in ("torch_eager/fp32", "torch_compile/fp32", "torch_compile[freezing=1]/fp32")
)
RATIOS = {EAGER: 2.0, COMPILED: 1.0, TWIN: 1.0}


def _results(count: int = 20, seed: int = 1, ratios: dict[Case, float] | None = None) -> tuple[Result, ...]:
    ratios = ratios or RATIOS
    made = blocks(Random(seed), [Simulated(ratio=ratio) for ratio in ratios.values()], Machine(), count)
    return tuple(
        Result(
            case=of,
            key=of.key(),
            session=1,
            measurements=(
                measurement(100.0 * ratio),
                *(
                    measurement(100.0 * ratio, turns=tuple(turns), block=number)
                    for number, turns in each.items()
                ),
            ),
        )
        for (of, ratio), each in zip(ratios.items(), made, strict=True)
    )


def _side(results: tuple[Result, ...], **changes: object) -> comparison.Side:
    session = Session(
        identifier=1, started_utc="2026-01-01T00:00:00+00:00", machine=machine(**changes),
        preset="standard", images="x", command="run",
    )  # fmt: skip
    return comparison.Side(session=session, results=results)


def test_ranks_come_from_verdicts_and_ties_share_theirs() -> None:
    results = _results()
    table = rows(results, standings(results, LOOKS))
    assert {row.recipe: row.rank for row in table} == {
        "torch_compile/fp32": "1–2",
        "torch_compile[freezing=1]/fp32": "1–2",
        "torch_eager/fp32": "3",
    }


def test_what_fails_later_changes_nothing_that_was_said_of_others() -> None:
    """Its blocks still tell of the neighbours: a look that was shown stays as it was."""
    results = tuple(replace(each, measurements=tuple(map(_loud, each.measurements))) for each in _results())
    failed = (
        *results[:-1],
        replace(results[-1], failure=Failure(kind="crashed", stage="measuring", message="SIGSEGV")),
    )
    key = (results[0].key, results[1].key)
    whole = standings(results, LOOKS).pairs[key]
    assert whole.adjusted
    others = standings(failed, LOOKS).pairs
    assert set(others) == {key}
    assert (others[key].ratio, others[key].low) == (whole.ratio, whole.low)


def _loud(measured: Measurement) -> Measurement:
    """Hardly a turn as quiet as the others: canaries in memory that differ from turn to turn."""
    random = Random(measured.block)
    turns = []
    for turn in measured.turns:
        memory = math.exp(random.gauss(0.4, 0.3))
        before, after = ((cache, round(ns * memory)) for cache, ns in (turn.before_ns, turn.after_ns))
        turns.append(replace(turn, before_ns=before, after_ns=after))
    return replace(measured, turns=tuple(turns))


def test_a_speed_up_has_its_interval_its_verdict_and_the_ungated_ratio_beside() -> None:
    results = _results()
    row = next(row for row in rows(results, standings(results, LOOKS)) if row.case == COMPILED.key())
    assert row.verdict == "faster"
    assert row.speedup_low is not None
    assert row.speedup_high is not None
    assert row.speedup_low < 2.0 < row.speedup_high
    assert row.speedup_ungated == pytest.approx(2.0, rel=0.1)
    assert row.interval_low_ms is not None
    assert row.interval_high_ms is not None
    assert row.interval_low_ms < 100.0 < row.interval_high_ms
    assert row.pays_after_images is not None


def test_before_the_first_look_there_is_no_rank_and_no_verdict() -> None:
    results = _results(5)
    table = rows(results, standings(results, LOOKS))
    assert {(row.rank, row.verdict, row.interval_low_ms) for row in table} == {("", "", None)}
    assert table[-1].speedup == pytest.approx(1.0)


def test_on_a_machine_that_was_never_quiet_nothing_is_decided() -> None:
    results = _results()
    said = standings(results, LOOKS, above={2: None})
    assert (said.stated, said.decided) == (3, 0)
    table = rows(results, said)
    assert {row.verdict for row in table} == {"", "not quiet"}
    intervals = {(row.interval_low_ms, row.speedup_low, row.detectable, row.rank) for row in table}
    assert intervals == {(None, None, None, "")}, "an interval is of the quiet machine"
    assert all(row.blocks and row.median_ms for row in table)


def test_a_preparation_is_repaid_after_so_many_images() -> None:
    base = Result(case=EAGER, key="a", session=1, measurements=(measurement(200.0, prepare_s=0.0),))
    fast = Result(case=COMPILED, key="b", session=1, measurements=(measurement(100.0, prepare_s=30.0),))
    by_recipe = {row.recipe: row.pays_after_images for row in rows((base, fast))}
    assert by_recipe["torch_compile/fp32"] == pytest.approx(300.0)
    assert by_recipe["torch_eager/fp32"] is None
    slow = Result(case=COMPILED, key="b", session=1, measurements=(measurement(300.0, prepare_s=30.0),))
    assert {row.pays_after_images for row in rows((base, slow))} == {None}


def test_two_recipes_are_compared_by_paired_blocks() -> None:
    (told,) = comparison.recipes(_side(_results()), EAGER.recipe, COMPILED.recipe)
    assert told.pair.verdict == "slower", "the first against the second"
    head, line = comparison.lines([told])
    assert "99 %" in head
    assert "the second is faster" in line
    with pytest.raises(BadInput, match="recipes with blocks here are"):
        list(comparison.recipes(_side(_results()), EAGER.recipe, Recipe.parse("onnxruntime/fp32")))


def test_two_sessions_of_one_machine_compare_times() -> None:
    slower = {of: ratio * 1.06 for of, ratio in RATIOS.items()}
    told = list(comparison.stores(_side(_results()), _side(_results(seed=2, ratios=slower))))
    assert len(told) == 3
    assert not any(each.relative for each in told)
    assert {each.pair.verdict for each in told} == {"faster"}
    assert len(comparison.slower_than(told, 0.03)) == 3
    assert not comparison.slower_than(told, 0.20)


def test_what_failed_in_the_second_is_worse_than_slower() -> None:
    results = _results()
    wrong = Failure(stage="checking", kind="wrong output", message="agreement 98.7 %")
    broken = tuple(replace(r, failure=wrong) if r.case == COMPILED else r for r in results)
    told = list(comparison.stores(_side(results), _side(broken)))
    assert [each.lost for each in told] == [False, False, True]
    line = list(comparison.lines(told))[-1]
    assert "no estimate: the second has none: wrong output while checking: agreement 98.7 %" in line
    (alone,) = comparison.recipes(_side(broken), EAGER.recipe, COMPILED.recipe)
    assert alone.lost
    skipped = replace(wrong, kind="not run")
    left_out = tuple(replace(r, failure=skipped) if r.case == COMPILED else r for r in results)
    *_, told_of_it = comparison.stores(_side(results), _side(left_out))
    assert (told_of_it.lost, "not run" in told_of_it.reason) == (False, True), "on purpose"


def test_what_the_first_alone_has_is_told() -> None:
    results = _results()
    first = _side(results)
    alone = replace(results[1], measurements=results[1].alone)
    second = _side((results[0], alone))
    told = {each.name.split()[-1]: each for each in comparison.stores(first, second)}
    assert not told["torch_eager/fp32"].reason.startswith("the second")
    assert told["torch_compile/fp32"].reason == (
        "the second has no paired blocks of it, as where a budget ended or a search left it behind"
    )
    assert told["torch_compile[freezing=1]/fp32"].reason == "it was not measured for the second"
    assert not comparison.worse(list(told.values()), 0.03), "no finding, as where nothing is decided"
    with pytest.raises(BadInput, match="no case with paired blocks in common"):
        list(comparison.stores(first, _side((alone,))))


def _drifting(result: Result) -> Result:
    """Its runs become faster until the end of each block."""
    measured = [
        replace(each, turns=tuple(
            replace(turn, run_ns=tuple(round(ns * (1.5 - 0.5 * place / len(each.turns))) for ns in turn.run_ns))
            for place, turn in enumerate(each.turns)
        ))
        for each in result.measurements
    ]  # fmt: skip
    return replace(result, measurements=tuple(measured))


def test_what_had_no_steady_time_before_is_not_passed_over() -> None:
    """It may have become slower: nobody who asks for that may be told that nothing did."""
    before = _side(tuple(_drifting(r) if r.case == COMPILED else r for r in _results()))
    assert COMPILED not in before.samples
    told = list(comparison.stores(before, _side(_results(seed=2, ratios=RATIOS | {COMPILED: 1.3}))))
    (of_it,) = (each for each in told if each.reason == "the first has no steady time of it")
    assert (of_it.name.split()[-1], of_it.lost) == (str(COMPILED.recipe), False)
    assert "of 3" in comparison.undecided(told, 0.03)[0]
    failed = Failure(stage="run", kind="crashed", message="killed")
    broken = tuple(replace(r, failure=failed) if r.case == COMPILED else r for r in _results(seed=2))
    assert [each.lost for each in comparison.stores(before, _side(broken))].count(True) == 1


def test_slower_by_less_than_the_margin_of_a_verdict_can_be_asked_for() -> None:
    pair = Pair(ratio=1.008, low=1.006, high=1.009)
    told = [comparison.Compared(name="a", pair=pair, relative=False)]
    assert len(comparison.slower_than(told, 0.005)) == 1
    loud = [replace(told[0], pair=replace(pair, state="load-dependent"))]
    assert not comparison.slower_than(loud, 0.005)


def test_every_pair_is_written_the_faster_first(store: Path, tmp_path: Path) -> None:
    with reading(store) as opened:
        made = report(opened)
    written = write_files(made, tmp_path / "out", chart=False)
    assert tmp_path / "out" / "pairs.csv" in written
    with (tmp_path / "out" / "pairs.csv").open(encoding="utf-8", newline="") as stream:
        told = list(csv.DictReader(stream))
    assert len(told) == 3
    assert [each["verdict"] for each in told].count("faster") == 2
    for each in told:
        assert float(each["low"]) <= float(each["ratio"]) <= float(each["high"])
        assert each["ungated_ratio"] and each["detectable"] and each["blocks"]
        pair = made.said.between(each["first_case"], each["second_case"])
        assert pair is not None
        assert each["verdict"] == pair.verdict


def test_what_could_not_be_told_apart_is_counted_for_whoever_asks_whether_it_is_slower() -> None:
    told = [comparison.Compared(name=name, pair=pair, relative=False) for name, pair in (
        ("surely not", Pair(ratio=0.99, low=0.95, high=1.02)), ("perhaps", Pair(ratio=1.0, low=0.9, high=1.1)),
        ("no blocks", Pair()), ("slower", Pair(ratio=1.1, low=1.05, high=1.2)),
        ("loud", Pair(ratio=0.99, low=0.95, high=1.02, state="not quiet")),
    )]  # fmt: skip
    assert comparison.undecided(told, 0.03) == ["not known whether slower by 3.0% or more: 3 of 5"]
    assert not comparison.undecided(told[:1], 0.03)


def test_the_class_is_that_of_the_process_that_compared_most_and_binding_is_that_of_the_blocks() -> None:
    first, *others = _results()
    many = parity(inputs=16, measured_class="near", relative_error=5e-4)
    *_, last = first.measurements
    changed = replace(last, parity=many, bind_ns=(5_000_000,) * 3, read_ns=(0,) * 3)
    only = replace(first, measurements=(*first.measurements[:-1], changed))
    assert (first.parity.measured_class, only.parity) == ("exact", many)
    everyone = (only, *others)
    row = next(row for row in rows(everyone, standings(everyone, LOOKS)) if row.case == only.key)
    assert (row.measured_class, row.relative_error) == ("near", 5e-4)
    assert row.end_to_end_ms == pytest.approx(row.median_ms + 3), (
        "nineteen blocks of twenty bind and read in 3 ms"
    )


def test_two_machines_compare_ratios_to_the_reference_only() -> None:
    slower = {of: ratio * 1.5 for of, ratio in RATIOS.items()}
    told = list(comparison.stores(_side(_results()), _side(_results(seed=2, ratios=slower), cpu="B")))
    assert len(told) == 2, "the reference against itself says nothing"
    assert all(each.relative for each in told)
    assert {each.pair.verdict for each in told} <= {"the same", "not decided"}
    assert "machines or their settings differ" in list(comparison.lines(told))[1]


def test_what_report_does_not_state_compare_does_not_either() -> None:
    side = _side(_results())
    far = quiet.Levels((1000.0, 3000.0) * 2, (1000.0, 1000.0) * 2)
    loud = comparison.Side(session=side.session, results=side.results, levels={2: far})
    (told,) = comparison.recipes(loud, EAGER.recipe, COMPILED.recipe)
    assert told.pair.verdict == "not decided"
    assert told.reason == "not quiet"
    told_of_two = list(comparison.stores(side, loud))
    assert {each.pair.verdict for each in told_of_two} == {"not decided"}
    assert not comparison.slower_than(told_of_two, 0.001)


def test_slower_by_a_share_is_certain_or_not_said() -> None:
    slower = {of: ratio * 1.035 for of, ratio in RATIOS.items()}
    told = list(comparison.stores(_side(_results()), _side(_results(seed=2, ratios=slower))))
    assert {each.pair.verdict for each in told} == {"faster"}
    assert not comparison.slower_than(told, 0.03), "3 % is inside its interval"


def test_a_quick_session_has_no_verdicts_to_compare() -> None:
    side = _side(_results())
    quick = comparison.Side(
        session=Session(**{**_fields(side.session), "preset": "quick"}), results=side.results
    )
    with pytest.raises(BadInput, match="standard"):
        list(comparison.stores(side, quick))


def _fields(session: Session) -> dict[str, object]:
    return {name: getattr(session, name) for name in Session.__dataclass_fields__}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "results.sqlite"
    with writing(path) as opened:
        session = opened.open_session(
            machine(), preset="standard", images="x", command=["run", "."], fresh=True
        )
        for result in _results(8):
            for each in result.alone:
                opened.append(session.identifier, result.case, each)
        for number in range(1, 9):
            shared = Block(
                group=EAGER.network_key(), number=number, seed=1, null_turns=(), pss_bytes=None, ready_s=()
            )
            outcomes = {result.case: result.blocks[number] for result in _results(8)}
            opened.append_block(session.identifier, shared, outcomes, {})
    return path


def test_a_report_says_how_many_pairs_are_decided(store: Path) -> None:
    with reading(store) as opened:
        made = report(opened)
    assert "2 of 3 pairs are decided" in " ".join(made.notes())
    assert "paired blocks" in made.title


def test_a_certificate_tells_all_of_one_case(store: Path) -> None:
    with reading(store) as opened:
        made = report(opened)
        results = opened.results(1)
    result = certificate.chosen(results, "resnet18/unet torch_compile/fp32")
    row = next(row for row in made.rows if row.case == result.key)
    text = "\n".join(
        f"{heading} {line}" for heading, line in certificate.certificate(result, row, made.session)
    )
    for part in ("exact", "99 % interval", "repaid after", "cold costs", "peak memory", "run .", "faster"):
        assert part in text
    assert certificate.chosen(results, result.key[:6]) == result
    with pytest.raises(BadInput, match="give one of the keys"):
        certificate.chosen(results, "resnet18")
    with pytest.raises(BadInput, match="unknown case"):
        certificate.chosen(results, "vgg")


def test_a_certificate_tells_what_a_failed_case_printed_and_nothing_that_a_terminal_would_obey(
    tmp_path: Path,
) -> None:
    path = tmp_path / "results.sqlite"
    with writing(path) as opened:
        session = opened.open_session(
            machine(), preset="quick", images="photographs", command=["run"], fresh=False
        )
        failure = Failure(stage="converting", kind="crashed", message="killed by SIGSEGV")
        opened.append(session.identifier, case(), failure, log_tail="\x1b[2JFatal error\n\n  in kernel 7\n")
    with reading(path) as opened:
        told = list(all_of_one(opened, report(opened), case().key()))
    assert ("it said", "[2JFatal error") in told
    assert ("", "in kernel 7") in told


def test_the_command_line_compares_and_fails_where_slower(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from unetbench.cli import main

    recipes = ["torch_compile/fp32", "torch_eager/fp32"]
    assert main(["compare", *recipes, "--store", str(store)]) == 0
    assert "the second is slower" in capsys.readouterr().out
    assert main(["compare", *recipes, "--store", str(store), "--fail-if-slower", "3%"]) == 1
    assert main(["compare", *recipes[::-1], "--store", str(store), "--fail-if-slower", "3%"]) == 0
    assert main(["compare", str(store), f"{store}@1"]) == 0
    assert main(["compare", str(store), f"{store}@7"]) == 2
    assert main(["compare", *recipes, "--store", str(store), "--fail-if-slower", "much"]) == 2
    assert main(["report", "--store", str(store), "--case", "resnet18/unet torch_eager/fp32"]) == 0
    assert "certainly" not in capsys.readouterr().err


def test_those_that_left_a_search_early_still_count() -> None:
    everyone = _results(count=8)
    left = replace(everyone[2], measurements=everyone[2].measurements[:2])  # one block, then it left
    tune = LOOKS_OF["tune"]
    said = standings([*everyone[:2], left], tune)
    assert [said.cases[each.key].rank for each in everyone] == ["2–3", "1–2", ""]
    with_all = standings(everyone, tune)
    keys = everyone[0].key, everyone[1].key
    assert said.pairs[keys].alpha == with_all.pairs[keys].alpha == pytest.approx(0.01 / 3)
    assert said.told_apart(*keys)
    assert said.told_apart(*reversed(keys))
    assert not said.told_apart(everyone[1].key, everyone[2].key)
