"""Parameters of whole networks with one class, re-parametrised, are exactly those published."""

from __future__ import annotations

import pytest

from unetbench import Network, rewrite
from unetbench.networks import drawn
from unetbench.rewrites._ghost import parameters

PUBLISHED = {
    "mobilenetv3_small_100": (3_414_209, 927_008),
    "mobilenetv4_conv_small": (4_312_577, 1_261_664),
    "mobileone_s0": (4_626_145, 1_053_504),
    "repvgg_a0": (10_678_849, 7_028_384),
    "ghostnetv2_100": (2_187_209, 1_246_948),
    "densenet121": (12_862_753, 6_953_856),
    "resnet18": (14_238_689, 11_176_512),
    "resnet50": (30_465_505, 23_508_032),
}


@pytest.mark.parametrize(("name", "counts"), PUBLISHED.items())
def test_parameters(name: str, counts: tuple[int, int]) -> None:
    model = rewrite(drawn(Network(name)).eval(), "reparameterize")
    assert (parameters(model), parameters(model.encoder)) == counts  # type: ignore[arg-type]
