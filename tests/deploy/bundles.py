"""Bundles for tests: real networks of timm's tiny test encoders, converted in this process, once each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from tests.samples import machine, measurement, parity
from unetbench import Network, parts, photos
from unetbench.deploy import export
from unetbench.deploy.bundle import Bundle, opened
from unetbench.deploy.manifest import Card
from unetbench.measuring import artifacts, reference, single
from unetbench.networks import Segmenter
from unetbench.records import Case, Recipe
from unetbench.runtimes._chosen import of

SIDE = 64
CLASSES = 3
RUNTIMES = [
    name
    for name in parts.names("runtime")
    if "TRAVELS" in parts.find("runtime", name).constants and not parts.find("runtime", name).missing
]


def case(recipe: str = "onnxruntime/fp32", *, classes: int = CLASSES, in_channels: int = 3) -> Case:
    return Case(
        network=Network(
            "test_resnet", classes=classes, in_channels=in_channels, decoder_channels=(16, 16, 8, 8)
        ),
        recipe=Recipe.parse(recipe),
        height_px=SIDE,
        width_px=SIDE,
        threads=1,
    )


@cache
def _made(wanted: Case) -> Path:
    threads = torch.get_num_threads()
    try:
        return _make(wanted)
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


@cache
def _known(network: Network, height: int, width: int) -> tuple[Path, Segmenter]:
    """A network and its reference, which all recipes share."""
    known = Path(mkdtemp(prefix="unetbench-test-")) / "known"
    asked = replace(case(), network=network, height_px=height, width_px=width)
    reference.make(asked, known, photos.default_photos(), checked_inputs=1)
    return known, network.build()


def _make(wanted: Case) -> Path:
    root = Path(mkdtemp(prefix="unetbench-test-"))
    converted, artifact, bundle = (root / name for name in ("made", "artifact", "bundle"))
    known, network = _known(wanted.network, wanted.height_px, wanted.width_px)
    converted.mkdir()
    image = reference.images(known)[0]
    of(wanted.recipe).convert(
        network, (image,), precision=wanted.recipe.precision, threads=1, folder=converted
    )
    facts = {"parameters": 1, "encoder_parameters": 1, "flop": 1, "rewrites": [], "prepare_s": 1.0}
    facts |= {"import_s": 1.0, "build_s": 1.0, "rewrite_s": 0.0, "peak_build_bytes": 1}
    artifacts.seal(converted, artifact, facts)
    prepared = single.Prepared(reference=known, artifact=artifact)
    bundle.mkdir()
    export.write_files(bundle, wanted, prepared)
    eager = reference.answers(known)[1][0]
    found = measurement(1.0, parity=parity(eager_relative_error=eager), in_force={"threads": "1"})
    card = Card(measured_utc="2026-11-24T12:00:00+00:00", machine=machine(), measurement=found)
    export.write_manifest(bundle, wanted, prepared, found, card)
    return bundle


def folder(to: Path, wanted: Case | None = None) -> Path:
    """Return a bundle's folder of the test's own."""
    shutil.copytree(_made(wanted or case()), to / "bundle")
    return to / "bundle"


def shared(wanted: Case | None = None) -> Bundle:
    """Return a bundle that tests only read."""
    return opened(_made(wanted or case()))


@cache
def plain() -> Segmenter:
    """Return the network of those bundles as PyTorch has it."""
    return case().network.build()
