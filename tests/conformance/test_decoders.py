"""Every decoder that discovery finds keeps the contract; a new file is tested with no edit here."""

from __future__ import annotations

import pytest
import torch

from unetbench import parts

PYRAMIDS = {
    "five levels": ((8, 8, 16, 16, 24), (2, 4, 8, 16, 32)),
    "four levels": ((8, 16, 24, 32), (4, 8, 16, 32)),
}


@pytest.mark.parametrize("name", parts.names("decoder"))
@pytest.mark.parametrize("pyramid", PYRAMIDS)
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
@torch.no_grad()
def test_a_pyramid_becomes_one_map(name: str, pyramid: str, size: tuple[int, int]) -> None:
    channels, strides = PYRAMIDS[pyramid]
    decoder = parts.find("decoder", name).module().Decoder(channels, strides).eval()
    features = [
        torch.randn(2, channel, size[0] // stride, size[1] // stride)
        for channel, stride in zip(channels, strides, strict=True)
    ]
    out = decoder(features)
    assert out.shape == (
        2,
        decoder.out_channels,
        size[0] // decoder.out_stride,
        size[1] // decoder.out_stride,
    )
    assert out.isfinite().all()


@pytest.mark.parametrize("name", parts.names("decoder"))
def test_every_parameter_is_used(name: str) -> None:
    channels, strides = PYRAMIDS["five levels"]
    decoder = parts.find("decoder", name).module().Decoder(channels, strides)
    features = [
        torch.randn(2, channel, 64 // stride, 64 // stride)
        for channel, stride in zip(channels, strides, strict=True)
    ]
    decoder(features).square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


@pytest.mark.parametrize("name", parts.names("decoder"))
def test_the_listing_has_a_line_for_it(name: str) -> None:
    assert parts.find("decoder", name).summary.endswith(".")
