"""Images of any size in, logits of the same size out; nothing interpolated; the U-Net as published."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unetbench import Network
from unetbench.errors import BadInput
from unetbench.networks import drawn
from unetbench.networks.decoders.unet import Decoder, Stage
from unetbench.networks.segmenter import grown

MODEL = Network("test_resnet", classes=2).build()  # strides 2 to 32, least side 32

SIDES = st.integers(32, 97)


@settings(max_examples=20, deadline=None, database=None)
@given(SIDES, SIDES, st.integers(1, 2))
@example(33, 97, 1)
@torch.inference_mode()
def test_any_size_gives_logits_of_that_size(height: int, width: int, batch: int) -> None:
    logits = MODEL(torch.randn(batch, 3, height, width))
    assert logits.shape == (batch, 2, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["edgenext_x_small", "convnext_atto", "vgg11", "densenet121"])
@torch.inference_mode()
def test_encoders_that_round_down_or_start_late_do_too(name: str) -> None:
    model = drawn(Network(name)).eval()
    for height, width in ((32, 33), (97, 65)):
        assert model(torch.randn(1, 3, height, width)).shape == (1, 1, height, width)


@torch.inference_mode()
def test_a_model_for_one_size_takes_that_size_unrounded_and_smaller_ones() -> None:
    model = Network("swin_tiny_patch4_window7_224", image_size=(60, 90)).build()
    for size in ((60, 90), (33, 90)):
        assert model(torch.randn(1, 3, *size)).shape == (1, 1, *size)
    with pytest.raises(BadInput, match=r"^[^\n]*up to 64×96 pixels[^\n]*image_size=\(65, 90\)"):
        model(torch.randn(1, 3, 65, 90))


# One of each form of pyramid: the tiny models that timm tests itself with, where there is one.
FORMS = {
    "test_vit": ((4, 8, 16, 32), 1),  # flat, patch 16
    "vit_small_patch14_dinov2": ((7, 14, 28), 1.75),
    "test_convnext": ((4, 8, 16, 32), 1),
    "test_mambaout": ((4, 8, 16, 32), 1),  # channels last
    "test_nfnet": ((2, 4, 8, 16, 32), 1),
    "test_maxvit": ((2, 4, 8, 16, 32), 1),  # built for one size
    "crossvit_tiny_240": ((12, 17), 1.5),
    "levit_128s": ((16, 32, 64), 1),
    "volo_d1_224": ((8, 16, 16, 16), 1),
}


@pytest.mark.parametrize(("name", "form"), FORMS.items())
@torch.inference_mode()
def test_every_form_of_pyramid_gives_logits_of_the_images_size(
    name: str, form: tuple[tuple[int, ...], float]
) -> None:
    model = Network(name, classes=2, image_size=(64, 96)).build()
    assert (model.encoder.strides, model.resized_by) == form
    assert ("resized bilinearly" in model.extra_repr()) == (form[1] != 1)
    for height, width in ((64, 96), (33, 47)):
        logits = model(torch.randn(1, 3, height, width))
        assert logits.shape == (1, 2, height, width)
        assert logits.isfinite().all()
        assert logits.std() > 0


@settings(max_examples=10, deadline=None, database=None)
@given(SIDES, SIDES)
@example(64, 96)
@torch.inference_mode()
def test_the_encoder_sees_the_image_and_zeros_up_to_the_next_whole_cell(height: int, width: int) -> None:
    image = torch.randn(1, 3, height, width)
    seen = _seen_by_the_encoder(image)
    rows, columns = seen.shape[-2:]
    assert rows in range(height, height + 32)
    assert columns in range(width, width + 32)
    assert (rows % 32, columns % 32) == (0, 0)
    assert torch.equal(seen[..., :height, :width], image), "top left, unscaled"
    assert seen.count_nonzero() == image.count_nonzero(), "all around it is zero"


@torch.inference_mode()
def test_logits_are_those_of_the_padded_image_cropped() -> None:
    image = torch.randn(1, 3, 50, 40)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :50, :40] = image
    assert torch.equal(MODEL(image), MODEL(padded)[..., :50, :40])


@torch.inference_mode()
def test_logits_are_the_heads_pixel_by_pixel() -> None:
    image = torch.randn(1, 3, 64, 64)
    expected = MODEL.head(MODEL.decoder(MODEL.encoder(image)))
    assert torch.equal(MODEL(image), expected)
    assert (MODEL.head.kernel_size, MODEL.head.bias is not None) == ((1, 1), True)


@torch.inference_mode()
def test_images_of_a_batch_do_not_touch_each_other() -> None:
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    exact = deepcopy(MODEL).double()
    both = exact(images)
    torch.testing.assert_close(both[:1], exact(images[:1]))
    torch.testing.assert_close(both[1:], exact(images[1:]))


@pytest.mark.parametrize("in_channels", [4, 13])
@torch.inference_mode()
def test_other_numbers_of_channels_from_end_to_end(in_channels: int) -> None:
    for name in ("test_efficientnet", "test_vit"):
        model = Network(name, in_channels=in_channels).build()
        image = torch.randn(1, in_channels, 64, 64)
        logits = model(image)
        assert logits.shape == (1, 1, 64, 64)
        image[:, -1] += 1.0
        assert not torch.equal(model(image), logits), "the last channel counts"


@pytest.mark.parametrize("classes", [1, 3, 21])
@torch.inference_mode()
def test_a_logit_for_each_class(classes: int) -> None:
    logits = Network("test_efficientnet", classes=classes).build()(torch.randn(1, 3, 33, 47))
    assert logits.shape == (1, classes, 33, 47)
    assert len({channel.numpy().tobytes() for channel in logits[0]}) == classes


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"in_channels": 0}])
def test_no_class_or_channel_is_no_network(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="at least 1"):
        Network("test_resnet", **wrong)  # type: ignore[arg-type]


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
        ((32, 32, 48, 192, 96), (192, 96, 48, 24)),  # the widest level is not the deepest
        ((8, 8, 8, 8, 9), (9, 4, 2, 1)),
    ],
)
def test_default_widths_are_fitted_to_the_widest_level(
    channels: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    assert _widths(Decoder(channels, (2, 4, 8, 16, 32))) == widths


@settings(max_examples=30, deadline=None, database=None)
@given(st.lists(st.integers(8, 700), min_size=4, max_size=5))
def test_the_rule_of_default_widths(channels: list[int]) -> None:
    m = max(channels)
    with torch.device("meta"):
        decoder = Decoder(channels, (2, 4, 8, 16, 32)[-len(channels) :])
    assert _widths(decoder) == (min(256, m), min(128, m // 2), min(64, m // 4), min(32, m // 8))


@given(st.lists(st.integers(2, 64), min_size=1, max_size=6).map(sorted))
def test_the_factors_lead_from_the_deepest_level_past_every_other_to_full_resolution(
    strides: list[int],
) -> None:
    with torch.device("meta"):
        decoder = Decoder([8] * len(strides), strides)
    at, met = float(strides[-1]), []
    for stage, skip in zip(decoder.stages, decoder._skip_indices, strict=True):
        assert 1 <= stage.factor <= 2  # type: ignore[operator]
        at /= stage.factor  # type: ignore[operator]
        if skip is not None:
            met.append(skip)
            assert at == pytest.approx(strides[skip])
    assert met == list(range(len(strides) - 2, -1, -1)), "every level is a skip once, the finest last"
    assert 1 <= decoder.out_stride < 2
    assert at == pytest.approx(decoder.out_stride * (2 if isinstance(decoder.up, nn.ConvTranspose2d) else 1))


@pytest.mark.parametrize(
    ("strides", "factors", "out_stride"),
    [
        ((4, 8, 16, 32), [2, 2, 2, 2], 1),
        ((7, 14, 28), [2, 2, 2, 2], 1.75),
        ((3, 6, 12, 24), [2, 2, 2, 2], 1.5),
        ((2, 2, 4, 8, 16), [2, 2, 2, 1], 1),
        ((8, 32), [2, 2, 2, 2], 1),
        ((12, 16), [16 / 12, 2, 2, 2], 1.5),
    ],
)
def test_the_factors_of_a_pyramid(strides: tuple[int, ...], factors: list[float], out_stride: float) -> None:
    decoder = Decoder([8] * len(strides), strides)
    assert [stage.factor for stage in decoder.stages] == factors
    assert decoder.out_stride == out_stride


@torch.inference_mode()
def test_levels_of_one_size_are_joined_as_they_are() -> None:
    stage = Stage(8, 4, 6, factor=1).eval()
    below, skip = torch.randn(1, 8, 5, 7), torch.randn(1, 4, 5, 7)
    assert torch.equal(stage(below, skip), stage.convolutions(torch.cat([below, skip], dim=1)))
    assert not stage.extra_repr()


@torch.inference_mode()
def test_where_the_ratio_is_no_power_of_two_the_map_is_resized_and_the_stage_says_so() -> None:
    stage = Stage(8, 4, 6, factor=1.5).eval()
    below, skip = torch.randn(1, 8, 4, 6), torch.randn(1, 4, 6, 9)
    resized = nn.functional.interpolate(below, scale_factor=1.5, mode="bilinear", align_corners=False)
    expected = stage.convolutions(torch.cat([resized, skip], dim=1))
    torch.testing.assert_close(stage(below, skip), expected)
    assert "1.5" in stage.extra_repr()


def test_a_stage_is_an_up_convolution_and_two_convolutions() -> None:
    stage = Stage(8, 4, 6)
    assert [type(module) for module in stage.convolutions] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    first, second = (module for module in stage.convolutions if isinstance(module, nn.Conv2d))
    assert (first.in_channels, first.out_channels) == (6 + 4, 6)
    assert (second.in_channels, second.out_channels) == (6, 6)
    for convolution in (first, second):
        assert (convolution.kernel_size, convolution.padding, convolution.stride) == ((3, 3), (1, 1), (1, 1))
        assert convolution.bias is None, "a batch norm follows"
    _assert_doubling(stage.up, 8, 6)


def test_a_decoder_is_four_stages_and_a_last_step_to_full_resolution() -> None:
    decoder = MODEL.decoder
    channels, widths = (96, 192, 48, 32, 32), (192, 96, 48, 24)  # the encoder's, deepest first
    assert len(decoder.stages) == 4
    below = channels[0]
    for stage, skip, width in zip(decoder.stages, channels[1:], widths, strict=True):
        _assert_doubling(stage.up, below, width)
        assert stage.convolutions[0].in_channels == width + skip
        below = width
    _assert_doubling(decoder.up, 24, 24)


@torch.inference_mode()
def test_a_stage_without_a_skip_concatenates_nothing() -> None:
    decoder = Decoder((40, 80, 160, 320), (4, 8, 16, 32)).eval()
    assert len(decoder.stages) == 4
    last = decoder.stages[-1]
    assert last.convolutions[0].in_channels == last.up.out_channels
    below = torch.randn(1, last.up.in_channels, 8, 8)
    assert torch.equal(last(below, None), last.convolutions(last.up(below)))


@torch.inference_mode()
def test_a_skip_is_concatenated_after_the_map_from_below() -> None:
    stage = Stage(8, 4, 6).eval()
    below, skip = torch.randn(1, 8, 5, 7), torch.randn(1, 4, 10, 14)
    assert torch.equal(stage(below, skip), stage.convolutions(torch.cat([stage.up(below), skip], dim=1)))


def test_widths_of_ones_own() -> None:
    model = Network("test_resnet", decoder_channels=(16, 12, 8, 4)).build()
    assert _widths(model.decoder) == (16, 12, 8, 4)
    assert model.decoder.out_channels == model.head.in_channels == 4


@pytest.mark.parametrize("widths", [(16, 8), (16, 8, 8, 4, 4)])
def test_widths_that_do_not_fit_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"^[^\n]*4 stages \(output strides 16, 8, 4, 2\)[^\n]*give 4 widths"):
        Network("test_resnet", decoder_channels=widths).build()


def _widths(decoder: nn.Module) -> tuple[int, ...]:
    return tuple(stage.convolutions[-3].out_channels for stage in decoder.stages)  # type: ignore[union-attr]


def _assert_doubling(up: nn.Module, in_channels: int, out_channels: int) -> None:
    assert isinstance(up, nn.ConvTranspose2d)
    assert (up.in_channels, up.out_channels) == (in_channels, out_channels)
    assert (up.kernel_size, up.stride, up.padding) == ((2, 2), (2, 2), (0, 0))
    assert up.bias is not None


def _seen_by_the_encoder(image: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = MODEL.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        MODEL(image)
    finally:
        hook.remove()
    (only,) = seen
    return only
