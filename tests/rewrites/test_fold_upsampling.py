"""Folding nearest-neighbour upsampling: exact to the last border pixel, in networks of this package and of others."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.rewrites.pieces import CHANNELS, FP64, SEEDS, assert_same, error, train
from unetbench import Network, rewrite
from unetbench.errors import Unsupported
from unetbench.rewrites import _upsampled
from unetbench.rewrites.fold_upsampling import FoldedUpsampling, offered


class _Plain(nn.Module):
    def __init__(self, convolution: nn.Conv2d, at: int) -> None:
        super().__init__()
        self.convolution, self.at = convolution, at

    def forward(self, below: Tensor, rest: Tensor | None) -> Tensor:
        up = F.interpolate(below, scale_factor=2)
        maps = [up] if rest is None else [rest[:, : self.at], up, rest[:, self.at :]]
        return self.convolution(torch.cat(maps, dim=1))  # type: ignore[no-any-return]


@settings(deadline=None)
@given(
    seed=SEEDS, width=CHANNELS, before=st.integers(0, 4), after=st.integers(0, 4), out=CHANNELS,
    height=st.integers(1, 6), columns=st.integers(1, 6), bias=st.booleans(), same=st.booleans(),
)  # fmt: skip
def test_both_forms_are_the_same_function(
    seed: int,
    width: int,
    before: int,
    after: int,
    out: int,
    height: int,
    columns: int,
    bias: bool,
    same: bool,
) -> None:
    torch.manual_seed(seed)
    convolution = nn.Conv2d(before + width + after, out, 3, padding="same" if same else 1, bias=bias)
    below = torch.randn(2, width, height, columns)
    rest = torch.randn(2, before + after, 2 * height, 2 * columns) if before + after else None
    plain = _Plain(convolution, before)
    assert_same(plain, FoldedUpsampling(convolution, before, width), below, rest)
    with torch.inference_mode():
        inputs = (below.double(), None if rest is None else rest.double())
        expected = plain.double()(*inputs)
        answer = FoldedUpsampling(convolution, before, width)(*inputs)
        assert error(expected, answer) <= FP64
        assert (answer - expected).abs().max() <= FP64 * expected.abs().max(), "the frame of one pixel, too"


NETWORKS = {
    "test_resnet/unet[upsampling=nearest]": 4,
    "test_resnet/unet_plusplus": 10,
    "smp.unet[encoder=resnet18]": 5,
    "smp.unetplusplus[encoder=resnet18]": 11,
}


@pytest.mark.parametrize("text", NETWORKS)
@torch.inference_mode()
def test_networks_keep_their_function_at_every_size(text: str) -> None:
    torch.manual_seed(0)
    with torch.inference_mode(False):
        model = train(Network.parse(text).build()).double()
        folded = rewrite(model, "fold_upsampling", shape=(1, 3, 64, 64))
    (report,) = folded.report  # type: ignore[misc]
    assert (report.offered, report.remaining) == (NETWORKS[text], 0)
    assert report.flop_before is not None and report.flop_after is not None
    assert report.flop_after < 0.9 * report.flop_before
    for height, columns in ((64, 64), (32, 96)):
        images = torch.randn(1, 3, height, columns, dtype=torch.float64)
        assert error(model(images), folded(images)) <= FP64


def test_what_is_folded_can_be_pickled() -> None:
    folded = rewrite(Network.parse("test_resnet/unet_plusplus").build(), "fold_upsampling")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(pickle.loads(pickle.dumps(folded))(images), folded(images))


def test_batch_norms_fold_before_and_all_folds_go_together() -> None:
    torch.manual_seed(0)
    model = train(Network.parse("smp.unet[encoder=resnet18]").build())
    folded = rewrite(model, "reparameterize", "fold_batchnorm", "fold_head", "fold_upconv", "fold_upsampling")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert folded.report[-1].offered == 5  # type: ignore[index, union-attr]
    assert_same(model, folded, torch.randn(1, 3, 64, 96))


def test_maps_that_are_no_doubles_of_each_other_are_refused_with_the_reason() -> None:
    folded = FoldedUpsampling(nn.Conv2d(3, 4, 3, padding=1), 0, 2)
    with pytest.raises(Unsupported, match=r"no halves of each other; leave the rewrite out"):
        folded(torch.rand(1, 2, 4, 4), torch.rand(1, 1, 7, 8))
    alone = FoldedUpsampling(nn.Conv2d(2, 4, 3, padding=1), 0, 2)
    assert alone(torch.rand(1, 2, 4, 4), None, (8, 8)).shape == (1, 4, 8, 8)
    with pytest.raises(Unsupported, match=r"maps of \(8, 8\) and \(7, 8\) pixels"):
        alone(torch.rand(1, 2, 4, 4), None, (7, 8))


class _Block(nn.Module):
    """A network with one upsampling, in one of the ways that people write."""

    def __init__(self, way: str = "", **changes: Any) -> None:
        super().__init__()
        self.below = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.convolution = nn.Conv2d(7, 5, 3, **{"padding": 1, **changes})
        self.way = way

    def forward(self, images: Tensor) -> Tensor:
        if self.way == "bilinear":
            up = F.interpolate(self.below(images), scale_factor=2, mode="bilinear")
        elif self.way == "factor asked for":
            up = F.interpolate(self.below(images), scale_factor=images.shape[-1] // 128)
        else:
            up = F.interpolate(self.below(images), size=images.shape[-2:])
        if self.way == "asks" and images.shape[-1] > 3:
            up = up + 1
        if self.way == "written over":
            up.mul_(2)  # whose result nobody takes: a trace leaves it out
        if self.way == "changed":
            up = up * 2
        out: Tensor = self.convolution(torch.cat((images, up), 1))
        return out + up.mean() if self.way == "used twice" else out


def _inside(block: nn.Module) -> nn.Module:
    return nn.Sequential(block).eval()


@pytest.fixture
def _read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the blocks of this file as if their code had been read."""
    monkeypatch.setattr(_upsampled, "_READ", (f"{__name__}.",))


