"""Random weights that answer something; checkpoints that fit or are refused; no code from a file."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unetbench import Network, photos
from unetbench.errors import BadInput
from unetbench.measuring.parity import relative_error
from unetbench.networks import Segmenter
from unetbench.networks.weights import tensors

NAME = "test_resnet"


def _photo(model: Segmenter, seed: int = 7) -> Tensor:
    """Crops other than those (of seed 0) that gave the statistics."""
    crops = photos.crops(photos.default_photos(), 3, height_px=96, width_px=96, seed=seed)
    return torch.from_numpy(photos.normalised(crops, model.encoder.mean, model.encoder.std))


def _norms(model: nn.Module) -> list[_BatchNorm]:
    found = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert found
    return found


@pytest.mark.parametrize(
    ("name", "classes"), [(NAME, 1), (NAME, 2), (NAME, 21), ("lcnet_050", 2), ("mobileone_s0", 21)]
)
@torch.inference_mode()
def test_every_class_occurs_on_photographs(name: str, classes: int) -> None:
    model = Network(name, classes=classes).build()
    logits = model(_photo(model))
    assert logits.isfinite().all()
    spread = logits.std(dim=(0, 2, 3))
    assert 0.4 < spread.min() <= spread.max() < 2.5, "timm's plain initialisation gives 4e-3 or 6e8"
    answers = (logits > 0).long() if classes == 1 else logits.argmax(1)
    share = torch.bincount(answers.flatten(), minlength=max(2, classes)) / answers.numel()
    assert (share > 0).all()
    assert share.max() < 0.9


@pytest.mark.parametrize("in_channels", [1, 4, 13])
@torch.inference_mode()
def test_other_numbers_of_input_channels_are_calibrated_too(in_channels: int) -> None:
    model = Network(NAME, in_channels=in_channels).build()
    crops = photos.crops(photos.default_photos(), 3, height_px=96, width_px=96, channels=in_channels, seed=7)
    logits = model(torch.from_numpy(photos.normalised(crops, model.encoder.mean, model.encoder.std)))
    assert 0.4 < logits.std() < 2.5
    assert 0.1 < (logits > 0).float().mean() < 0.9


def test_weights_are_those_of_the_seed() -> None:
    first, again, other = (Network(NAME, seed=seed).build().state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    kernels = [name for name, value in first.items() if value.ndim == 4]
    assert {name.partition(".")[0] for name in kernels} == {"encoder", "decoder", "head"}
    assert all(not torch.equal(first[name], other[name]) for name in kernels)


def test_weights_do_not_hang_on_the_callers_random_state() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(98)
        first = Network(NAME).build().state_dict()
        torch.manual_seed(99)
        again = Network(NAME).build().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_no_branch_is_dead() -> None:
    plain = timm.create_model(NAME, features_only=True)
    assert any(not norm.weight.any() for norm in _norms(plain)), "timm hides branches behind zeros"
    for norm in _norms(Network(NAME).build()):
        assert (norm.weight.abs() > 0.05).all()


@torch.inference_mode()
def test_an_error_in_a_residual_branch_shows_in_the_answer() -> None:
    model = Network(NAME).build()
    image = _photo(model)
    right = model(image)
    block = model.encoder.backbone.get_submodule("layer2.0")
    block.conv1.weight.neg_()  # type: ignore[operator, union-attr]
    assert relative_error(right.numpy(), model(image).numpy()) > 0.01


@pytest.mark.parametrize("name", [NAME, "mobileone_s0"])
@torch.inference_mode()
def test_batch_norm_statistics_are_those_of_photographs(name: str) -> None:
    model = Network(name).build()
    norms = _norms(model)
    z_means, z_deviations = [], []

    def look(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = (norm.running_var + norm.eps).sqrt()
        z = (given[0] - norm.running_mean.view(1, -1, 1, 1)) / scale.view(1, -1, 1, 1)
        z_means.append(z.mean().abs().item())
        z_deviations.append(z.std().item())

    for norm in norms:
        norm.register_forward_pre_hook(look)
        assert not norm.training and norm.momentum != 1.0, "ready to run, as timm made it"
    model(_photo(model))
    assert len(z_means) == len(norms)
    assert max(z_means) < 0.5, "as far from the mean as other crops may be"
    assert 0.3 < min(z_deviations) <= max(z_deviations) < 3.0


def test_the_network_is_ready_to_run() -> None:
    assert not any(module.training for module in Network(NAME).build().modules())


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_is_the_whole_network(tmp_path: Path, wrapped: bool) -> None:
    model = Network(NAME, classes=2, seed=3).build()
    state = model.state_dict()
    image = _photo(model)
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "w.pt")
    with torch.inference_mode():
        expected = model(image)
        assert not torch.equal(Network(NAME, classes=2).build()(image), expected)
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
    assert "has in other shapes 2 tensors" in _refused(path, classes=2)


def test_a_checkpoint_of_another_size_says_that_it_is_the_size(tmp_path: Path) -> None:
    """Position embeddings are of one size; everything else of the network fits."""
    path = tmp_path / "w.safetensors"
    save_file(tensors(Network("test_vit", image_size=(160, 160)).build()), path)
    assert Network("test_vit", image_size=(160, 160), weights=str(path)).build()
    with pytest.raises(BadInput, match=r"pos_embed.*give the --size \(image_size\)") as caught:
        Network("test_vit", image_size=(128, 128), weights=str(path)).build()
    assert "\n" not in str(caught.value)


class _Harmful:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return (Path.touch, (self.target,))


def test_a_file_that_holds_code_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    mark = tmp_path / "touched"
    harm = pickle.dumps(_Harmful(mark))
    pickle.loads(harm)
    assert mark.exists(), "loaded carelessly, it does run"
    mark.unlink()

    (tmp_path / "bare.pt").write_bytes(harm)
    torch.save(_Harmful(mark), tmp_path / "zipped.pt")
    state = Network(NAME).build().state_dict()
    torch.save(state | {"head.bias": _Harmful(mark)}, tmp_path / "hidden.pt")
    torch.save({"state_dict": state, "epoch": _Harmful(mark)}, tmp_path / "beside.pt")
    for name in ("bare.pt", "zipped.pt", "hidden.pt", "beside.pt"):
        assert "cannot be read" in _refused(tmp_path / name)
    assert not mark.exists()


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    state = Network(NAME).build().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        path = tmp_path / name
        whole = path.read_bytes()
        for length in (0, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            assert "cannot be read" in _refused(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for name in ("w.safetensors", "w.pt"):
        (tmp_path / name).write_bytes(b"no checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3, "state_dict": {"epoch": 3}}, tmp_path / "numbers.pt")
    torch.save({}, tmp_path / "empty.pt")
    (tmp_path / "folder.pt").mkdir()
    for name in ("w.safetensors", "w.pt", "list.pt", "numbers.pt", "empty.pt", "folder.pt", "missing.pt"):
        assert name in _refused(tmp_path / name)


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
