"""Counts by hand: parameters, and operations with a multiply-add as two."""

from __future__ import annotations

import torch
from torch import nn

from unetbench.networks.counting import flop, parameters


def test_a_convolution_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2)
    )
    assert parameters(model) == 3 * 8 * 9 + 8 * 4 * 4 + 4
    convolution = 2 * 9 * 3 * 8 * 10 * 12
    transposed = 2 * 4 * 8 * 4 * 10 * 12
    assert flop(model, (1, 3, 10, 12)) == convolution + transposed
    assert flop(model, (2, 3, 10, 12)) == 2 * (convolution + transposed)


def test_counting_leaves_the_model_alone() -> None:
    model = nn.Conv2d(3, 8, 3)
    before = model.weight.clone()
    flop(model, (1, 3, 8, 8))
    assert model.weight.device.type == "cpu"
    assert torch.equal(model.weight, before)
