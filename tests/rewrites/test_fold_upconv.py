"""Folding up-convolutions: exact to the last border pixel, in networks of this package and of others, or refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.rewrites.pieces import CHANNELS, FP64, SEEDS, assert_same, error, train
from unetbench import Network, rewrite
from unetbench.errors import Unsupported
from unetbench.networks import drawn
from unetbench.networks.decoders.unet import Stage
from unetbench.networks.references import unet_2015
from unetbench.networks.whole import Whole
from unetbench.rewrites import _upsampled
from unetbench.rewrites.fold_upconv import FoldedUpconvolution, offered


class _Plain(nn.Module):
    def __init__(self, up: nn.ConvTranspose2d, convolution: nn.Conv2d, at: int) -> None:
        super().__init__()
        self.up, self.convolution, self.at = up, convolution, at

    def forward(self, below: Tensor, rest: Tensor | None) -> Tensor:
        up = self.up(below)
        maps = [up] if rest is None else [rest[:, : self.at], up, rest[:, self.at :]]
        return self.convolution(torch.cat(maps, dim=1))  # type: ignore[no-any-return]


@settings(deadline=None)
@given(
    seed=SEEDS, width=CHANNELS, middle=CHANNELS, before=st.integers(0, 4), after=st.integers(0, 4), out=CHANNELS,
    height=st.integers(1, 6), columns=st.integers(1, 6), up_bias=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_both_forms_are_the_same_function(
    seed: int, width: int, middle: int, before: int, after: int, out: int, height: int, columns: int, up_bias: bool,
    bias: bool,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    up = nn.ConvTranspose2d(width, middle, 2, stride=2, bias=up_bias)
    convolution = nn.Conv2d(before + middle + after, out, 3, padding=1, bias=bias)
    below = torch.randn(2, width, height, columns)
    rest = torch.randn(2, before + after, 2 * height, 2 * columns) if before + after else None
    plain = _Plain(up, convolution, before)
    assert_same(plain, FoldedUpconvolution(up, convolution, before), below, rest)
    with torch.inference_mode():
        inputs = (below.double(), None if rest is None else rest.double())
        expected = plain.double()(*inputs)
        assert error(expected, FoldedUpconvolution(up, convolution, before)(*inputs)) <= FP64


@torch.inference_mode()
def test_the_frame_of_one_pixel_is_right_too() -> None:
    """A large bias of the up-convolution shows only there, where taps fall outside of the map."""
    torch.manual_seed(0)
    plain = _Plain(nn.ConvTranspose2d(4, 5, 2, stride=2), nn.Conv2d(8, 5, 3, padding=1), 0).double()
    assert plain.up.bias is not None
    plain.up.bias.fill_(100.0)
    folded = FoldedUpconvolution(plain.up, plain.convolution, 0)
    deep, fine = torch.randn(1, 4, 3, 4).double(), torch.randn(1, 3, 6, 8).double()
    expected = plain(deep, fine)
    wrong = (folded(deep, fine) - expected).abs() / expected.abs().max()
    assert wrong.max() < 1e-14
    assert folded.taps is not None
    folded.taps.zero_()
    missed = (folded(deep, fine) - expected).abs().amax(dim=(0, 1))
    assert missed.min() > 0, "the bias reaches every pixel, so that the assertion above can fail"


def test_an_up_convolution_without_bias_needs_no_map_that_knows_the_border() -> None:
    convolution = nn.Conv2d(8, 5, 3, padding=1)
    folded = FoldedUpconvolution(nn.ConvTranspose2d(4, 5, 2, stride=2, bias=False), convolution, 0)
    assert {name for name, _ in folded.named_parameters()} == {"up.weight", "rest.weight", "rest.bias"}


@torch.no_grad()
def test_inductor_compiles_a_folded_stage_to_the_same_function() -> None:
    torch.manual_seed(0)
    holder = _Holder(train(Stage(4, 3, 5)))
    holder.stage.up.bias.fill_(10.0)
    folded = rewrite(holder, "fold_upconv[stages=all]")
    assert folded.report[0].offered == 1  # type: ignore[index, union-attr]
    compiled = torch.compile(folded, fullgraph=True)
    assert_same(holder, compiled, torch.randn(1, 3, 12, 10))


class _Holder(nn.Module):
    """A network of one stage."""

    def __init__(self, stage: Any, below: int = 4) -> None:
        super().__init__()
        self.below = nn.Conv2d(3, below, 2, stride=2)
        self.stage = stage

    def forward(self, images: Tensor) -> Tensor:
        return self.stage(self.below(images), images)  # type: ignore[no-any-return]


def _nnunet(architecture: type[nn.Module], **blocks: Any) -> nn.Module:
    """One of nnU-Net's networks, of four stages, the last of which halves one side alone."""
    return Whole(
        architecture(
            input_channels=3, n_stages=4, features_per_stage=[4, 8, 16, 16], conv_op=nn.Conv2d,
            kernel_sizes=[[3, 3], [3, 3], [3, 3], [3, 3]], strides=[[1, 1], [2, 2], [2, 2], [2, 1]], num_classes=2,
            conv_bias=True, norm_op=nn.InstanceNorm2d, norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, n_conv_per_stage_decoder=[2, 2, 2], **blocks,
        ),
        in_channels=3, encoder="encoder", multiple_px=8, least_side_px=16,
    )  # fmt: skip


