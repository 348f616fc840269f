"""A network cut into sections: together they are the network, and every runtime takes each of them."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unetbench import Network, parts
from unetbench.errors import Unsupported
from unetbench.measuring.parity import NEAR_ERROR, relative_error
from unetbench.networks import Segmenter
from unetbench.rewrites import _ghost, rewrite
from unetbench.runtimes._cuts import ENCODER, HEAD, SKIPS, UPS, Cut, cut

IMAGE = np.random.default_rng(0).normal(size=(1, 3, 70, 64)).astype(np.float32)
OTHER = np.random.default_rng(1).normal(size=(1, 3, 70, 64)).astype(np.float32)
REWRITES: list[tuple[str, ...]] = [
    (),
    ("fold_head",),
    ("reparameterize", "fold_batchnorm", "fold_head", "fold_upconv"),
    ("fold_upconv[stages=all]", "channels_last"),
]


@cache
def _model(*names: str) -> Segmenter:
    model = Network("test_byobnet", decoder_channels=(16, 16, 8, 8)).build()
    return rewrite(model, *names)  # type: ignore[return-value]


def _run(section: Cut, image: int = 0) -> tuple[Any, ...]:
    with torch.inference_mode():
        answer = section.module(*map(torch.from_numpy, section.inputs[image]))
    return (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)


@pytest.mark.parametrize("names", REWRITES, ids="+".join)
def test_what_one_part_answers_the_next_takes(names: tuple[str, ...]) -> None:
    model = _model(*names)
    encoder, ups, skips, head = cut(model, [(IMAGE,), (OTHER,)])
    assert [each.name for each in (encoder, ups, skips, head)] == [ENCODER, UPS, SKIPS, HEAD]
    for image, pixels in enumerate((IMAGE, OTHER)):
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixels)).numpy()
        assert np.allclose(_run(head, image)[0].numpy(), expected, atol=1e-5)
        features, raised, decoded = _run(encoder, image), _run(ups, image), _run(skips, image)
        # The deepest feature goes to an up-convolution alone, all others to the skips.
        fed = [each.numpy() for each in (*features, *raised)]
        for taken in skips.inputs[image]:
            assert any(each.shape == taken.shape and np.allclose(each, taken, atol=1e-5) for each in fed)
        # The head takes the last up-convolution's map, or, folded with it, what that took.
        last = decoded[0] if "fold_head" in names else raised[-1]
        assert np.allclose(last.numpy(), head.inputs[image][0], atol=1e-5)
        below = [each.numpy() for each in (features[-1], *decoded)]
        for taken in ups.inputs[image]:
            assert any(each.shape == taken.shape and np.allclose(each, taken, atol=1e-5) for each in below)


@pytest.mark.parametrize("names", REWRITES, ids="+".join)
def test_the_parts_have_all_the_networks_operations(names: tuple[str, ...]) -> None:
    model = _model(*names)
    whole = _ghost.counts(model, IMAGE.shape)
    counts = [_ghost.counts(e.module, *(a.shape for a in e.inputs[0])) for e in cut(model, [(IMAGE,)])]
    assert sum(each.flop for each in counts) == whole.flop
    assert sum(each.product_bytes for each in counts) == whole.product_bytes


def test_a_decoder_that_was_traced_whole_is_cut_too() -> None:
    model: Any = rewrite(Network("test_resnet", decoder="unet_plusplus").build(), "fold_upsampling")
    sections = cut(model, [(IMAGE,)])
    counts = [_ghost.counts(each.module, *(a.shape for a in each.inputs[0])) for each in sections]
    assert sum(each.flop for each in counts) == _ghost.counts(model, IMAGE.shape).flop
    with torch.inference_mode():
        assert np.allclose(_run(sections[-1])[0], model(torch.from_numpy(IMAGE)), atol=1e-5)


def test_the_network_stays_as_it_is() -> None:
    model = _model()
    before = {name: type(module) for name, module in model.named_modules()}
    cut(model, [(IMAGE,)])
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert not any(_ghost.hooked(module) for module in model.modules())


def test_a_decoder_without_up_convolutions_is_one_part() -> None:
    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.widen = torch.nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
            return torch.nn.functional.interpolate(self.widen(features[0][:, :8]), scale_factor=2)

    model = deepcopy(_model())
    model.decoder = Sum()
    model.head = torch.nn.Conv2d(8, 1, 1)
    assert [each.name for each in cut(model.eval(), [(IMAGE,)])] == ["encoder", "decoder", "head"]
    assert len(cut(model, [(IMAGE,)])[1].inputs[0]) == 1, "features that nothing reads are no inputs"


def test_a_network_without_halves_is_refused() -> None:
    with pytest.raises(Unsupported, match="no encoder and decoder of this package"):
        cut(torch.nn.Conv2d(3, 1, 1), [(IMAGE,)])


# torch_compile takes a minute, and exports a section as the runtimes that read ONNX do.
RUNTIMES = [
    name
    for name in parts.names("runtime")
    if name != "torch_compile" and not parts.find("runtime", name).missing
]


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_runs_every_part(name: str, tmp_path: Path) -> None:
    module = parts.find("runtime", name).module()
    threads = torch.get_num_threads()
    try:
        for section in cut(
            _model("reparameterize", "fold_batchnorm", "fold_head", "fold_upconv"), [(IMAGE,)]
        ):
            folder = tmp_path / section.name
            folder.mkdir()
            artifact = module.convert(
                section.module, section.inputs[0], precision="fp32", options={}, threads=1, folder=folder
            )
            session = module.load(artifact, threads=1)
            session.bind(*section.inputs[0])
            session.run()
            for answer, expected in zip(session.answers(), _run(section), strict=True):
                assert relative_error(expected.numpy(), answer) <= NEAR_ERROR
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
