"""Images of any size in, logits of the same size out; nothing interpolated; the U-Net as published."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unetbench import Network
from unetbench.errors import BadInput
from unetbench.networks.decoders.unet import Decoder, Stage
from unetbench.networks.segmenter import grown

MODEL = Network("test_resnet", classes=2).build()


@settings(max_examples=20, deadline=None)
@given(st.integers(32, 97), st.integers(32, 97), st.integers(1, 2))
@torch.inference_mode()
def test_any_size_gives_logits_of_that_size(height: int, width: int, batch: int) -> None:
    assert MODEL(torch.randn(batch, 3, height, width)).shape == (batch, 2, height, width)


@pytest.mark.parametrize(
    "name", ["edgenext_x_small", "convnext_atto", "vgg11", "densenet121", "inception_v3"]
)
@torch.inference_mode()
def test_encoders_that_round_down_or_start_late_do_too(name: str) -> None:
    model = Network(name).build()
    for height, width in ((32, 33), (97, 65)):
        assert model(torch.randn(1, 3, height, width)).shape == (1, 1, height, width)


@torch.inference_mode()
def test_padding_is_zeros_right_and_bottom_cropped_away_again() -> None:
    image = torch.randn(1, 3, 50, 40)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :50, :40] = image
    torch.testing.assert_close(MODEL(image), MODEL(padded)[..., :50, :40])


@torch.inference_mode()
def test_images_of_a_batch_do_not_touch_each_other() -> None:
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    exact = deepcopy(MODEL).double()
    torch.testing.assert_close(exact(images)[1:], exact(images[1:]))


def test_maps_grow_by_replication() -> None:
    small = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = torch.tensor([[[[1.0, 2.0, 2.0], [3.0, 4.0, 4.0], [3.0, 4.0, 4.0]]]])
    assert torch.equal(grown(small, 3, 3), expected)
    assert grown(small, 2, 1) is small


@pytest.mark.parametrize(
    ("channels", "widths"),
    [
        ((64, 64, 128, 256, 512), (256, 128, 64, 32)),
        ((16, 24, 40, 112, 160), (160, 80, 40, 20)),
        ((8, 8, 8, 8, 9), (9, 4, 2, 1)),
    ],
)
def test_default_widths_are_fitted_to_the_widest_level(
    channels: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    decoder = Decoder(channels, (2, 4, 8, 16, 32))
    assert tuple(stage.up.out_channels for stage in decoder.stages) == widths


def test_a_stage_is_an_up_convolution_and_two_convolutions() -> None:
    stage = Stage(8, 4, 6)
    assert (stage.up.kernel_size, stage.up.stride) == ((2, 2), (2, 2))
    assert stage.up.bias is not None
    kinds = [type(module) for module in stage.convolutions]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    first, second = (module for module in stage.convolutions if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.out_channels, second.in_channels) == (6 + 4, 6, 6)
    assert first.bias is None
    assert first.padding == (1, 1)


def test_a_stage_without_a_skip_concatenates_nothing() -> None:
    decoder = Decoder((40, 80, 160, 320), (4, 8, 16, 32))
    assert len(decoder.stages) == 4
    last = decoder.stages[-1]
    assert last.convolutions[0].in_channels == last.up.out_channels


def test_widths_of_ones_own() -> None:
    model = Network("test_resnet", decoder_channels=(16, 8, 8, 4)).build()
    assert model.decoder.out_channels == 4
    with pytest.raises(BadInput, match="give 4 positive widths"):
        Network("test_resnet", decoder_channels=(16, 8)).build()