NETWORKS = {
    "unet": (lambda: Network("test_resnet", classes=1).build(), 4),
    "unet_2015": (lambda: Network.parse("unet_2015[padding=same]").build(), 4),
    "nnunet": (lambda: _nnunet(PlainConvUNet, n_conv_per_stage=1), 2),
    "nnunet, residual": (lambda: _nnunet(ResidualEncoderUNet, n_blocks_per_stage=1), 2),
}


@pytest.fixture
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unet_2015, "_WIDTHS", (4, 8, 16, 32, 64))


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_networks_keep_their_function_at_every_size(name: str) -> None:
    torch.manual_seed(0)
    build, stages = NETWORKS[name]
    with torch.inference_mode(False):
        model = train(build()).double()
        folded = rewrite(model, "fold_upconv", shape=(1, 3, 64, 64))
    (report,) = folded.report  # type: ignore[misc]
    assert (report.offered, report.remaining) == (stages, 0)
    assert report.flop_before is not None and report.flop_after is not None
    assert report.flop_after < report.flop_before
    for height, columns in ((32, 32), (22, 33)):
        images = torch.randn(2, 3, height, columns, dtype=torch.float64)
        assert error(model(images), folded(images)) <= FP64


def test_what_is_folded_can_be_pickled() -> None:
    folded = rewrite(_Holder(Stage(4, 3, 5)).eval(), "fold_upconv[stages=all]")
    images = torch.randn(1, 3, 8, 6)
    assert torch.equal(pickle.loads(pickle.dumps(folded))(images), folded(images))


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("name", ["unet_2015", "nnunet"])
@torch.inference_mode()
def test_a_folded_decoder_can_be_exported(name: str) -> None:
    with torch.inference_mode(False):
        folded = rewrite(NETWORKS[name][0](), "fold_upconv[stages=1]", "fold_upconv")
        images = torch.randn(1, 3, 32, 32)
        exported = torch.export.export(folded, (images,)).module()
    assert torch.allclose(exported(images), folded(images), atol=1e-6)


@pytest.mark.usefixtures("_narrow")
def test_what_is_left_of_a_decoder_can_be_folded_later() -> None:
    model = NETWORKS["unet_2015"][0]()
    folded = rewrite(model, "fold_upconv[stages=1]", "fold_upconv[stages=3]", "fold_upconv[stages=all]")
    reports: Any = folded.report
    assert [report.offered for report in reports] == [1, 2, 1]
    assert_same(model, folded, torch.randn(1, 3, 32, 32))


def test_flat_encoders_have_the_stages_of_others() -> None:
    """Their pyramids have up-convolutions of their own, whose maps are the skips."""
    model = Network("test_vit", classes=1, image_size=(64, 64)).build()
    assert offered(model, "all") == sum(isinstance(module, Stage) for module in model.modules()) == 4


def test_only_the_stages_asked_for_are_folded() -> None:
    assert offered(_Holder(Stage(15, 3, 5), below=15).eval()) == 0, (
        "from three times the width it costs as much"
    )
    assert offered(_Holder(Stage(14, 3, 5), below=14).eval()) == 1
    assert offered(_Holder(Stage(4, 3, 5)).eval(), "3") == 1, "no more than there are"
    model = drawn(Network("resnet18", classes=1)).eval()
    assert [offered(model, each) for each in ("all", "1", "2", "3")] == [4, 1, 2, 3]
    folded = rewrite(model, "fold_upconv[stages=2]")
    stages = folded.decoder.stages  # type: ignore[union-attr]
    assert [_has_folded(stage) for stage in stages] == [False, False, True, True]
    (report,) = folded.report  # type: ignore[misc]
    assert (report.offered, report.remaining) == (2, 0)


