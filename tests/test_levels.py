"""A session beside the quietest on record, from what is stored to what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from benchmarks.selftest.simulated import Machine, Simulated, blocks

from tests.measuring.test_schedule import Watcher
from tests.samples import case, machine, measurement
from unetbench import levels
from unetbench.measuring.preset import STANDARD
from unetbench.measuring.schedule import Sweep
from unetbench.records import Block, Case, Result, Session, Turn
from unetbench.records import Machine as Facts
from unetbench.reporting import comparison
from unetbench.reporting.report import Report, report
from unetbench.store import Store, reading, writing

EAGER, COMPILED = (case(recipe=recipe, threads=1) for recipe in ("torch_eager/fp32", "torch_compile/fp32"))
CASES = {EAGER: Simulated(ratio=1.3, memory_sensitivity=0.1), COMPILED: Simulated(memory_sensitivity=0.3)}
NULL = Simulated()
FAR = math.log(1.35)


def test_another_numpy_is_another_canary() -> None:
    old, new = (
        Session(
            identifier=1, started_utc="", machine=machine(versions=(("numpy", version),)), preset="standard",
            images="x", command="run",
        )
        for version in ("2.3.0", "2.4.0")
    )  # fmt: skip
    assert levels.same_canary(old, old)
    assert not levels.same_canary(old, new)


def _louder(turns: list[Turn], memory: float, time: float) -> tuple[Turn, ...]:
    """The same turns beside neighbours in memory that never leave."""
    return tuple(
        replace(
            turn,
            before_ns=(turn.before_ns[0], round(turn.before_ns[1] * math.exp(memory))),
            after_ns=(turn.after_ns[0], round(turn.after_ns[1] * math.exp(memory))),
            run_ns=tuple(round(ns * math.exp(time * memory)) for ns in turn.run_ns),
        )
        for turn in turns
    )


def _sweep(store: Store, session: Session) -> Sweep:
    return Sweep(
        cases=tuple(CASES), store=store, session=session, preset=STANDARD, images=(), work=store.path.parent,
        cache=store.path.parent, start_worker=lambda *_: pytest.fail("nothing is run"),
        observer=Watcher(store.path),
    )  # fmt: skip


def _measured(
    store: Store,
    *,
    far: float = 0.0,
    threads: int = 1,
    cases: Mapping[Case, Simulated] = CASES,
    here: Facts | None = None,
) -> Sweep:
    """A session of twelve paired blocks in the store, with what the sweep notes of its quiet level.

    All have the same chance: they differ by what makes one louder alone. How far chance parts them besides is
    for `benchmarks/selftest/coverage.py` to tell.
    """
    session = store.open_session(
        here or machine(), preset="standard", images="x", command=["run"], fresh=True
    )
    sweep = _sweep(store, session)
    busy = Machine(memory=(0.5, 0.35), turns=12)
    *made, null = blocks(Random(1), [*cases.values(), NULL], busy, 12)
    for of in cases:
        store.append(session.identifier, replace(of, threads=threads), measurement(100.0))
    for number in null:
        outcomes = {
            replace(of, threads=threads): measurement(
                100.0, turns=_louder(turns[number], far, feels.memory_sensitivity), block=number
            )
            for (of, feels), turns in zip(cases.items(), made, strict=True)
        }
        shared = Block(
            group=EAGER.network_key(), number=number, seed=1,
            null_turns=_louder(null[number], far, 0.0), pss_bytes=None, ready_s=(),
        )  # fmt: skip
        store.append_block(session.identifier, shared, outcomes, {})
        sweep._note_quiet_level(threads, shared.null_turns)
    return sweep


def _report(path: Path) -> Report:
    with reading(path) as store:
        return report(store)


def test_the_only_session_is_the_record(tmp_path: Path) -> None:
    with writing(tmp_path / "a.sqlite") as store:
        assert _measured(store)._above(1) == (0.0, 0.0)
    assert "never as quiet" not in " ".join(_report(tmp_path / "a.sqlite").notes())


def test_race_and_report_bring_a_louder_session_to_the_record(tmp_path: Path) -> None:
    with writing(tmp_path / "a.sqlite") as store:
        _measured(store)
        above = _measured(store, far=FAR)._above(1)
    assert above is not None
    assert above == pytest.approx((0.0, FAR), abs=0.001)
    told = _report(tmp_path / "a.sqlite")
    assert told.above == {1: above}
    assert "in memory): runs are brought to the record" in " ".join(told.notes())
    (pair,) = told.said.pairs.values()
    assert pair.adjusted
    assert pair.low is not None and pair.high is not None
    assert pair.low < 1 / 1.3 < pair.high


def test_too_loud_a_session_says_so_and_settles_nothing(tmp_path: Path) -> None:
    with writing(tmp_path / "a.sqlite") as store:
        _measured(store)
        assert _measured(store, far=math.log(1.8))._above(1) is None
    told = _report(tmp_path / "a.sqlite")
    assert "Not quiet" in " ".join(told.notes())
    assert {pair.verdict for pair in told.said.pairs.values()} == {"not decided"}


@pytest.mark.parametrize("other", [{"cpu": "Another CPU"}, {"versions": (("numpy", "1.0"),)}])
def test_another_machines_record_and_another_numpys_are_none(tmp_path: Path, other: dict[str, Any]) -> None:
    """A faster machine's canaries would make every session here a loud one."""
    with writing(tmp_path / "a.sqlite") as store:
        _measured(store, here=machine(**other))
        assert _measured(store, far=FAR)._above(1) == (0.0, 0.0)
        assert _measured(store, here=machine(environment=(("OMP_WAIT_POLICY", "x"),)))._above(1) == (0.0, 0.0)
        assert _measured(store, far=FAR)._above(1) == pytest.approx((0.0, FAR), abs=0.001), (
            "the shell moves none"
        )


