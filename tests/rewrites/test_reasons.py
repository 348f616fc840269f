"""Why a rewrite found nothing to do: what it says is true of the network."""

from __future__ import annotations

from functools import cache

import pytest
from torch import nn

from unetbench import Network, rewrite

CASES = [
    (
        "test_resnet",
        "unet",
        ["reparameterize"],
        "no module of it offers fuse, reparameterize, switch_to_deploy",
    ),
    ("test_convnext", "unet", ["fold_batchnorm"] * 2, "it has no batch norm"),
    (
        "test_resnet",
        "semantic_fpn",
        ["fold_upconv"],
        "that keeps the size by zeros reads what an up-convolution",
    ),
    ("test_resnet", "unet", ["fold_upsampling"], "in a U-Net's decoder, of this package or of smp, reads"),
    (
        "test_resnet",
        "unet[upsampling=nearest]",
        ["fold_upsampling"] * 2,
        "its upsamplings are folded already",
    ),
    ("test_resnet", "semantic_fpn", ["fold_head"], "no plain convolution whose map the head alone reads"),
    ("test_resnet", "unet", ["channels_last"] * 2, "lie so already"),
    ("test_resnet", "unet", ["fold_upconv[stages=all]"] * 2, "its stages are folded already"),
    ("test_resnet", "unet", ["fold_upconv[stages=1]"] * 2, "as many stages as asked for are folded already"),
]


@pytest.mark.parametrize(("encoder", "decoder", "names", "reason"), CASES)
def test_the_reason_is_that_of_this_network(
    encoder: str, decoder: str, names: list[str], reason: str
) -> None:
    model = rewrite(Network(encoder, decoder=decoder, image_size=(64, 64)).build(), *names)
    assert reason in model.report[-1].reason  # type: ignore[index, union-attr]


def test_batch_norms_that_cannot_be_folded_are_counted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    (report,) = rewrite(model, "fold_batchnorm").report  # type: ignore[misc]
    assert report.reason.startswith("none of its 1 batch norms can be folded")


@pytest.mark.parametrize("name", ["fold_upconv", "fold_upsampling", "channels_last"])
def test_a_network_of_volumes_is_asked_with_a_volume(name: str) -> None:
    (report,) = rewrite(_volumes(), name).report  # type: ignore[misc]
    assert (report.offered, bool(report.reason)) == (0, True)


@cache
def _volumes() -> nn.Module:
    return Network.parse("nnunet[dimensions=3]").build()
