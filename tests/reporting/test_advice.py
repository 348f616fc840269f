"""Stores to a choice, and the choice in words: on one machine, of the input asked, with its doubts beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.samples import MS, case, machine, measurement, parity
from unetbench import quality
from unetbench import store as stores
from unetbench.errors import BadInput
from unetbench.records import Block, Case, Failure, Machine, Network, Recipe, Turn
from unetbench.reporting import advice
from unetbench.store import writing

HERE = machine()
THERE = machine(cpu="Another CPU")
MEDIAN = advice.asked("512", 1, 50.0)
P95 = advice.asked("512", 1, 95.0)


def _store(path: Path, here: Machine, *measured: tuple[Case, float]) -> Path:
    with writing(path) as store:
        session = store.open_session(here, preset="quick", images="x", command=["run", "suite"], fresh=True)
        for each, ms in measured:
            precise = "approximate" if each.recipe.precision == "int8" else "exact"
            found = measurement(ms, artifact_bytes=10_000_000, parity=parity(measured_class=precise))
            store.append(session.identifier, each, found)
    return path


def _lines(paths: list[Path], asked: advice.Asked = MEDIAN, **limits: object) -> list[str]:
    found = advice.measured(paths, asked, quality.published, HERE)
    names = ("max_latency_ms", "max_memory_mb", "max_size_mb", "exact_only", "encoders")
    told = advice.advised(found.candidates, tuple(limits.get(name) for name in names), own_quality=False)
    return list(advice.lines(told, asked, found))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return _store(
        tmp_path / "quick.sqlite", HERE,
        (case("resnet18"), 90.0), (case("resnet18", "openvino/int8"), 30.0), (case("resnet18", "mnn/fp32"), 50.0),
        (case("efficientnet_b0", "openvino/int8"), 55.0), (case("mobileone_s0"), 20.0),
    )  # fmt: skip


def test_the_best_is_named_with_its_figures_and_its_doubts(quick: Path) -> None:
    told = _lines([quick], max_latency_ms=60)
    text = "\n".join(told)
    assert told[0].startswith("Chosen by quality first")
    assert "a proxy" in told[1]
    assert "Best: efficientnet_b0/unet openvino/int8, 2 threads" in told
    assert "median about 55.0 ms, 900 MB of memory, 10.0 MB, quality 79.36" in text
    assert "not sure: one process alone says about how fast" in text
    assert "what this precision costs your data is not known here" in text
    assert "Without --max-latency 60 ms: the same" in told
    assert "quick session 1, preset quick" in told[-1]
    # The exact form of a network goes before its approximate one.
    order = [line.split()[1] for line in told if line.startswith("  resnet18")]
    assert order == ["mnn/fp32:", "openvino/int8:"]


def test_a_percentile_is_not_made_of_three_runs(quick: Path) -> None:
    text = "\n".join(_lines([quick], P95, max_latency_ms=60.6))
    assert "p95 cannot be told from 3 runs, worth" in text
    assert "59 are needed; it is judged by the slowest" in text
    assert "slowest run about 60.5 ms" in text
    assert "not sure" in text


def test_a_percentile_has_the_disturbed_runs_too(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with writing(path) as store:
        session = store.open_session(HERE, preset="quick", images="x", command=["run"], fresh=True)
        disturbed = measurement(50.0, rejected_ns=((140_000_000, 50_000_000),))
        store.append(session.identifier, case("resnet18"), disturbed)
    assert "slowest run about 140 ms" in "\n".join(_lines([path], P95))


def test_a_constraint_says_what_it_cost(quick: Path) -> None:
    told = _lines([quick], max_latency_ms=60, exact_only=True)
    assert "Best: resnet18/unet mnn/fp32, 2 threads" in told
    (without,) = [line for line in told if line.startswith("Without --exact-only")]
    assert "efficientnet_b0/unet openvino/int8: median about 55.0 ms" in without


def test_what_cannot_be_met_says_by_how_much(quick: Path) -> None:
    told = _lines([quick], max_latency_ms=10)
    assert "Nothing that was measured meets all of this." in told
    (short,) = [line for line in told if "fails by itself" in line]
    assert "--max-latency 10 ms fails by itself: 20 ms at best, 2.00 × the limit, mobileone_s0/unet" in short
    told = _lines([quick], max_latency_ms=25, encoders=["resnet*"])
    (_, which) = [line for line in told if "cannot be met together" in line]
    assert which.endswith("no case that meets the others is one"), "resnets there are"
    assert any(
        "fails by itself: no measured case is one" in line for line in _lines([quick], encoders=["vgg*"])
    )


def test_an_encoder_is_meant_with_its_tag_or_without(tmp_path: Path) -> None:
    path = _store(tmp_path / "a.sqlite", HERE, (case("resnet18.a1_in1k"), 90.0))
    for pattern in ("resnet18", "resnet18.a1_in1k", "*.a1_in1k"):
        assert "Best: resnet18.a1_in1k/unet" in "\n".join(_lines([path], encoders=[pattern]))


def test_results_of_this_machine_are_taken_before_any_other(quick: Path, tmp_path: Path) -> None:
    there = _store(tmp_path / "there.sqlite", THERE, (case("resnet34"), 5.0))
    assert not any("resnet34" in line for line in _lines([quick, there]))
    told = _lines([there])
    assert any("resnet34" in line for line in told)
    assert told[-1].endswith("NOT this machine")


def test_what_failed_in_a_later_session_is_no_answer_any_more(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Best: resnet18/unet openvino/int8" in "\n".join(_lines([quick], max_latency_ms=40))
    later = tmp_path / "later.sqlite"
    monkeypatch.setattr(stores, "now", lambda: "2999-01-01T00:00:00+00:00")
    with writing(later) as store:
        session = store.open_session(HERE, preset="quick", images="x", command=["run"], fresh=True)
        wrong = Failure(stage="checking", kind="wrong output", message="few pixels agree")
        store.append(session.identifier, case("resnet18", "openvino/int8"), wrong)
    for paths in ([quick, later], [later, quick]):
        assert "resnet18" not in "\n".join(_lines(paths, max_latency_ms=40))


def test_results_elsewhere_answer_where_this_machine_has_none_of_that_input(
    quick: Path, tmp_path: Path
) -> None:
    there = _store(tmp_path / "there.sqlite", THERE, (case("resnet34", height_px=640, width_px=640), 5.0))
    told = _lines([there, quick], advice.asked("640", 1, 50.0))
    assert any("Best: resnet34/unet" in line for line in told)
    assert told[-1].endswith("NOT this machine")


def test_as_many_threads_as_are_asked_for(quick: Path, tmp_path: Path) -> None:
    one = _store(tmp_path / "one.sqlite", HERE, (case("resnet18", threads=1), 170.0))
    told = "\n".join(_lines([quick, one], advice.asked("512", 1, 50.0, 1)))
    assert "Asked: 512x512, batch 1, 1 class, 1 thread;" in told
    assert "Best: resnet18/unet torch_eager/fp32, 1 thread\n" in told
    with pytest.raises(BadInput, match="there are: 512x512, batch 1, 1 class, 2 threads: ask"):
        advice.measured([quick], advice.asked("512", 1, 50.0, 4), quality.published, HERE)


def test_networks_of_as_many_channels_as_are_asked_for(quick: Path, tmp_path: Path) -> None:
    grey = Case(
        network=Network("resnet18", in_channels=1), recipe=Recipe.parse("torch_eager/fp32"), height_px=512,
        width_px=512, threads=2,
    )  # fmt: skip
    store = _store(tmp_path / "grey.sqlite", HERE, (grey, 80.0))
    told = _lines([quick, store], advice.asked("512", 1, 50.0, channels=1))
    assert any("1 class, 1 channel;" in line for line in told)
    assert any("median about 80.0 ms" in line for line in told)
    assert "1 cases were measured" in " ".join(told)


def test_stores_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Blocks pair the cases of one session, and `tuned.sqlite` is what every `tune` writes."""
    paths = []
    for name, encoder in (("a", "resnet18"), ("b", "resnet34")):
        (tmp_path / name).mkdir()
        paths.append(_store(tmp_path / name / "tuned.sqlite", HERE, (case(encoder), 50.0)))
    found = advice.measured(paths, MEDIAN, quality.published, HERE)
    assert [each.session for each in found.candidates] == [f"{path} session 1" for path in paths]
    alone = advice.measured(paths[:1], MEDIAN, quality.published, HERE)
    assert [each.session for each in alone.candidates] == ["tuned session 1"]


