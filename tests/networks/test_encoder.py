"""Any timm model with a pyramid: levels by its own word, not by its name."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from unetbench import Network
from unetbench.networks.encoder import Encoder

PYRAMIDS = {
    "resnet18": ((64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    "test_resnet": ((32, 32, 48, 192, 96), (2, 4, 8, 16, 32)),  # the widest level is not the deepest
    "edgenext_x_small": ((32, 64, 100, 192), (4, 8, 16, 32)),  # asking it for five levels raises
    "convnext_atto": ((40, 80, 160, 320), (4, 8, 16, 32)),
    "vgg11": ((128, 256, 512, 512, 512), (2, 4, 8, 16, 32)),  # has six, from stride 1
    "lcnet_050": ((16, 32, 64, 128, 256), (2, 4, 8, 16, 32)),
}


@pytest.mark.parametrize(("name", "pyramid"), PYRAMIDS.items())
@torch.inference_mode()
def test_channels_and_strides_are_those_of_the_features(
    name: str, pyramid: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    encoder = Encoder(name).eval()
    assert (encoder.channels, encoder.strides) == pyramid
    features = encoder(torch.randn(2, 3, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [
        (2, channels, 64 // stride, 96 // stride) for channels, stride in zip(*pyramid, strict=True)
    ]


@torch.inference_mode()
def test_vgg_loses_its_full_resolution_level_and_no_other() -> None:
    with torch.device("meta"):
        levels = timm.create_model("vgg11", features_only=True).feature_info.reduction()
    assert levels == [1, 2, 4, 8, 16, 32]
    assert Encoder("vgg11").strides == tuple(levels[1:])


@torch.inference_mode()
def test_a_model_for_one_size_is_built_for_that_size_and_its_maps_are_channels_first() -> None:
    encoder = Encoder("swin_tiny_patch4_window7_224", image_size=(60, 90)).eval()
    assert encoder.fixed_size == (64, 96), "rounded up to whole cells"
    images = torch.randn(1, 3, 64, 96)
    features = encoder(images)
    assert [tuple(feature.shape) for feature in features] == [
        (1, 96, 16, 24),
        (1, 192, 8, 12),
        (1, 384, 4, 6),
        (1, 768, 2, 3),
    ]
    for feature, own in zip(features, encoder.backbone(images), strict=True):
        assert torch.equal(feature, own.movedim(-1, 1))
        assert feature.is_contiguous()


def test_other_models_are_built_for_no_size() -> None:
    assert Encoder("test_resnet", image_size=(60, 90)).fixed_size is None


@torch.inference_mode()
def test_unpadded_convolutions_need_more_and_the_network_pads_to_it() -> None:
    model = Network("inception_v3").build()
    least = model.encoder.least_side_px
    assert least == 96
    assert len(model.encoder(torch.randn(1, 3, least, least))) == 5
    small = torch.randn(1, 3, 32, 32)
    with pytest.raises(RuntimeError, match="Kernel size"):
        model.encoder(small)
    logits = model(small)
    assert logits.shape == (1, 1, 32, 32)
    assert logits.isfinite().all()
    assert Encoder("test_resnet").least_side_px == 32


@pytest.mark.parametrize("channels", [1, 4, 13])
@torch.inference_mode()
def test_other_numbers_of_input_channels(channels: int) -> None:
    encoder = Encoder("test_resnet", in_channels=channels).eval()
    assert _first_convolution(encoder).in_channels == encoder.in_channels == channels
    image = torch.randn(1, channels, 32, 32)
    deepest = encoder(image)[-1]
    image[:, -1] += 1.0
    assert not torch.equal(encoder(image)[-1], deepest), "the last channel counts"


FLAT = {  # the model's own stride, the levels' channels and strides, the size for an image of 56 × 96
    "test_vit": (16, (16, 32, 64, 64), (4, 8, 16, 32), (64, 96)),
    "test_vit_relpos": (16, (24, 48, 96, 96), (4, 8, 16, 32), (64, 96)),
    "vit_small_patch14_dinov2": (14, (192, 384, 384), (7, 14, 28), (56, 112)),
    "mixer_s32_224": (32, (128, 256, 512, 512), (8, 16, 32, 64), (64, 128)),
}


@pytest.mark.parametrize(("name", "facts"), FLAT.items())
@torch.inference_mode()
def test_a_flat_model_gets_a_pyramid(name: str, facts: Any) -> None:
    patch, channels, strides, size = facts
    encoder = Encoder(name, image_size=(56, 96)).eval()
    assert (encoder.flat_stride, encoder.channels, encoder.strides) == (patch, channels, strides)
    assert encoder.fixed_size == encoder.padded(56, 96) == size
    assert [tuple(each.shape) for each in encoder(torch.randn(2, 3, *size))] == [
        (2, width, size[0] // stride, size[1] // stride)
        for width, stride in zip(channels, strides, strict=True)
    ]


def test_weights_follow_the_seed_and_leave_the_callers_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (Encoder("test_resnet", seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name, value in first.items() if value.ndim == 4]  # kernels
    assert drawn
    assert all(not torch.equal(first[name], other[name]) for name in drawn)


def _first_convolution(encoder: Encoder) -> nn.Conv2d:
    return next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))


@torch.inference_mode()
def test_features_are_those_of_timm() -> None:
    """The wrapper chooses levels; it computes nothing of its own."""
    encoder = Encoder("test_resnet").eval()
    whole = timm.create_model("test_resnet", features_only=True).eval()
    whole.load_state_dict(encoder.backbone.state_dict())
    images = torch.randn(1, 3, 64, 64)
    expected: list[Tensor] = whole(images)
    assert all(torch.equal(a, b) for a, b in zip(encoder(images), expected, strict=True))
