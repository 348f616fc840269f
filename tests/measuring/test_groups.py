"""Which cases are alive together: a network's with its reference, as many as fit into the memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.samples import BF16, COMPILED, EAGER, OTHER, measurement
from unetbench.measuring.groups import group_key, groups, offsets
from unetbench.records import Block, Case, Failure, Result


def _result(of: Case, peak: int = 10**9, **changes: Any) -> Result:
    found = {} if changes else {"measurements": (measurement(100.0, peak_load_bytes=peak),)}
    return Result(case=of, session=1, **found | changes)


def test_a_group_is_a_network_and_what_never_ran_is_not_in_it() -> None:
    failed = Failure(stage="run", kind="crashed", message="x")
    results = [_result(EAGER), _result(OTHER[0]), _result(COMPILED), _result(BF16, failure=failed)]
    assert groups(results, 10**12) == ((EAGER, COMPILED), (OTHER[0],))
    later = replace(_result(COMPILED), failure=failed)
    assert groups([_result(EAGER), later], 10**12) == ((EAGER, COMPILED),), "its blocks keep their name"


def test_a_group_too_large_for_the_memory_is_split_each_part_with_the_reference() -> None:
    results = [_result(EAGER, peak=10**9), _result(COMPILED, peak=2 * 10**9), _result(BF16, peak=2 * 10**9)]
    assert groups(results, 6 * 10**9) == ((EAGER, COMPILED), (EAGER, BF16))
    assert groups(results, 9 * 10**9) == ((EAGER, COMPILED, BF16),)


def test_what_measuring_holds_counts_where_processes_must_fit_into_the_memory() -> None:
    found = measurement(100.0, peak_load_bytes=10**9, held_bytes=10**9)
    results = [_result(each, measurements=(found,)) for each in (EAGER, COMPILED, BF16)]
    assert groups(results, 9 * 10**9) == ((EAGER, COMPILED), (EAGER, BF16))
    assert groups(results, 10 * 10**9) == ((EAGER, COMPILED, BF16),)


def test_blocks_that_hold_more_inputs_than_processes_alone_did_are_planned_with_theirs() -> None:
    """`advise` compares a few inputs alone and many beside blocks: with many classes that is most of the memory."""
    of_one = 512 * 512 * (4 * 3 + 8 + 4)
    found = measurement(100.0, peak_load_bytes=10**9, held_bytes=4 * of_one)
    results = [_result(each, measurements=(found,)) for each in (EAGER, COMPILED, BF16)]
    room = int((3 * 10**9 + 3 * 16 * of_one) / 0.6)
    assert groups(results, room + 10) == groups(results, room + 10, 16) == ((EAGER, COMPILED, BF16),)
    assert groups(results, room - 10**6) == ((EAGER, COMPILED, BF16),)
    assert groups(results, room - 10**6, 16) == ((EAGER, COMPILED), (EAGER, BF16))


def test_a_group_keeps_its_numbers_and_another_one_has_others() -> None:
    made = [Block(group=group_key(OTHER), number=8, seed=1, null_turns=(), pss_bytes=None, ready_s=())]
    found = offsets((OTHER, (EAGER, COMPILED), (EAGER, COMPILED, BF16)), made, ())
    assert found[OTHER] == 0
    assert found[EAGER, COMPILED] == 1000, "its cases beside each other, in no block so far"
    assert found[EAGER, COMPILED, BF16] == 2000, "with a third case beside them they are measured anew"


def test_numbers_are_not_used_again_whose_block_a_damaged_store_has_lost() -> None:
    found = offsets(((EAGER, COMPILED),), (), used=(8, 1003))
    assert found[EAGER, COMPILED] == 2000
