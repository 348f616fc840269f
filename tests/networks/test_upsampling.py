"""The U-Net's ways of upsampling, and that with one of them it is segmentation_models_pytorch's U-Net."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch
import torch
from torch import Tensor, nn

from unetbench import Network
from unetbench.measuring.parity import relative_error
from unetbench.networks.decoders.unet import Decoder, Stage

RESIZED = ("nearest", "bilinear")
CHANNELS, STRIDES = (8, 8, 16, 24, 40), (2, 4, 8, 16, 32)


def _parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize("upsampling", RESIZED)
def test_a_resized_unet_has_a_pointwise_convolution_in_the_place_of_each_up_convolution(
    upsampling: str,
) -> None:
    plain, resized = Decoder(CHANNELS, STRIDES), Decoder(CHANNELS, STRIDES, upsampling=upsampling)
    ups = [stage.up for stage in plain.stages] + [plain.up]
    saved = sum(3 * up.in_channels * up.out_channels + up.out_channels for up in ups)  # type: ignore[operator, union-attr]
    assert _parameters(plain) - _parameters(resized) == saved
    assert not [each for each in resized.modules() if isinstance(each, nn.ConvTranspose2d)]


@pytest.mark.parametrize("upsampling", RESIZED)
@torch.no_grad()
def test_a_pointwise_convolution_commutes_with_the_resizing(upsampling: str) -> None:
    stage = Stage(6, 0, 4, upsampling=upsampling)
    convolution, resize = stage.up  # type: ignore[misc]
    below = torch.randn(1, 6, 5, 7)
    torch.testing.assert_close(stage.up(below), convolution(resize(below)))


def test_the_default_is_the_up_convolution_with_the_names_that_checkpoints_have() -> None:
    assert Decoder(CHANNELS, STRIDES).state_dict().keys() == (
        Decoder(CHANNELS, STRIDES, upsampling="transposed").state_dict().keys()
    )
    assert Network("test_resnet").build().state_dict().keys() == (
        Network("test_resnet", decoder="unet[upsampling=transposed]").build().state_dict().keys()
    )


@pytest.mark.parametrize("upsampling", RESIZED)
@torch.inference_mode()
def test_it_is_the_unet_of_smp(upsampling: str) -> None:
    """With our weights, mapped, their network gives our logits."""
    network = Network("test_resnet", decoder=f"unet[upsampling={upsampling}]", classes=2)
    ours: Any = network.build().double()
    widths = [stage.convolutions[0].out_channels for stage in ours.decoder.stages]
    widths.append(widths[-1])  # theirs has a block of its own at full resolution
    theirs: Any = segmentation_models_pytorch.Unet(
        "tu-test_resnet",
        encoder_weights=None,
        classes=2,
        decoder_channels=widths,
        decoder_interpolation=upsampling,
    )
    theirs = theirs.double().eval()
    theirs.encoder.model.load_state_dict(ours.encoder.backbone.state_dict())
    for stage, block in zip(ours.decoder.stages, theirs.decoder.blocks, strict=False):
        _map_stage(stage, block)
    last = theirs.decoder.blocks[-1]
    for half in (last.conv1, last.conv2):
        _become_identity(half)
    head = ours.head.weight[:, :, 0, 0] @ ours.decoder.up[0].weight[:, :, 0, 0]
    theirs.segmentation_head[0].weight.zero_()
    theirs.segmentation_head[0].weight[:, :, 1, 1] = head
    theirs.segmentation_head[0].bias.copy_(ours.head.bias)
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    assert relative_error(theirs(image).numpy(), ours(image).numpy()) <= 1e-12


def _map_stage(stage: Any, block: Any) -> None:
    """Theirs has no convolution before the first: ours is multiplied into it."""
    first, norm, _, second, second_norm, _ = stage.convolutions
    pointwise = stage.up[0].weight[:, :, 0, 0]  # (width, in)
    middle = len(pointwise)
    weight: Tensor = torch.einsum("omyx,mi->oiyx", first.weight[:, :middle], pointwise)
    block.conv1[0].weight.copy_(torch.cat([weight, first.weight[:, middle:]], dim=1))
    block.conv2[0].weight.copy_(second.weight)
    block.conv1[1].load_state_dict(norm.state_dict())
    block.conv2[1].load_state_dict(second_norm.state_dict())


def _become_identity(half: Any) -> None:
    """On what is not negative, as what comes from a ReLU and is resized."""
    nn.init.dirac_(half[0].weight)
    half[0].weight.mul_((1 + half[1].eps) ** 0.5)
