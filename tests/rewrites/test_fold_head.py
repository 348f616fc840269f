"""Folding the head: exact with every kernel, stride and bias, and only where nothing stands before it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.rewrites.pieces import CHANNELS, FP64, SEEDS, assert_same, error
from unetbench import Network, rewrite


class _Net(nn.Module):
    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))  # type: ignore[no-any-return]


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.up = nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2)

    def forward(self, images: Tensor) -> Tensor:
        up = self.up(self.convolution(images))
        up.add_(up.mean())
        return up  # type: ignore[no-any-return]


@settings(deadline=None)
@given(
    seed=SEEDS, inputs=CHANNELS, width=CHANNELS, classes=st.integers(1, 5), kernel=st.integers(1, 4),
    stride=st.integers(1, 2), transposed=st.booleans(), bias=st.booleans(), head_bias=st.booleans(),
    dilation=st.integers(1, 2), mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
)  # fmt: skip
def test_the_product_is_the_same_function(
    seed: int, inputs: int, width: int, classes: int, kernel: int, stride: int, transposed: bool, bias: bool,
    head_bias: bool, dilation: int, mode: str,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    up = kind(
        inputs, width, kernel, stride=stride, padding=min(1, kernel - 1), bias=bias, dilation=dilation,
        padding_mode="zeros" if transposed else mode,
    )  # fmt: skip
    body = nn.Sequential(nn.Conv2d(inputs, inputs, 1), nn.ReLU(), up)
    model = _Net(body, nn.Conv2d(width, classes, 1, bias=head_bias)).eval()
    images = torch.randn(2, inputs, 11, 9)
    folded = rewrite(model, "fold_head")
    assert_same(model, folded, images)
    doubled = deepcopy(model).double()
    assert error(doubled(images.double()), rewrite(doubled, "fold_head")(images.double())) <= FP64
    (report,) = folded.report  # type: ignore[misc]
    assert (report.offered, report.remaining, report.fired) == (1, 0, True)


@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS, inputs=CHANNELS, width=CHANNELS, classes=st.integers(1, 5), kernel=st.sampled_from([1, 3]),
    transposed=st.booleans(), bias=st.booleans(), factor=st.sampled_from([2, 3, 1.5]),
    mode=st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]), corners=st.booleans(),
)  # fmt: skip
def test_the_head_goes_before_an_upsampling(
    seed: int, inputs: int, width: int, classes: int, kernel: int, transposed: bool, bias: bool, factor: float,
    mode: str, corners: bool,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    before = kind(inputs, width, kernel, padding=kernel // 2, bias=bias)
    up = nn.Upsample(
        scale_factor=factor, mode=mode, align_corners=None if mode.startswith("nearest") else corners
    )
    model = _Net(nn.Sequential(before, up), nn.Conv2d(width, classes, 1)).eval()
    images = torch.randn(2, inputs, 8, 6)
    folded: Any = rewrite(model, "fold_head")
    assert_same(model, folded, images)
    doubled = deepcopy(model).double()
    assert error(doubled(images.double()), rewrite(doubled, "fold_head")(images.double())) <= FP64
    assert (folded.report[0].offered, folded.report[0].remaining) == (1, 0)


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_decoders_that_interpolate_have_their_head_folded(upsampling: str) -> None:
    model = Network.parse(f"test_resnet/unet[upsampling={upsampling}]").build()
    folded: Any = rewrite(model, "fold_batchnorm", "fold_head", shape=(1, 3, 64, 64))
    report = folded.report[1]
    assert report.fired
    assert report.flop_after < report.flop_before
    widest_bytes = 4 * 32 * 64 * 64  # written once, read once
    assert report.moved_bytes_before - report.moved_bytes_after > 1.8 * widest_bytes
    assert_same(model, folded, torch.randn(1, 3, 64, 70))


NOTHING = {
    "an upsampling that is read elsewhere too": lambda: _Net(_Twice(), nn.Conv2d(4, 2, 1)),
    "an upsampling alone": lambda: _Net(nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 1)),
    "an activation between": lambda: _Net(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 1)),
    "a head of 3 × 3": lambda: _Net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)),
    "a head with a stride": lambda: _Net(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1, stride=2)),
    "a border added before it": lambda: _Net(
        nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1), nn.Conv2d(4, 2, 1)
    ),
    "groups before it": lambda: _Net(nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 2, 1)),
    "no head": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_something_stands_between_nothing_is_done(name: str) -> None:
    (report,) = rewrite(NOTHING[name]().eval(), "fold_head").report  # type: ignore[misc]
    assert (report.offered, report.fired) == (0, False)


def test_the_widest_map_is_gone_and_said_so() -> None:
    model = _Net(
        nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(32, 32, 2, 2)),
        nn.Conv2d(32, 1, 1),
    )
    (report,) = rewrite(model.eval(), "fold_head", shape=(1, 3, 64, 64)).report  # type: ignore[misc]
    assert report.flop_before is not None and report.flop_after is not None
    pixels = 128 * 128
    assert report.flop_before - report.flop_after == 2 * pixels * (32 * 32 + 32 - 32)
    assert report.moved_bytes_before > 2 * report.moved_bytes_after
