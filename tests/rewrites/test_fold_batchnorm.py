"""Folding batch norms: exact for every kind of convolution, and only where nothing else reads its output."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, Conv2dSame, ScaledStdConv2d
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.rewrites.pieces import CHANNELS, FP64, SEEDS, assert_same, error, train
from unetbench import Network, rewrite
from unetbench.errors import Unsupported
from unetbench.networks import drawn
from unetbench.rewrites import fold_batchnorm


def _folded(model: nn.Module) -> nn.Module:
    return rewrite(model, "fold_batchnorm")


def _norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class _OneKernelTwice(nn.Module):
    """Branches of several dilations that share a kernel: the second takes the weight, not the module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.near, self.far = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        far = nn.functional.conv2d(images, self.conv.weight, padding=2, dilation=2)
        answer: Tensor = self.near(self.conv(images)) + self.far(far)
        return answer


def test_a_weight_that_something_else_takes_too_is_not_scaled() -> None:
    torch.manual_seed(0)
    model = train(_OneKernelTwice())
    images = torch.randn(2, 3, 16, 16)
    folded = _folded(model)
    assert_same(model, folded, images)
    assert _norms(folded) == 2


@settings(deadline=None)
@given(
    seed=SEEDS, groups=st.integers(1, 3), inputs=CHANNELS, outputs=CHANNELS, kernel=st.integers(1, 3),
    stride=st.integers(1, 2), bias=st.booleans(), affine=st.booleans(), shifts=st.booleans(), transposed=st.booleans(),
    dilation=st.integers(1, 2), padding=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
)  # fmt: skip
def test_every_convolution_keeps_its_function(
    seed: int, groups: int, inputs: int, outputs: int, kernel: int, stride: int, bias: bool, affine: bool,
    shifts: bool, transposed: bool, dilation: int, padding: str,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(
        groups * inputs,
        groups * outputs,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=bias,
        dilation=dilation,
        padding_mode="zeros" if transposed else padding,  # the only one of transposed convolutions
    )
    norm = nn.BatchNorm2d(groups * outputs, affine=affine)
    if not shifts:
        norm.bias = None  # as `bias=False` of newer torch leaves it
    model = train(
        nn.Sequential(nn.Conv2d(groups * inputs, groups * inputs, 1), nn.ReLU(), layer, norm, nn.ReLU6())
    )
    images = torch.randn(2, groups * inputs, 9, 7)
    folded = _folded(model)
    assert_same(model, folded, images)
    doubled = deepcopy(model).double()
    assert error(doubled(images.double()), _folded(doubled)(images.double())) <= FP64
    assert _norms(folded) == 0


def test_an_activation_that_is_part_of_the_norm_stays() -> None:
    torch.manual_seed(0)
    model = train(nn.Sequential(Conv2dSame(3, 8, 3, stride=2), BatchNormAct2d(8, act_layer=nn.Hardswish)))
    folded = _folded(model)
    assert_same(model, folded, torch.randn(1, 3, 15, 11))
    assert _norms(folded) == 0
    assert any(isinstance(module, nn.Hardswish) for module in folded.modules())


class _Shared(nn.Module):
    """A convolution whose output goes on beside the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        out = self.first(images)
        return self.norm(out) + out  # type: ignore[no-any-return]


class _Twice(nn.Module):
    """One norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(images))))  # type: ignore[no-any-return]


class _Tied(nn.Module):
    """Two convolutions of one weight, a norm behind the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.norm(self.first(images)).relu())  # type: ignore[no-any-return]


LEFT_ALONE = {
    "its output is read elsewhere": _Shared,
    "the norm runs twice": _Twice,
    "the weight is another's too": _Tied,
    "the weight is made anew at each run": lambda: nn.Sequential(ScaledStdConv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "the weight is parametrised": lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
    "an activation stands between": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)
    ),
    "the statistics are each batch's own": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
    ),
    "the norm comes first": lambda: nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)
    ),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_cannot_be_folded_exactly_is_left_alone(name: str) -> None:
    torch.manual_seed(1)
    model = train(LEFT_ALONE[name]())
    images = torch.randn(2, 3, 9, 8)
    with torch.inference_mode():
        expected = model(images)
        folded = _folded(model)
        torch.testing.assert_close(folded(images), expected)
    assert _norms(folded) == _norms(model) == 1


def test_a_norm_in_training_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    assert fold_batchnorm.offered(model) == 0


class _Returned(nn.Module):
    """The convolution's own output is an answer too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> list[Tensor]:
        out = self.first(images)
        return [out, self.norm(out)]


class _TwoNames(nn.Module):
    """One norm under two names, the second of which runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.again = self.norm

    def forward(self, images: Tensor) -> Tensor:
        return self.again(self.first(images))  # type: ignore[no-any-return]


class _ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(input=self.first(images))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [_Returned, _TwoNames, _ByKeyword])
def test_unusual_modules_are_left_alone(kind: type[nn.Module]) -> None:
    model = train(kind())
    assert fold_batchnorm.offered(model) == 0
    assert _norms(_folded(model)) == 1


def test_where_somebody_listens_nothing_is_folded() -> None:
    for index in (0, 1):
        model = train(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        model[index].register_forward_hook(lambda module, given, out: 2 * out)  # type: ignore[operator]
        images = torch.randn(1, 3, 8, 8)
        with torch.inference_mode():
            torch.testing.assert_close(_folded(model)(images), model(images))


def test_reparameterize_comes_before_it() -> None:
    model = drawn(Network("repvgg_a0")).eval()
    with pytest.raises(Unsupported, match="put it before fold_batchnorm"):
        rewrite(model, "fold_batchnorm", "reparameterize")