def test_other_threads_are_another_record(tmp_path: Path) -> None:
    """Canaries run on as many threads as the cases: two read otherwise than one."""
    with writing(tmp_path / "a.sqlite") as store:
        _measured(store)
        sweep = _measured(store, far=FAR, threads=2)
        assert sweep._above(2) == (0.0, 0.0)
        found = store.results(sweep.session.identifier)
        assert len(levels.null_turns(store, sweep.session, found, 2)) == 12 * 12
        assert levels.null_turns(store, sweep.session, found, 1) == []


def test_who_slows_its_own_canaries_is_named_and_nobody_else(tmp_path: Path) -> None:
    """On a loud machine quantiles of canaries differ by chance: only what is beyond doubt over blocks is told."""
    with writing(tmp_path / "a.sqlite") as store:
        _measured(store)
        session = _measured(store, cases={EAGER: Simulated(), COMPILED: Simulated(offset=1.5)}).session
        assert levels.disturbing(store, session, store.results(session.identifier)) == (
            replace(COMPILED, threads=1),
        )
    note = f"by more than 2 % beyond doubt: {COMPILED.name}."
    assert note in " ".join(_report(tmp_path / "a.sqlite").notes())


def test_a_session_that_goes_on_keeps_its_level(tmp_path: Path) -> None:
    with writing(tmp_path / "a.sqlite") as store:
        first = _measured(store)
        noted = store.facts(first.session.identifier)
        resumed = _sweep(store, first.session)
        resumed._note_quiet_level(1, ())
        assert store.facts(first.session.identifier) == noted


def test_compare_brings_two_stores_of_one_machine_to_the_lower_record(tmp_path: Path) -> None:
    for name, far in (("a", 0.0), ("b", FAR)):
        with writing(tmp_path / f"{name}.sqlite") as store:
            _measured(store, far=far)
    quiet, loud = (comparison.side(str(tmp_path / f"{name}.sqlite")) for name in "ab")
    assert loud.above(EAGER) == (0.0, 0.0), "by itself it is the record"
    told = {each.name.split()[-1]: each.pair for each in comparison.stores(quiet, loud)}
    assert all(pair.adjusted for pair in told.values())
    for name, of in (("torch_eager/fp32", EAGER), ("torch_compile/fp32", COMPILED)):
        pair = told[name]
        assert pair.low is not None and pair.high is not None and pair.ratio is not None
        assert pair.low < 1.0 < pair.high, "the same machine, but for its neighbours"
        felt = CASES[of].memory_sensitivity * FAR
        assert abs(math.log(pair.ratio)) < 0.35 * felt, "most of what they cost is taken off"


def test_results_without_blocks_have_no_level(tmp_path: Path) -> None:
    with writing(tmp_path / "a.sqlite") as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        alone = Result(case=EAGER, session=session.identifier, measurements=(measurement(),))
        assert levels.levels(store, session, [alone]) == {}
