"""Folding branches: exact for every block that offers it, of any shape, with statistics as training leaves them."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import byobnet, fastvit, repghost
from torch import nn

from tests.rewrites.pieces import FP64, SEEDS, assert_same, error, train
from unetbench import rewrite
from unetbench.errors import Unsupported

BLOCKS = {
    "RepVGG": lambda inputs, outputs, stride, branches, alone: byobnet.RepVggBlock(
        inputs, outputs, stride=stride, group_size=1 if alone else None
    ),
    "MobileOne": lambda inputs, outputs, stride, branches, alone: byobnet.MobileOneBlock(
        inputs, outputs, stride=stride, num_conv_branches=branches, group_size=1 if alone else None
    ),
    "FastViT": lambda inputs, outputs, stride, branches, alone: fastvit.MobileOneBlock(
        inputs, outputs, 3, stride=stride, num_conv_branches=branches, group_size=1 if alone else 0
    ),
    "RepGhost": lambda inputs, outputs, stride, branches, alone: repghost.RepGhostModule(
        inputs, outputs, stride=stride
    ),
}


def _branches(model: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d | nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("block", BLOCKS)
@settings(deadline=None, max_examples=25)
@given(
    seed=SEEDS, inputs=st.integers(1, 9), outputs=st.integers(1, 9), stride=st.integers(1, 2),
    branches=st.integers(1, 4), alone=st.booleans(), height=st.integers(1, 9), width=st.integers(1, 9),
)  # fmt: skip
def test_every_block_keeps_its_function(
    block: str, seed: int, inputs: int, outputs: int, stride: int, branches: int, alone: bool, height: int,
    width: int,
) -> None:  # fmt: skip
    """`alone`: each channel by itself, with as many answers as inputs. Images of one pixel are all border."""
    torch.manual_seed(seed)
    outputs = inputs if alone else outputs
    model = train(
        nn.Sequential(BLOCKS[block](inputs, outputs, stride, branches, alone), nn.Conv2d(outputs, 2, 1))
    )
    images = torch.randn(2, inputs, height, width)
    folded = rewrite(model, "reparameterize")
    assert _branches(folded) < _branches(model)
    assert_same(model, folded, images, least=2e-7)  # two units in the last place: branches cancel
    doubled = deepcopy(model).double()
    found = rewrite(doubled, "reparameterize")
    assert error(doubled(images.double()), found(images.double())) <= FP64


def _block() -> nn.Sequential:
    return train(nn.Sequential(BLOCKS["RepVGG"](4, 4, 1, 1, False), nn.Conv2d(4, 2, 1)))


def test_hooks_within_a_block_are_not_lost() -> None:
    model = _block()
    model[0].conv_1x1.register_forward_hook(lambda module, given, out: 2 * out)  # type: ignore[operator, union-attr]
    with pytest.raises(Unsupported, match="would lose the hooks on 0: remove them"):
        rewrite(model, "reparameterize")


def test_statistics_that_still_change_are_not_folded() -> None:
    with pytest.raises(Unsupported, match=r"needs 0 in evaluation: call eval\(\)"):
        rewrite(_block().train(), "reparameterize")


def test_a_child_of_that_name_is_no_method() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model[0].fuse = nn.ReLU()
    (report,) = rewrite(model, "reparameterize").report  # type: ignore[misc, union-attr]
    assert (report.offered, report.fired) == (0, False)
    both = nn.Sequential(*_block(), *model)
    with pytest.raises(Unsupported, match="leave it out"):
        rewrite(both.eval(), "reparameterize")
