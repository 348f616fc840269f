"""Which levels of a model are taken, and what it is asked for: rules over strides and trials, no names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetbench.errors import Unsupported
from unetbench.networks.plan import chosen_levels, planned
from unetbench.networks.trial import padded_size


@pytest.mark.parametrize(
    ("strides", "chosen"),
    [
        ((2, 4, 8, 16, 32), (0, 1, 2, 3, 4)),
        ((4, 8, 16, 32), (0, 1, 2, 3)),
        ((1, 2, 4, 8, 16, 32), (1, 2, 3, 4, 5)),  # VGG: full resolution is left out
        ((2, 2, 4, 8, 16), (0, 1, 2, 3, 4)),
        ((8, 16, 16, 16), (0, 1, 2, 3)),
        ((2, 4, 8, 16, 32, 64), (1, 2, 3, 4, 5)),
        ((4, 8, *[16] * 14), (0, 1, 15)),  # a level for every block: the last of each stride
        ((16,) * 12, (2, 5, 8, 11)),
        ((14,) * 12, (3, 7, 11)),
        ((32,), (0, 0, 0, 0)),
        ((1, 1), ()),
    ],
)
def test_levels(strides: tuple[int, ...], chosen: tuple[int, ...]) -> None:
    assert chosen_levels(strides) == chosen


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30).map(sorted))
def test_of_whatever_a_model_tells_the_deepest_is_taken_and_the_order_kept(powers: list[int]) -> None:
    strides = [2**power for power in powers]
    chosen = chosen_levels(strides)
    if strides[-1] == 1:
        assert chosen == ()
        return
    assert chosen[-1] == len(strides) - 1
    assert list(chosen) == sorted(chosen)
    assert len(chosen) <= 5
    assert all(strides[index] >= 2 for index in chosen)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 256))
def test_padding_is_the_next_multiple(height: int, width: int, multiple: int) -> None:
    for side, padded in zip((height, width), padded_size((height, width), multiple), strict=True):
        assert padded % multiple == 0
        assert 0 <= padded - side < multiple


def test_attention_in_blocks_asks_for_more_than_the_deepest_stride() -> None:
    plan = planned("halonet26t", in_channels=3, image_size=None)
    assert plan.strides[-1] == 32
    assert plan.multiple_px == 256
    assert plan.fixed_size is None


def test_channels_last_are_seen_where_their_number_is_the_maps_width_too() -> None:
    plan = planned("swin_base_patch4_window7_224", in_channels=3, image_size=(512, 512))
    assert plan.channels[0] == 512 // plan.strides[0] == 128
    assert plan.channels_last == (True,) * 4


def test_a_model_that_needs_values_to_lay_out_its_maps_says_so() -> None:
    with pytest.raises(Unsupported, match=r"^encoder gemma4_vit_167m [^\n]*values[^\n]*choose another\.$"):
        planned("gemma4_vit_167m", in_channels=3, image_size=None)


def test_what_timm_does_not_know_is_refused_in_one_line() -> None:
    with pytest.raises(Unsupported, match=r"^[^\n]*\bno_such_encoder\b[^\n]*choose [^\n]*$"):
        planned("no_such_encoder", in_channels=3, image_size=None)