def _has_folded(stage: nn.Module) -> bool:
    return any(isinstance(module, FoldedUpconvolution) for module in stage.modules())


def test_maps_that_are_no_halves_of_each_other_are_refused_with_the_reason() -> None:
    model = drawn(Network("inception_v3", classes=1)).eval()
    with pytest.raises(Unsupported, match=r"no halves of each other; leave the rewrite out"):
        rewrite(model, "fold_upconv")
    folded = FoldedUpconvolution(nn.ConvTranspose2d(2, 2, 2, stride=2), nn.Conv2d(3, 4, 3, padding=1), 0)
    with pytest.raises(Unsupported, match=r"maps of \(8, 8\) and \(7, 8\) pixels exactly"):
        folded(torch.rand(1, 2, 4, 4), torch.rand(1, 1, 7, 8))


def test_what_is_built_otherwise_is_left_as_it_is() -> None:
    def holder() -> Any:
        return _Holder(Stage(4, 3, 5)).eval()

    assert offered(holder(), "all") == 1
    assert offered(holder().train(), "all") == 0
    for listened_to in ("stage", "stage.up", "stage.convolutions", "stage.convolutions.0"):
        model = holder()
        model.get_submodule(listened_to).register_forward_hook(lambda *_: None)
        assert offered(model, "all") == 0, listened_to
    for changes in (
        {"kernel_size": 4, "padding": 1},
        {"groups": 4},
        {"kernel_size": 1, "output_padding": 1},
        {"dilation": 2, "padding": 1, "output_padding": 1},
    ):
        model = holder()
        model.stage.up = nn.ConvTranspose2d(
            4, 4 if "groups" in changes else 5, **{"kernel_size": 2, "stride": 2, **changes}
        )
        model.stage.convolutions[0] = nn.Conv2d(model.stage.up.out_channels + 3, 5, 3, padding=1)
        assert model.eval()(torch.rand(1, 3, 8, 8)).shape == (1, 5, 8, 8)
        assert offered(model, "all") == 0, changes
    assert offered(_Holder(_Own()).eval(), "all") == 0, "its code was not read"


@pytest.mark.usefixtures("_narrow")
def test_convolutions_that_take_a_border_away_are_left_with_the_reason() -> None:
    (report,) = rewrite(Network.parse("unet_2015[padding=valid]").build(), "fold_upconv").report  # type: ignore[misc]
    assert report.reason.startswith(
        "no 3×3 convolution in a U-Net's decoder, of this package or of nnU-Net, that keeps"
    )


class _Own(nn.Module):
    """A stage as another package may have it."""

    def __init__(self, changed: bool = False) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.convolution = nn.Conv2d(8, 5, 3, padding=1)
        self.changed = changed

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        up = self.up(below)
        if self.changed:
            skip = self.up(below)[:, :3] + skip
        return self.convolution(torch.cat([skip, up], dim=1))  # type: ignore[no-any-return]


def test_hooks_that_a_copy_would_lose_are_refused() -> None:
    folded: Any = rewrite(_Holder(Stage(4, 3, 5)).eval(), "fold_upconv")
    folded.stage.register_forward_hook(lambda *_: None)
    with pytest.raises(Unsupported, match="would lose the hooks on stage"):
        rewrite(folded, "channels_last")


def test_an_up_convolution_that_runs_twice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_upsampled, "_READ", (f"{__name__}.",))
    assert offered(_Holder(_Own()).eval(), "all") == 1
    assert offered(_Holder(_Own(changed=True)).eval(), "all") == 0


def test_folding_draws_no_random_numbers_and_leaves_the_network_as_it_is() -> None:
    holder = _Holder(Stage(4, 3, 5)).eval()
    kinds = [type(module) for module in holder.modules()]
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    folded = rewrite(holder, "fold_upconv[stages=all]")
    assert torch.equal(torch.rand(1), expected)
    assert [type(module) for module in holder.modules()] == kinds
    assert_same(holder, folded, torch.randn(1, 3, 8, 6))
