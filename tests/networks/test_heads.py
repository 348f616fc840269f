"""The head of a whole network is found by what it does, and only then changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetbench.networks.heads import balance_whole


class _Sum(nn.Module):
    """Two heads whose sum the logits are, at half the size, as LR-ASPP has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.one, self.other = nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        feature = self.stem(F.avg_pool2d(images, 2)).relu()
        return F.interpolate(self.one(feature) + self.other(feature), scale_factor=2.0, mode="bilinear")


class _Square(nn.Module):
    """No scale of a head passes through."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images).square()


def _images() -> Tensor:
    return torch.randn(4, 3, 16, 16) + torch.randn(4, 3, 1, 1)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)),
        nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Upsample(scale_factor=2)),
        _Sum(),
    ],
    ids=["a head", "two with as many outputs", "a sum of two"],
)
@torch.no_grad()
def test_logits_are_balanced(model: nn.Module) -> None:
    torch.manual_seed(0)
    images = _images()
    assert balance_whole(model, images)
    logits = model(images)
    assert 0.9 < logits.std(dim=(0, 2, 3)).min() <= logits.std(dim=(0, 2, 3)).max() < 1.1
    share = (logits.argmax(1) == 0).float().mean()
    assert 0.1 <= share <= 0.9


@torch.no_grad()
def test_the_mask_of_one_class_is_half_of_the_pixels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1))
    images = _images()
    assert balance_whole(model, images)
    assert (model(images) > 0).float().mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("model", [_Square(), nn.Conv2d(3, 2, 1, bias=False)], ids=["no scale", "no bias"])
@torch.no_grad()
def test_where_it_is_not_found_nothing_changes(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not balance_whole(model, _images())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
