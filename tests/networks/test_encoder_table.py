"""The shipped table of encoders says what is built: checks before a run, `list` and `advise` go by it."""

from __future__ import annotations

import pytest
import torch

from unetbench import encoders
from unetbench.networks.encoder import Encoder

# Of several families: usual pyramids, four levels, flat, channels last, one stride twice, stride 1 first.
NAMES = (
    "lcnet_050", "mobileone_s0", "edgenext_xx_small", "test_vit", "swin_tiny_patch4_window7_224", "hrnet_w18_small",
    "vgg11", "repvgg_a0", "tinynet_e", "darknet17",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_row_is_the_encoder_that_is_built(name: str) -> None:
    row = encoders.known()[name]
    with torch.device("meta"):
        built = Encoder(name, image_size=(512, 512))
    assert (built.strides, built.channels, built.flat_stride) == (row.strides, row.channels, row.flat_stride)
    assert sum(each.numel() for each in built.parameters()) == row.parameters