def test_modules_whose_code_was_not_read_are_left_as_they_are() -> None:
    assert offered(_inside(_Block())) == 0


@pytest.mark.usefixtures("_read")
def test_what_is_written_otherwise_is_left_as_it_is() -> None:
    assert offered(_inside(_Block())) == 1
    assert offered(_inside(_Block()).train()) == 0
    for way in ("bilinear", "asks", "changed", "factor asked for"):
        assert offered(_inside(_Block(way))) == 0, way
    for changes in (
        {"stride": 2},
        {"dilation": 2, "padding": 2},
        {"padding_mode": "reflect"},
        {"padding": 0},
    ):
        assert offered(_inside(_Block(**changes))) == 0, changes
    for listened_to in ("convolution", "below", ""):
        block = _Block()
        block.get_submodule(listened_to).register_forward_hook(lambda *_: None)
        assert offered(_inside(block)) == 0


@pytest.mark.usefixtures("_read")
def test_what_a_trace_leaves_out_is_noticed_and_refused() -> None:
    with pytest.raises(Unsupported, match="which does more with its maps"):
        rewrite(_inside(_Block("written over")), "fold_upsampling")


@pytest.mark.usefixtures("_read")
def test_a_map_that_is_read_elsewhere_too_stays_there() -> None:
    torch.manual_seed(0)
    block = _inside(_Block("used twice"))
    folded = rewrite(block, "fold_upsampling")
    assert folded.report[0].fired  # type: ignore[index, union-attr]
    assert_same(block, folded, torch.randn(1, 3, 8, 6))


@pytest.mark.usefixtures("_read")
def test_folding_draws_no_random_numbers_and_leaves_the_network_as_it_is() -> None:
    block = _inside(_Block())
    kinds = [type(module) for module in block.modules()]
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    folded = rewrite(block, "fold_upsampling")
    assert torch.equal(torch.rand(1), expected)
    assert [type(module) for module in block.modules()] == kinds
    assert_same(block, folded, torch.randn(1, 3, 8, 6))


def test_flat_encoders_have_the_stages_of_others() -> None:
    model = Network.parse("test_vit/unet[upsampling=nearest]").build()
    assert offered(model) == 4
