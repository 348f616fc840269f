"""Each decoder is what its paper says, on any pyramid: levels, fusion, widths, nothing computed in vain."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench import Network, parts, rewrite
from unetbench.errors import BadInput
from unetbench.measuring.parity import relative_error
from unetbench.networks.decoders import semantic_fpn
from unetbench.networks.decoders._pyramid import TopDown, fpn_levels, sized_like

CHANNELS, STRIDES = (8, 8, 16, 24, 40), (2, 4, 8, 16, 32)
OURS = ("semantic_fpn", "panoptic_fpn", "segformer", "deeplab_v3plus", "unet_plusplus")

ours = pytest.mark.parametrize("name", OURS)


def _decoder(name: str, pyramid: tuple[Any, Any] = (CHANNELS, STRIDES), **options: Any) -> Any:
    torch.manual_seed(0)
    return parts.find("decoder", name).module().Decoder(*pyramid, **options).eval()


def _features(channels: Any, sizes: Any) -> list[Tensor]:
    return [torch.randn(1, each, *size) for each, size in zip(channels, sizes, strict=True)]


@ours
@settings(max_examples=12, deadline=None, database=None)
@given(st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=4), st.integers(1, 7), st.data())
@torch.no_grad()
def test_any_pyramid_becomes_a_map_of_the_size_of_its_finest_level_used(
    name: str, ratios: list[int], first: int, data: Any
) -> None:
    strides = [first]
    for ratio in ratios:
        strides.append(strides[-1] * ratio)
    decoder = _decoder(name, ([4] * len(strides), strides))
    # Maps are a pixel off what their strides say, as those of encoders that round.
    sizes = [tuple(max(1, 60 // stride + data.draw(st.integers(-1, 1))) for _ in "HW") for stride in strides]
    features = _features([4] * len(strides), sizes)
    finest = strides.index(decoder.out_stride)
    assert decoder(features).shape == (1, decoder.out_channels, *sizes[finest])


@pytest.mark.parametrize(
    ("strides", "levels"),
    [
        ((2, 4, 8, 16, 32), (1, 2, 3, 4)),
        ((4, 8, 16, 32), (0, 1, 2, 3)),
        ((1, 2, 4), (2,)),
        ((1, 2), (0, 1)),
        ((7, 14, 28), (0, 1, 2)),
    ],
)
def test_c2_to_c5_are_the_levels_of_stride_4_and_more(strides: Any, levels: Any) -> None:
    assert fpn_levels(strides) == levels


@torch.no_grad()
def test_the_top_down_path_adds_what_lies_above() -> None:
    path = TopDown((3, 5, 7), 4)
    features = _features((3, 5, 7), ((9, 12), (5, 6), (2, 3)))
    fine, middle, deep = path(features)
    assert torch.equal(deep, path.laterals[2](features[2]))
    expected = path.laterals[1](features[1]) + F.interpolate(deep, size=(5, 6), mode="nearest")
    assert torch.equal(middle, expected)
    assert torch.equal(
        fine, path.laterals[0](features[0]) + F.interpolate(middle, size=(9, 12), mode="nearest")
    )


def test_semantic_fpn_has_the_light_ones_modules_and_no_more() -> None:
    decoder = _decoder("semantic_fpn")
    kernels = [each.kernel_size for each in decoder.modules() if isinstance(each, nn.Conv2d)]
    assert sorted(kernels) == [(1, 1)] * 4 + [(3, 3)] * 2, "laterals; one smoothing, one convolution after it"
    laterals = sum(channels * 128 + 128 for channels in CHANNELS[1:])
    assert sum(each.numel() for each in decoder.parameters()) == laterals + 2 * 9 * 128**2 + 128 + 2 * 128
    assert (decoder.out_channels, decoder.out_stride) == (128, 4)


@ours
@torch.no_grad()
def test_nothing_is_computed_in_vain(name: str) -> None:
    decoder = _decoder(name)
    sizes = [(64 // stride, 64 // stride) for stride in STRIDES]
    seen: list[Tensor] = []
    handles = [
        each.register_forward_hook(lambda _, __, output: seen.append(output))
        for each in decoder.modules()
        if isinstance(each, nn.Conv2d)
    ]
    with torch.enable_grad():
        out = decoder([feature.requires_grad_() for feature in _features(CHANNELS, sizes)])
        for each in seen:
            each.retain_grad()
        out.square().sum().backward()
    for handle in handles:
        handle.remove()
    assert seen
    assert all(each.grad is not None and each.grad.any() for each in seen)


def test_panoptic_fpn_rises_from_every_level_as_figure_3_shows() -> None:
    decoder = _decoder("panoptic_fpn")
    assert [len(branch) for branch in decoder.branches] == [1, 1, 2, 3]
    assert [block[0].in_channels for branch in decoder.branches for block in branch] == [
        256, 256, 256, 128, 256, 128, 128,
    ]  # fmt: skip
    assert [each.num_groups for each in decoder.modules() if isinstance(each, nn.GroupNorm)] == [32] * 7
    batch = _decoder("panoptic_fpn", norm="batch", channels="96")
    assert not [each for each in batch.modules() if isinstance(each, nn.GroupNorm)]
    assert batch.out_channels == 96


@torch.no_grad()
def test_panoptic_fpn_adds_its_branches() -> None:
    decoder = _decoder("panoptic_fpn")
    features = _features(CHANNELS, [(64 // stride, 96 // stride) for stride in STRIDES])
    maps = decoder.pyramid(features[1:])
    expected = torch.zeros(1, 128, 16, 24)
    for height, branch in enumerate(decoder.branches):
        feature = decoder.smoothings[height](maps[height])
        for block in branch:
            feature = block(feature)
            if height:
                feature = F.interpolate(feature, scale_factor=2, mode="bilinear")
        expected += feature
    torch.testing.assert_close(decoder(features), expected)


def test_unet_plusplus_has_the_papers_nodes() -> None:
    decoder = _decoder("unet_plusplus")
    assert [len(column) for column in decoder.columns] == [4, 3, 2, 1]
    widths = (5, 10, 20, 40)  # of the finest to the coarsest level: at most the encoder's own scale
    inputs = [[node[0][0].in_channels for node in column] for column in decoder.columns]
    assert inputs[0] == [below + own for own, below in pairwise(CHANNELS)]
    assert inputs[1] == [CHANNELS[i] + widths[i] + widths[i + 1] for i in range(3)]
    assert inputs[3] == [CHANNELS[0] + 3 * widths[0] + widths[1]]


def test_unet_plusplus_takes_widths_coarsest_first() -> None:
    decoder = _decoder("unet_plusplus", decoder_channels=(32, 16, 8, 4))
    assert decoder.out_channels == 4
    with pytest.raises(BadInput, match="give 4 widths"):
        _decoder("unet_plusplus", decoder_channels=(32, 16))


@pytest.mark.parametrize("name", OURS[:-1])
def test_a_decoder_with_one_width_says_so(name: str) -> None:
    assert _decoder(name, channels="48").out_channels == 48
    with pytest.raises(BadInput, match=rf"write {name}\[channels=64\]"):
        _decoder(name, decoder_channels=(64, 32))


def test_deeplabs_rates_see_as_far_at_stride_32() -> None:
    rates = [
        each.dilation for each in _decoder("deeplab_v3plus").pooling.modules()
        if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)
    ]  # fmt: skip
    assert rates == [(3, 3), (6, 6), (9, 9)]


@torch.no_grad()
def test_a_map_of_the_right_size_is_left_as_it_is() -> None:
    feature = torch.randn(1, 2, 3, 4)
    assert sized_like(feature, torch.empty(1, 9, 3, 4)) is feature


@ours
@torch.inference_mode()
def test_in_a_network_logits_have_the_images_size_and_fold_exactly(name: str) -> None:
    model = Network("test_resnet", decoder=name, classes=3).build().double()
    image = torch.randn(1, 3, 70, 41, dtype=torch.float64)
    logits = model(image)
    assert logits.shape == (1, 3, 70, 41)
    fast = rewrite(model, "reparameterize", "fold_batchnorm", "fold_head", shape=(1, 3, 70, 41))
    assert relative_error(logits.numpy(), fast(image).numpy()) <= 1e-10
    norms = [each for each in fast.decoder.modules() if isinstance(each, nn.BatchNorm2d)]  # type: ignore[union-attr]
    assert not norms, "every batch norm of these decoders follows a convolution"


@torch.inference_mode()
def test_logits_of_stride_4_are_resized_as_they_are() -> None:
    model = Network("test_resnet", decoder="semantic_fpn", classes=2).build()
    image = torch.randn(1, 3, 64, 96)
    coarse = model.head(model.decoder(model.encoder(image)))  # type: ignore[union-attr, operator]
    assert coarse.shape == (1, 2, 16, 24)
    torch.testing.assert_close(model(image), F.interpolate(coarse, size=(64, 96), mode="bilinear"))


def test_options_of_a_decoder_come_from_its_name() -> None:
    model = Network("test_resnet", decoder="semantic_fpn[channels=48]").build()
    assert isinstance(model.decoder, semantic_fpn.Decoder)
    assert model.decoder.out_channels == 48
    with pytest.raises(BadInput, match="did you mean channels"):
        Network("test_resnet", decoder="semantic_fpn[chanels=48]").build()
