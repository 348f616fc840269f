"""Any timm model with a pyramid: levels by its own word, not by its name."""

from __future__ import annotations

import pytest
import torch

from unetbench.errors import Unsupported
from unetbench.networks.encoder import Encoder

SHAPES = {
    "test_resnet": (2, 4, 8, 16, 32),
    "edgenext_x_small": (4, 8, 16, 32),  # asking it for five levels raises
    "convnext_atto": (4, 8, 16, 32),
    "vgg11": (2, 4, 8, 16, 32),  # has six, from stride 1
    "lcnet_050": (2, 4, 8, 16, 32),
}


@pytest.mark.parametrize(("name", "strides"), SHAPES.items())
def test_channels_and_strides_are_those_of_the_features(name: str, strides: tuple[int, ...]) -> None:
    encoder = Encoder(name).eval()
    assert encoder.strides == strides
    with torch.inference_mode():
        features = encoder(torch.randn(1, 3, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.channels, strides, strict=True)
    ]


def test_a_model_for_one_size_is_built_for_that_size_and_its_maps_are_channels_first() -> None:
    encoder = Encoder("swin_tiny_patch4_window7_224", image_size=(97, 65)).eval()
    assert encoder.fixed_size == (128, 96)
    with torch.inference_mode():
        finest = encoder(torch.randn(1, 3, 128, 96))[0]
    assert finest.shape == (1, 96, 32, 24)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_input_channels(channels: int) -> None:
    encoder = Encoder("test_resnet", in_channels=channels).eval()
    with torch.inference_mode():
        assert len(encoder(torch.randn(1, channels, 32, 32))) == 5


def test_a_flat_model_is_refused_in_one_line() -> None:
    with pytest.raises(
        Unsupported, match=r"^encoder vit_tiny_patch16_224 gives no pyramid.*16.*choose[^\n]*$"
    ):
        Encoder("vit_tiny_patch16_224")


def test_weights_follow_the_seed_and_leave_the_callers_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (Encoder("test_resnet", seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
