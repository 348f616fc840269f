"""Every whole network that discovery finds runs under the same contract as ours; a new file needs no edit here."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_plans import plans, plans_file
from unetbench import Network, parts, photos, prepare, rewrite
from unetbench.errors import BadInput, Unsupported
from unetbench.measuring.parity import EXACT_ERROR, fault, relative_error
from unetbench.networks import drawn, weights
from unetbench.networks.weights import tensors
from unetbench.networks.whole import Whole, intake
from unetbench.runtimes._halves import Front

# The smallest form of each, where its default would take seconds a pass.
SMALL = {
    "nnunet": f"nnunet[plans={plans_file(Path(mkdtemp(prefix='unetbench-test-')), plans())}]",
    "smp": "smp.unet[tu-test_resnet]",
    "unet_2015": "unet_2015[padding=same]",
    "torchvision": "torchvision.lraspp_mobilenet_v3_large",
}
REFERENCES = [SMALL.get(name, name) for name in parts.names("reference")]

references = pytest.mark.parametrize("text", REFERENCES, ids=parts.names("reference"))


@cache
def _built(text: str) -> Whole:
    if missing := parts.find("reference", text.partition("[")[0].partition(".")[0]).missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    model = Network.parse(text, classes=2).build()
    assert isinstance(model, Whole)
    return model


def _photo(model: nn.Module, height: int = 64, width: int = 96) -> torch.Tensor:
    crops = photos.crops(photos.default_photos(), 1, height_px=height, width_px=width, seed=7)
    return torch.from_numpy(photos.normalised(crops, intake(model).mean, intake(model).std))


@references
@torch.inference_mode()
def test_an_image_of_any_size_gives_logits_of_that_size_that_say_something(text: str) -> None:
    model = _built(text)
    assert not model.training
    for height, width in ((64, 96), (33, 47)):
        image = _photo(model, height, width)
        logits = model(image)
        assert logits.shape == (1, 2, height, width)
        answer = logits.numpy()
        assert fault(answer.astype(np.float64), answer, None, "fp32") == "the answer was not compared"


@references
def test_the_weights_are_those_of_the_seed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _built(text)  # skips where it cannot be
    monkeypatch.setattr(weights, "_WHOLE_CROP_PX", 64)  # of the pass for statistics: it is made twice
    states = []
    for elsewhere in (0, 99):
        torch.manual_seed(elsewhere)
        states.append(Network.parse(text, classes=2).build().state_dict())
    other = drawn(Network.parse(text, classes=2, seed=1)).state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, other[name]) for name, value in states[0].items())


@references
@torch.inference_mode()
def test_what_is_saved_is_loaded_again(text: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = _built(text)
    save_file(tensors(model), tmp_path / "a.safetensors")
    loaded = Network.parse(text, classes=2, weights=str(tmp_path / "a.safetensors"), seed=5).build()
    image = _photo(model)
    assert torch.equal(loaded(image), model(image))


@references
@torch.inference_mode()
def test_batch_norms_can_be_folded_exactly(text: str) -> None:
    model = deepcopy(_built(text)).double()
    image = _photo(model, 64, 47).double()
    fast = rewrite(model, "reparameterize", "fold_batchnorm", "fold_head", shape=(1, 3, 64, 47))
    assert relative_error(model(image).numpy(), fast(image).numpy()) <= 1e-10
    folded = fast.report[1]  # type: ignore[index, union-attr]
    assert folded.offered == 0 or folded.fired


@references
@torch.inference_mode()
def test_it_runs_in_another_runtime(text: str) -> None:
    model = _built(text)
    image = _photo(model)
    session = prepare(model, image.numpy(), runtime="openvino", threads=1)
    session.run()
    assert relative_error(model(image).numpy(), session.read()) <= EXACT_ERROR


@references
def test_it_cannot_be_parted(text: str) -> None:
    with pytest.raises(Unsupported, match="no encoder and decoder to run apart"):
        Front(_built(text))


@references
def test_its_encoder_is_a_part_of_it(text: str) -> None:
    model = _built(text)
    own = sum(each.numel() for each in model.encoder.parameters())
    assert 0 < own < sum(each.numel() for each in model.parameters())


@references
def test_an_option_that_it_does_not_have_is_refused(text: str) -> None:
    name = text.partition("[")[0].partition(".")[0]
    with pytest.raises(BadInput, match="unknown option"):
        Network(reference=f"{name}[no_such_option=1]").build()


@pytest.mark.parametrize("name", parts.names("reference"))
def test_the_listing_has_a_line_for_it(name: str) -> None:
    assert parts.find("reference", name).summary.endswith(".")
