"""A reference's name says all that it is made from: one left by another run is never taken for it."""

from __future__ import annotations

import pytest

from tests.samples import case
from unetbench.measuring import artifacts, reference
from unetbench.records import REFERENCE, Case, Network


def test_other_photographs_inputs_or_networks_have_another_name() -> None:
    known = reference.name(case(), images="a", checked_inputs=1)
    assert reference.name(case(recipe="mnn/fp32"), images="a", checked_inputs=1) == known, "recipes share it"
    others = {
        reference.name(case(), images="b", checked_inputs=1),
        reference.name(case(), images="a", checked_inputs=16),
        reference.name(case("resnet34"), images="a", checked_inputs=1),
    }
    assert len(others | {known}) == 4


def test_what_builds_a_whole_network_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Case(
        network=Network(reference="smp.unet[resnet18]"),
        recipe=REFERENCE,
        height_px=64,
        width_px=64,
        threads=1,
    )
    known = [reference.name(each, images="a", checked_inputs=1) for each in (whole, case())]
    version = artifacts.machine.version
    monkeypatch.setattr(
        artifacts.machine, "version", lambda name: "changed" if "segmentation" in name else version(name)
    )
    now = [reference.name(each, images="a", checked_inputs=1) for each in (whole, case())]
    assert [a == b for a, b in zip(known, now, strict=True)] == [False, True]


def test_other_versions_and_other_code_have_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    known = reference.name(case(), images="a", checked_inputs=1)
    with monkeypatch.context() as patch:
        patch.setattr(artifacts.machine, "version", lambda package: "changed")
        assert reference.name(case(), images="a", checked_inputs=1) != known
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "sources", lambda runtimes: "changed")
        assert reference.name(case(), images="a", checked_inputs=1) != known