def test_another_input_is_no_answer(quick: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there are: 512x512, batch 1, 1 class: ask for one of these"):
        advice.measured([quick], advice.asked("640", 5, 50.0), quality.published, HERE)
    failed = tmp_path / "failed.sqlite"
    with writing(failed) as store:
        session = store.open_session(HERE, preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case(), Failure(stage="a", kind="crashed", message="b"))
        store.append(session.identifier, case("resnet34"), measurement(9, waiting_share=0.5))
    with pytest.raises(BadInput, match=r"no result in the stores has a time that counts \(1 are not quiet"):
        advice.measured([failed], MEDIAN, quality.published, HERE)


def _turn(order: int, ns: int) -> Turn:
    return Turn(
        order=order, before_ns=(MS, MS), after_ns=(MS, MS), run_ns=(ns, ns + MS // 100, ns - MS // 100)
    )


@pytest.fixture
def standard(tmp_path: Path) -> Path:
    """Two recipes that are the same and one that is slower, in twenty blocks."""
    path = tmp_path / "standard.sqlite"
    network = Network("resnet18")
    cases = [
        Case(network=network, recipe=Recipe.parse(f"{name}/fp32"), height_px=512, width_px=512, threads=2)
        for name in ("mnn", "openvino", "ncnn")
    ]
    with writing(path) as store:
        session = store.open_session(
            HERE, preset="standard", images="x", command=["run", "suite"], fresh=True
        )
        for each in cases:
            store.append(session.identifier, each, measurement(50, artifact_bytes=1))
        for number in range(1, 21):
            wobble = MS // 50 * (number % 5)
            times = {
                cases[0]: 40 * MS + wobble,
                cases[1]: 40 * MS + MS // 50 * (number % 3),
                cases[2]: 60 * MS + wobble,
            }
            outcomes = {
                each: measurement(50, block=number, turns=tuple(_turn(at, ns) for at in range(8)))
                for each, ns in times.items()
            }
            block = Block(group="g", number=number, seed=0, null_turns=(), pss_bytes=None, ready_s=())
            store.append_block(session.identifier, block, outcomes, {})
    return path


def test_those_as_good_and_not_told_apart_are_named_as_tied(standard: Path) -> None:
    told = _lines([standard], max_latency_ms=70)
    assert sum(line.startswith("As good, and not told apart in speed") for line in told) == 1
    assert any("sure: the whole interval" in line for line in told)
    assert any("ncnn/fp32" in line for line in told)
    assert any("sure: the whole interval of its time ends at 40." in line for line in _lines([standard]))


def test_of_what_has_all_its_blocks_no_more_are_promised(standard: Path, quick: Path) -> None:
    text = "\n".join(_lines([standard], max_latency_ms=40.03))
    assert "beyond the limit; --store NEW.sqlite --budget 15m measures it anew" in text
    assert "says about how fast, and no more; --budget 15m measures it further" in "\n".join(_lines([quick]))


def test_a_percentile_of_many_runs_has_an_upper_bound(standard: Path) -> None:
    text = "\n".join(_lines([standard], P95, max_latency_ms=60))
    assert "p95 40" in text
    assert "(at most 40" in text
    assert "sure: the whole interval" in text
