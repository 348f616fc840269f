"""Folding up-convolutions: exact to the last border pixel, or refused."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.rewrites.pieces import CHANNELS, FP64, SEEDS, assert_same, error, train
from unetbench import Network, rewrite
from unetbench.errors import Unsupported
from unetbench.networks import drawn
from unetbench.networks.decoders.unet import Stage
from unetbench.rewrites.fold_upconv import FoldedStage, offered


def _stage(below: int, skip: int, width: int) -> Any:
    return train(Stage(below, skip, width))


@settings(deadline=None)
@given(
    seed=SEEDS, below=CHANNELS, skip=st.integers(0, 5), width=CHANNELS, height=st.integers(1, 6),
    columns=st.integers(1, 6), up_bias=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_a_stage_and_its_folded_form_are_the_same_function(
    seed: int, below: int, skip: int, width: int, height: int, columns: int, up_bias: bool, bias: bool
) -> None:
    torch.manual_seed(seed)
    stage = _stage(below, skip, width)
    if not up_bias:
        stage.up.bias = None
    if bias:  # as a batch norm that was folded before leaves it
        stage.convolutions[0].bias = nn.Parameter(torch.randn(width))
    folded = FoldedStage(stage.up, stage.convolutions).eval()
    deep = torch.randn(2, below, height, columns)
    fine = torch.randn(2, skip, 2 * height, 2 * columns) if skip else None
    assert_same(stage, folded, deep, fine)
    with torch.inference_mode():
        doubled = deepcopy(stage).double()
        both = FoldedStage(doubled.up, doubled.convolutions).eval()
        inputs = (deep.double(), None if fine is None else fine.double())
        assert error(doubled(*inputs), both(*inputs)) <= FP64


@torch.inference_mode()
def test_the_frame_of_one_pixel_is_right_too() -> None:
    """A large bias of the up-convolution shows only there, where taps fall outside of the map."""
    torch.manual_seed(0)
    stage = _stage(4, 3, 5).double()
    stage.up.bias.fill_(100.0)
    folded = FoldedStage(stage.up, stage.convolutions[:1]).eval()
    deep, fine = torch.randn(1, 4, 3, 4).double(), torch.randn(1, 3, 6, 8).double()
    plain = stage.convolutions[0](torch.cat([stage.up(deep), fine], dim=1))
    wrong = (folded(deep, fine) - plain).abs() / plain.abs().max()
    assert wrong.max() < 1e-14
    folded.taps.zero_()
    missed = (folded(deep, fine) - plain).abs().amax(dim=(0, 1))
    assert missed.min() > 0, "the bias reaches every pixel, so that the assertion above can fail"


@torch.no_grad()
def test_inductor_compiles_a_folded_stage_to_the_same_function() -> None:
    torch.manual_seed(0)
    stage = _stage(4, 3, 5)
    stage.up.bias.fill_(10.0)
    folded = FoldedStage(stage.up, stage.convolutions).eval()
    compiled = torch.compile(folded, fullgraph=True)
    assert_same(stage, compiled, torch.randn(1, 4, 6, 5), torch.randn(1, 3, 12, 10))


def test_only_the_stages_asked_for_are_folded() -> None:
    wide = nn.ModuleList([_stage(48, 4, 16), _stage(47, 4, 16), _stage(16, 4, 16)])
    assert [offered(wide, each) for each in ("saving", "all")] == [2, 3], (
        "from three times the width it costs more"
    )
    assert [offered(wide[:2], each) for each in ("1", "2", "3")] == [1, 2, 2], "no more than there are"
    model = drawn(Network("resnet18", classes=1)).eval()
    assert [offered(model, each) for each in ("all", "1", "2", "3")] == [4, 1, 2, 3]
    folded = rewrite(model, "fold_upconv[stages=2]")
    kinds = [type(stage) for stage in folded.decoder.stages]  # type: ignore[union-attr]
    assert kinds == [Stage, Stage, FoldedStage, FoldedStage]
    (report,) = folded.report  # type: ignore[misc]
    assert (report.offered, report.remaining) == (2, 0)


def test_maps_that_are_no_halves_of_each_other_are_refused_with_the_reason() -> None:
    model = drawn(Network("inception_v3", classes=1)).eval()
    with pytest.raises(Unsupported, match=r"no halves of each other; leave the rewrite out"):
        rewrite(model, "fold_upconv")


class _Impostor(nn.Module):
    """It looks like a stage and concatenates the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 3, 2, 2)
        self.convolutions = nn.Sequential(nn.Conv2d(6, 3, 3, padding=1), nn.ReLU())

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        return self.convolutions(torch.cat([skip, self.up(below)], dim=1))  # type: ignore[no-any-return]


def test_a_stage_that_is_listened_to_or_dilated_is_none() -> None:
    stage = _stage(4, 3, 5)
    assert offered(nn.ModuleDict({"stage": stage}), "all") == 1
    for listened_to in (stage, stage.up, stage.convolutions, stage.convolutions[0]):
        handle = listened_to.register_forward_hook(lambda *_: None)
        assert offered(nn.ModuleDict({"stage": stage}), "all") == 0
        handle.remove()
    stage.up.dilation = (2, 2)
    assert offered(nn.ModuleDict({"stage": stage}), "all") == 0


class _Other(_Impostor):
    """It looks like a stage and takes something else."""

    def forward(self, maps: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(*maps)


def test_folding_draws_no_random_numbers() -> None:
    holder = nn.ModuleDict({"stage": _stage(4, 3, 5)})
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    rewrite(holder, "fold_upconv[stages=all]")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("kind", [_Impostor, _Other])
def test_what_only_looks_like_a_stage_is_refused(kind: type[nn.Module]) -> None:
    holder = nn.ModuleDict({"stage": kind()}).eval()
    with pytest.raises(Unsupported, match="cannot fold stage"):
        rewrite(holder, "fold_upconv[stages=all]")
