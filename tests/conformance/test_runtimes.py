"""Every runtime that discovery finds keeps the session's contract in each of its precisions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from unetbench import machine, parts, prepare
from unetbench.errors import BadInput
from unetbench.measuring.parity import compare, fault


@pytest.fixture(autouse=True)
def _denormals_are_kept_elsewhere() -> Iterator[None]:
    """The torch runtimes flush denormals in this thread; other tests count on them."""
    yield
    torch.set_flush_denormal(False)


CASES = [
    (name, precision)
    for name in parts.names("runtime")
    for precision in parts.find("runtime", name).constants["PRECISIONS"]
]


def _model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 2, 1)
    )
    return model.eval()


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_session_binds_runs_and_reads(name: str, precision: str) -> None:
    part = parts.find("runtime", name)
    if part.missing:
        pytest.skip(f"{part.missing} is not installed")
    if precision == "bf16" and not machine.bf16_instructions():
        pytest.skip("bf16 is emulated on this machine")
    images = np.random.default_rng(0).normal(size=(2, 1, 3, 40, 33)).astype(np.float32)
    model = _model()
    session = prepare(model, images[0], runtime=name, precision=precision, threads=1)
    for image in (images[0], images[1], images[0]):
        session.bind(image)
        assert session.run() is None  # type: ignore[func-returns-value]
        answer = session.read()
        assert answer.dtype == np.float32
        with torch.inference_mode():
            exact = model.double()(torch.from_numpy(image).double()).numpy()
            model.float()
        found = compare(exact, answer, eager_relative_error=1e-7)
        if precision == "fp32":
            assert found.relative_error <= 1e-5
        assert fault(exact, answer, found, precision) is None
    assert session.in_force()["threads"] == "1"
    assert session.in_force()["denormals"] == "flushed"


@pytest.mark.parametrize("name", parts.names("runtime"))
def test_bad_input_is_refused(name: str) -> None:
    image = np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises(BadInput, match="unknown precision"):
        prepare(_model(), image, runtime=name, precision="fp7")
    for wrong in (image[0], image.astype(np.float64), image[..., :16]):
        with pytest.raises(BadInput, match="is not accepted"):
            prepare(_model(), wrong, runtime=name)


def test_an_option_reaches_the_runtime() -> None:
    assert parts.find("runtime", "torch_compile").constants["OPTIONS"] == {"freezing": ("0", "1")}
    image = np.zeros((1, 3, 32, 32), np.float32)
    session = prepare(_model(), image, runtime="torch_compile[freezing=1]", threads=1)
    session.run()
    assert session.read().shape == (1, 2, 32, 32)
