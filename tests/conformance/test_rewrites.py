"""Every rewrite that discovery finds leaves the function the same, as exactly as it promises."""

from __future__ import annotations

import pytest
import torch

from unetbench import Network, parts, rewrite
from unetbench.measuring.parity import relative_error

# Encoders with something to rewrite, and one without.
ENCODERS = ("mobileone_s0", "repvgg_a0", "repghostnet_050", "test_byobnet", "test_resnet")


@pytest.mark.parametrize("name", parts.names("rewrite"))
@pytest.mark.parametrize("encoder", ENCODERS)
@torch.inference_mode()
def test_the_function_stays_the_same_and_the_given_network_untouched(name: str, encoder: str) -> None:
    model = Network(encoder, classes=2).build().double()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = model(image)
    count = sum(1 for _ in model.modules())
    fast = rewrite(model, name)
    error = relative_error(expected.numpy(), fast(image).numpy())
    assert error <= parts.find("rewrite", name).module().TOLERANCE
    assert sum(1 for _ in model.modules()) == count
    assert torch.equal(model(image), expected)
    assert not hasattr(model, "report")


@pytest.mark.parametrize("name", parts.names("rewrite"))
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_report_counts_truly_and_a_second_time_there_is_nothing_to_do(name: str, encoder: str) -> None:
    model = Network(encoder).build()
    fast = rewrite(model, name)
    (report,) = fast.report  # type: ignore[misc]
    assert report.rewrite == name
    assert report.modules_before == sum(1 for _ in model.modules())
    assert report.modules_after == sum(1 for _ in fast.modules())
    assert report.parameters_before == sum(each.numel() for each in model.parameters())
    assert report.parameters_after == sum(each.numel() for each in fast.parameters())
    again = rewrite(fast, name).report  # type: ignore[index]
    assert len(again) == 2
    assert not again[1].fired


def test_reparameterize_fires_where_there_are_branches_and_only_there() -> None:
    fired = {}
    for encoder in ("mobileone_s0", "repvgg_a0", "test_resnet"):
        (report,) = rewrite(Network(encoder).build(), "reparameterize").report  # type: ignore[misc]
        fired[encoder] = (report.fired, report.parameters_before - report.parameters_after > 0)
    assert fired == {"mobileone_s0": (True, True), "repvgg_a0": (True, True), "test_resnet": (False, False)}
