"""Counts by hand: parameters, and operations with a multiply-add as two."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unetbench.rewrites._ghost import flop, parameters

HEIGHT, WIDTH = 10, 12
PIXELS = HEIGHT * WIDTH

BY_HAND = {
    "a convolution": (nn.Conv2d(3, 8, 3, padding=1), 2 * 9 * 3 * 8 * PIXELS),
    "one at half the size": (nn.Conv2d(3, 8, 3, stride=2, padding=1), 2 * 9 * 3 * 8 * PIXELS // 4),
    "one for each channel": (nn.Conv2d(3, 3, 3, padding=1, groups=3), 2 * 9 * 3 * PIXELS),
    "an up-convolution": (nn.ConvTranspose2d(3, 4, 2, stride=2), 2 * 4 * 3 * 4 * PIXELS),
    "a product": (nn.Linear(WIDTH, 5), 2 * 3 * HEIGHT * WIDTH * 5),
    "neither": (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_operations_by_hand(name: str) -> None:
    model, expected = BY_HAND[name]
    assert flop(model, (1, 3, HEIGHT, WIDTH)) == expected
    assert flop(model, (2, 3, HEIGHT, WIDTH)) == 2 * expected


def test_a_small_network_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2, 2),
    )
    convolution, norm, up = 3 * 8 * 9, 8 + 8, 8 * 4 * 4 + 4
    assert parameters(model) == convolution + norm + up, "running statistics are none"
    assert flop(model, (1, 3, HEIGHT, WIDTH)) == 2 * (convolution + 8 * 4 * 4) * PIXELS


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(3, 3, bias=False)
    assert parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 9


def test_counting_leaves_the_model_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = {name: value.data_ptr() for name, value in model.state_dict().items()}
    flop(model, (1, 3, 8, 8))
    after = model.state_dict()
    assert {value.device.type for value in after.values()} == {"cpu"}
    assert all(torch.equal(after[name], value) for name, value in before.items()), "statistics too"
    assert {name: value.data_ptr() for name, value in after.items()} == held
    assert model.training


def test_nothing_is_computed() -> None:
    """A pass over 4 images of 16384² would take minutes, and 13 GB for the input alone."""
    side = 16_384
    assert flop(nn.Conv2d(3, 8, 1), (4, 3, side, side)) == 2 * 3 * 8 * 4 * side * side
