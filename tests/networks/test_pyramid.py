"""Flat models' maps resampled: strides are whole, depths are spread, the modules are the paper's."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unetbench.networks.pyramid import SimplePyramid, depths, scales


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        (16, (4, 8, 16, 32)),
        (14, (7, 14, 28)),
        (8, (2, 4, 8, 16)),
        (32, (8, 16, 32, 64)),
        (4, (2, 4, 8)),
        (7, (7, 14)),
        (12, (3, 6, 12, 24)),
        (2, (2, 4)),
    ],
)
def test_levels_are_those_of_whole_strides(patch: int, strides: tuple[int, ...]) -> None:
    assert tuple(patch / finer for finer in scales(patch)) == strides


@given(st.integers(2, 128))
def test_the_models_own_map_and_the_pooled_one_are_always_levels(patch: int) -> None:
    strides = [patch / finer for finer in scales(patch)]
    assert strides[-2:] == [patch, 2 * patch]
    assert all(stride.denominator == 1 and stride >= 2 for stride in strides)
    assert all(coarse == 2 * fine for fine, coarse in pairwise(strides))


@given(st.integers(1, 64), st.integers(1, 4))
def test_depths_are_spread_evenly_and_end_with_the_last(count: int, levels: int) -> None:
    chosen = depths(count, levels)
    assert len(chosen) == levels
    assert chosen[-1] == count - 1
    assert all(0 <= depth < count for depth in chosen)
    steps = [b - a for a, b in zip((-1, *chosen), chosen, strict=False)]
    assert max(steps) - min(steps) <= 1


def test_of_twelve_blocks_every_third_is_taken() -> None:
    assert depths(12, 4) == (2, 5, 8, 11)
    assert depths(24, 4) == (5, 11, 17, 23)


@pytest.mark.parametrize(("patch", "grid"), [(16, (4, 6)), (14, (4, 2)), (32, (2, 4)), (4, (8, 8))])
@torch.no_grad()
def test_maps_have_the_channels_and_strides_that_are_told(patch: int, grid: tuple[int, int]) -> None:
    pyramid = SimplePyramid([24] * len(scales(patch)), patch)
    maps = pyramid([torch.randn(2, 24, *grid) for _ in pyramid.levels])
    assert [tuple(each.shape) for each in maps] == [
        (2, channels, grid[0] * patch // stride, grid[1] * patch // stride)
        for channels, stride in zip(pyramid.channels, pyramid.strides, strict=True)
    ]


def test_the_modules_are_the_papers() -> None:
    finest, fine, own, coarse = SimplePyramid([64] * 4, 16).levels
    kinds = [type(module).__name__ for module in finest]  # type: ignore[arg-type]
    assert kinds == ["ConvTranspose2d", "LayerNorm2d", "GELU", "ConvTranspose2d"]
    assert (finest[0].out_channels, finest[3].out_channels) == (32, 16)  # type: ignore[index]
    assert isinstance(fine, nn.ConvTranspose2d) and fine.out_channels == 32
    assert isinstance(own, nn.Identity)
    assert isinstance(coarse, nn.MaxPool2d)


def test_an_odd_grid_loses_no_row_to_the_pooling() -> None:
    maps = SimplePyramid([8] * 3, 14)([torch.randn(1, 8, 37, 5) for _ in range(3)])
    assert maps[-1].shape == (1, 8, 19, 3)
