"""The encoder in one runtime and the decoder in another: every pair answers as the whole network does."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch

from unetbench import Network, parts
from unetbench.errors import BadInput, Unsupported
from unetbench.measuring.parity import EXACT_ERROR, NEAR_ERROR, relative_error
from unetbench.networks import Segmenter
from unetbench.records import Choice, Recipe
from unetbench.runtimes import Artifact, Session
from unetbench.runtimes._chosen import HALVES, Two, of
from unetbench.runtimes._halves import Back, Front
from unetbench.suite import checked_recipe

WRITING = [
    name
    for name in parts.names("runtime")
    if not parts.find("runtime", name).missing and not parts.find("runtime", name).constants["IN_PROCESS"]
]
IMAGES = np.random.default_rng(0).normal(size=(2, 1, 3, 70, 64)).astype(np.float32)


@cache
def _model() -> Segmenter:
    return Network("test_resnet", decoder_channels=(16, 16, 8, 8)).build()


@cache
def _halves(name: str) -> Path:
    """Both halves converted by one runtime, each in its folder."""
    folder = Path(mkdtemp(prefix="unetbench-test-"))
    _two_of(name, name).convert(
        _model(), (IMAGES[0],), precision="fp32", threads=1, folder=folder, calibration=()
    )
    return folder


def _two_of(encoder: str, decoder: str) -> Two:
    chosen = of(Recipe(runtime=Choice(encoder), precision="fp32", decoder_runtime=Choice(decoder)))
    assert isinstance(chosen, Two)
    return chosen


def _session(encoder: str, decoder: str, tmp_path: Path) -> Session:
    for half, name in zip(HALVES, (encoder, decoder), strict=True):
        (tmp_path / half).symlink_to(_halves(name) / half)
    return _two_of(encoder, decoder).load(Artifact(precision="fp32", folder=tmp_path), threads=1)


def _expected(image: int) -> np.ndarray:
    with torch.inference_mode():
        answer: np.ndarray = _model()(torch.from_numpy(IMAGES[image])).numpy()
    return answer


@pytest.mark.parametrize(("encoder", "decoder"), list(product(WRITING, WRITING)))
def test_every_pair_answers_as_the_whole_network(encoder: str, decoder: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    session = _session(encoder, decoder, tmp_path)
    try:
        for image in (0, 1, 0):
            session.bind(IMAGES[image])
            session.run()
            # Winograd tiles may be near, no more (docs/measuring.md).
            allowed = NEAR_ERROR if {"mnn", "ncnn"} & {encoder, decoder} else EXACT_ERROR
            assert relative_error(_expected(image), session.read()) <= allowed
        told = session.in_force()
        assert told["threads"] == "1"
        assert told["denormals"] == "flushed"
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@pytest.mark.parametrize("decoder", WRITING)
def test_a_decoder_may_leave_features_unread(decoder: str, tmp_path: Path) -> None:
    """As those that begin at a stride of 4 leave the finest: what is handed over must still be in its place."""
    threads = torch.get_num_threads()
    model = Network("test_resnet", decoder="semantic_fpn").build()
    two = _two_of("onnxruntime", decoder)
    if "onnxruntime" not in WRITING:
        pytest.skip("onnxruntime is not installed")
    with torch.inference_mode():
        expected = model(torch.from_numpy(IMAGES[1])).numpy()
    try:
        artifact = two.convert(
            model, (IMAGES[0],), precision="fp32", threads=1, folder=tmp_path, calibration=()
        )
        session = two.load(artifact, threads=1)
        session.bind(IMAGES[1])
        session.run()
        assert relative_error(expected, session.read()) <= NEAR_ERROR
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_the_halves_make_the_whole_and_share_no_weights() -> None:
    front, back = Front(_model()), Back(_model(), IMAGES.shape[-2:])
    with torch.inference_mode():
        answer = back(*front(torch.from_numpy(IMAGES[0]))).numpy()
    assert np.array_equal(answer, _expected(0))
    own = {id(parameter) for parameter in back.parameters()}
    assert own.isdisjoint(id(parameter) for parameter in _model().encoder.parameters())
    assert _model().encoder._modules, "and the network is as it was"


def test_a_network_without_halves_is_refused() -> None:
    with pytest.raises(Unsupported, match="no encoder and decoder"):
        Front(torch.nn.Conv2d(3, 1, 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openvino>/fp32", "not of the form"),
        (">mnn/fp32", "not of the form"),
        ("openvino>mnn>ncnn/fp32", "not a part"),
        ("torch_eager>mnn/fp32", "keeps its network in memory"),
        ("openvino>mnn/int8", "unknown precision 'int8'"),
        ("openvino>mmn/fp32", "unknown runtime 'mmn'"),
    ],
)
def test_pairs_that_cannot_be_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        checked_recipe(text)


def test_a_pair_is_written_as_it_is_read() -> None:
    text = "onnxruntime[spinning=0]>mnn[winograd=1]/fp32+fold_head"
    recipe = checked_recipe(text)
    assert str(recipe) == text
    assert [choice.name for choice in recipe.runtimes] == ["onnxruntime", "mnn"]
