"""Every decoder that discovery finds keeps the contract; a new file is tested with no edit here."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from unetbench import Network, parts

# Channels, strides and the maps' sizes of an image of whole cells, finest first.
PYRAMIDS = {
    "five levels": ((8, 8, 16, 16, 24), (2, 4, 8, 16, 32), ((32, 48), (16, 24), (8, 12), (4, 6), (2, 3))),
    "four levels": ((8, 16, 24, 32), (4, 8, 16, 32), ((16, 24), (8, 12), (4, 6), (2, 3))),
    "the widest is not the deepest": ((8, 40, 12), (8, 16, 32), ((8, 12), (4, 6), (2, 3))),
    "an odd patch": ((8, 12, 12), (7, 14, 28), ((16, 12), (8, 6), (4, 3))),
    "a third": ((8, 12, 12, 12), (3, 6, 12, 24), ((16, 24), (8, 12), (4, 6), (2, 3))),
    "a stride twice": ((6, 8, 12, 12, 12), (2, 2, 4, 8, 16), ((32, 48), (32, 48), (16, 24), (8, 12), (4, 6))),
    "a level missing": ((8, 16, 24), (4, 16, 32), ((16, 24), (4, 6), (2, 3))),
    "two levels, deep": ((8, 12), (32, 64), ((4, 2), (2, 1))),
    "one channel": ((1, 1, 1, 1, 1), (2, 4, 8, 16, 32), ((32, 48), (16, 24), (8, 12), (4, 6), (2, 3))),
}
# The maps of inception_v3, whose convolutions are not padded, from an image of 96 × 128.
RAGGED = ((8, 8, 16, 16, 24), (2, 4, 8, 16, 32), ((45, 61), (20, 28), (9, 13), (4, 6), (1, 2)))

decoders = pytest.mark.parametrize("name", parts.names("decoder"))
pyramids = pytest.mark.parametrize("pyramid", PYRAMIDS.values(), ids=PYRAMIDS)


def _decoder(name: str, pyramid: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    channels, strides, _ = pyramid
    return parts.find("decoder", name).module().Decoder(channels, strides, **options)


def _features(pyramid: Any, batch: int = 2) -> list[Tensor]:
    torch.manual_seed(1)
    channels, _, sizes = pyramid
    return [torch.randn(batch, channel, *size) for channel, size in zip(channels, sizes, strict=True)]


@decoders
@pyramids
@torch.no_grad()
def test_a_pyramid_becomes_one_map(name: str, pyramid: Any) -> None:
    decoder = _decoder(name, pyramid).eval()
    out = decoder(_features(pyramid))
    stride = decoder.out_stride
    assert isinstance(decoder.out_channels, int)
    rows, columns = (side * pyramid[1][0] for side in pyramid[2][0])
    assert out.shape == (2, decoder.out_channels, rows / stride, columns / stride)
    assert out.isfinite().all()


@decoders
@torch.no_grad()
def test_maps_short_of_half_the_next_finer_one_still_become_one(name: str) -> None:
    decoder = _decoder(name, RAGGED).eval()
    out = decoder(_features(RAGGED))
    assert out.shape[:2] == (2, decoder.out_channels)
    for side, finest, whole in zip(out.shape[2:], RAGGED[2][0], (96, 128), strict=True):
        assert finest * 2 // decoder.out_stride <= side <= whole // decoder.out_stride
    assert out.isfinite().all()


@decoders
@pyramids
def test_every_parameter_is_trained_and_the_deepest_level_used(name: str, pyramid: Any) -> None:
    decoder = _decoder(name, pyramid)
    features = [feature.requires_grad_() for feature in _features(pyramid)]
    decoder(features).square().sum().backward()
    for label, parameter in decoder.named_parameters():
        assert parameter.grad is not None, f"{label} is not used"
        assert parameter.grad.isfinite().all()
    deepest = features[-1].grad
    assert deepest is not None
    assert deepest.any()


@decoders
@pyramids
@torch.no_grad()
def test_it_leaves_the_features_alone(name: str, pyramid: Any) -> None:
    features = _features(pyramid)
    before = [feature.clone() for feature in features]
    _decoder(name, pyramid).eval()(features)
    assert all(torch.equal(a, b) for a, b in zip(features, before, strict=True))


@decoders
@torch.no_grad()
def test_it_computes_in_the_precision_of_its_weights(name: str) -> None:
    pyramid = PYRAMIDS["five levels"]
    decoder = _decoder(name, pyramid).double().eval()
    assert decoder([feature.double() for feature in _features(pyramid)]).dtype == torch.float64


@decoders
@torch.no_grad()
def test_a_copy_and_an_exported_program_answer_the_same(name: str) -> None:
    pyramid = PYRAMIDS["five levels"]
    decoder, features = _decoder(name, pyramid).eval(), _features(pyramid)
    expected = decoder(features)
    assert torch.equal(deepcopy(decoder)(features), expected)
    exported = torch.export.export(decoder, (features,)).module()
    torch.testing.assert_close(exported(features), expected)


@decoders
@torch.no_grad()
def test_in_a_network_every_part_of_the_image_has_logits_of_its_own(name: str) -> None:
    model = Network("test_efficientnet", decoder=name, classes=2).build()
    torch.manual_seed(2)
    logits = model(torch.randn(1, 3, 64, 96))
    assert logits.shape == (1, 2, 64, 96)
    for corner in (logits[..., 32:, :48], logits[..., :32, 48:], logits[..., 32:, 48:]):
        assert corner.std(dim=2).min() > 0, "rows are not copies of each other"
        assert corner.std(dim=3).min() > 0, "nor are columns"


@decoders
def test_the_listing_has_a_line_for_it(name: str) -> None:
    assert parts.find("decoder", name).summary.endswith(".")
