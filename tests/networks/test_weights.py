"""Random weights that answer something; checkpoints that fit or are refused; no code from a file."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn.modules.batchnorm import _BatchNorm

from unetbench import Network, photos
from unetbench.errors import BadInput

NAME = "test_resnet"


def _photo(model, seed: int = 7) -> torch.Tensor:  # type: ignore[no-untyped-def]
    crops = photos.crops(photos.default_photos(), 3, height_px=96, width_px=96, seed=seed)
    return torch.from_numpy(photos.normalised(crops, model.encoder.mean, model.encoder.std))


@pytest.mark.parametrize("name", [NAME, "mobileone_s0", "lcnet_050"])
@pytest.mark.parametrize("classes", [1, 2, 21])
@torch.inference_mode()
def test_every_class_occurs_on_photographs(name: str, classes: int) -> None:
    model = Network(name, classes=classes).build()
    logits = model(_photo(model))
    assert logits.isfinite().all()
    assert 0.2 < logits.std() < 5, "timm's plain initialisation gives 4e-3 or 6e8"
    answers = (logits > 0).long() if classes == 1 else logits.argmax(1)
    share = torch.bincount(answers.flatten(), minlength=max(2, classes)) / answers.numel()
    assert (share > 0).all()
    assert share.max() < 0.9


def test_weights_are_those_of_the_seed() -> None:
    first, again, other = (Network(NAME, seed=seed).build().state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_no_branch_is_dead_and_no_statistic_trivial() -> None:
    model = Network(NAME).build()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert norms
    for norm in norms:
        assert norm.weight.any()
        assert norm.running_mean is not None and norm.running_mean.any()
        assert not norm.training and norm.momentum != 1.0


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_is_the_whole_network(tmp_path: Path, wrapped: bool) -> None:
    model = Network(NAME, classes=2, seed=3).build()
    state = model.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "w.pt")
    image = _photo(model)
    with torch.inference_mode():
        expected = model(image)
        for name in ("w.safetensors", "w.pt"):
            loaded = Network(NAME, classes=2, weights=str(tmp_path / name)).build()
            assert torch.equal(loaded(image), expected)


def _refused(path: Path, **network: int) -> str:
    with pytest.raises(BadInput) as caught:
        Network(NAME, weights=str(path), **network).build()  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    state = Network(NAME).build().state_dict()
    path = tmp_path / "w.safetensors"
    save_file({name: value for name, value in state.items() if name != "head.bias"}, path)
    assert "lacks 1 tensors, first 'head.bias'" in _refused(path)
    save_file(state | {"more": torch.zeros(1)}, path)
    assert "beyond the network's 1 tensors, first 'more'" in _refused(path)
    save_file(state, path)
    assert "shapes differ for" in _refused(path, classes=2)


class _Harmful:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return (Path.touch, (self.target,))


def test_a_damaged_or_hostile_file_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 100)
    (tmp_path / "w.pt").write_bytes(b"no checkpoint")
    (tmp_path / "list.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("w.safetensors", "w.pt", "list.pt", "missing.pt"):
        _refused(tmp_path / name)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Harmful(tmp_path / "touched")))
    torch.save(_Harmful(tmp_path / "touched"), tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        _refused(tmp_path / name)
    assert not (tmp_path / "touched").exists()


def test_pretrained_without_a_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def unreachable(name: str, pretrained: bool, **arguments: object) -> object:
        if pretrained:
            raise OSError("We couldn't connect to the hub\nmany lines follow")
        return create(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        BadInput, match=r"^pretrained weights of test_resnet cannot be loaded[^\n]*--weights"
    ) as caught:
        Network(NAME, weights="pretrained").build()
    assert "couldn't connect" in str(caught.value)


def test_pretrained_weights_reach_the_encoder_and_its_statistics_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = timm.create_model
    donor = create(NAME, features_only=True)
    with torch.no_grad():
        for value in donor.state_dict().values():
            value.copy_(torch.rand_like(value) + 0.5 if value.is_floating_point() else value)

    def loaded(name: str, pretrained: bool, **arguments: object) -> object:
        model = create(name, pretrained=False, **arguments)
        if pretrained:
            model.load_state_dict(donor.state_dict())
        return model

    monkeypatch.setattr(timm, "create_model", loaded)
    model = Network(NAME, weights="pretrained").build()
    own = model.encoder.backbone.state_dict()
    assert all(torch.equal(own[name], value) for name, value in donor.state_dict().items())
