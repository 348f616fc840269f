"""Every rewrite that discovery finds leaves the function the same, as exactly as it promises."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from tests.rewrites.pieces import TIMES_EAGER
from unetbench import Network, parts, rewrite
from unetbench.errors import BadInput, Unsupported
from unetbench.measuring.parity import EXACT_ERROR, relative_error
from unetbench.records import RewriteReport
from unetbench.reporting.row import rewrite_proof

# Encoders with something to rewrite, and one without branches to fold.
ENCODERS = ("mobileone_s0", "repvgg_a0", "repghostnet_050", "test_byobnet", "test_resnet")

# Large ones tell nothing more of a rewrite that leaves encoders as they are, or only lays their weights out.
_LARGE = ("mobileone_s0", "repvgg_a0")
_OF_DECODERS = ("channels_last", "fold_head", "fold_upconv", "fold_upsampling")
EACH = [
    (name, encoder)
    for name in parts.names("rewrite")
    for encoder in ENCODERS
    if not (name in _OF_DECODERS and encoder in _LARGE)
]

rewrites = pytest.mark.parametrize("name", parts.names("rewrite"))
each = pytest.mark.parametrize(("name", "encoder"), EACH)
encoders = pytest.mark.parametrize("encoder", ENCODERS)


@cache
@torch.inference_mode(False)
def _built(encoder: str) -> nn.Module:
    name, _, decoder = encoder.partition("/")
    return Network(name, decoder=decoder or "unet", classes=2).build()


def _network(encoder: str) -> nn.Module:
    """A network of the test's own: what one rewrites shows in no other."""
    return deepcopy(_built(encoder))


def _rewritten(model: nn.Module, *names: str) -> nn.Module:
    try:
        return rewrite(model, *names)
    except Unsupported as error:
        pytest.skip(f"refused, as it may where it cannot fold exactly: {error}")


@cache
@torch.inference_mode(False)
def _once(name: str, encoder: str) -> nn.Module:
    """A network rewritten once: for tests that only look at it."""
    return _rewritten(_built(encoder), name)


@cache
@torch.inference_mode()
def _answers(encoder: str) -> tuple[Tensor, Tensor, float]:
    """Images, what fp64 answers to them, and how far fp32 is from it. Shapes: (2, 3, 64, 33) -> (2, 2, 64, 33)."""
    images = torch.randn(2, 3, 64, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = _network(encoder).double()(images)
    eager = relative_error(expected.numpy(), _built(encoder)(images.float()).numpy())
    return images, expected, eager


@cache
@torch.inference_mode()
def _flat(encoder: str) -> tuple[nn.Module, Tensor, Tensor, float]:
    """A network in fp64, an image, the answer, and how far the last bit of the input moves that."""
    with torch.inference_mode(False):
        model = Network(encoder, classes=2, image_size=(64, 64)).build().double()
    images = torch.randn(1, 3, 64, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = model(images)
    moved = model(images * (1 + torch.finfo(images.dtype).eps))
    return model, images, expected, relative_error(expected.numpy(), moved.numpy())


def _fires_on(name: str) -> str:
    if name == "fold_upsampling":
        return "test_resnet/unet[upsampling=nearest]"
    return "repghostnet_050" if name == "reparameterize" else "test_resnet"


def _reports(model: nn.Module) -> tuple[RewriteReport, ...]:
    return model.report  # type: ignore[return-value]


def _modules(model: nn.Module) -> list[tuple[str, type]]:
    return [(name, type(module)) for name, module in model.named_modules()]


@each
@torch.inference_mode()
def test_the_function_stays_the_same(name: str, encoder: str) -> None:
    images, expected, eager = _answers(encoder)
    tolerance = parts.find("rewrite", name).module().TOLERANCE
    assert 0 <= tolerance <= EXACT_ERROR, "a rewrite must be exact"
    doubled = _rewritten(_network(encoder).double(), name)
    assert relative_error(expected.numpy(), doubled(images).numpy()) <= tolerance
    folded = relative_error(expected.numpy(), _once(name, encoder)(images.float()).numpy())
    assert folded <= TIMES_EAGER * eager, "in fp32 it errs hardly more than the network did"


@encoders
@torch.inference_mode()
def test_all_of_them_together_keep_the_function(encoder: str) -> None:
    images, expected, eager = _answers(encoder)
    chain = ("reparameterize", "fold_batchnorm", "fold_head", "fold_upconv")
    tolerance = sum(parts.find("rewrite", name).module().TOLERANCE for name in chain)
    doubled = rewrite(_network(encoder).double(), *chain)
    assert [report.fired for report in _reports(doubled)][1:] == [True] * 3
    assert _reports(rewrite(_network(_fires_on("fold_upsampling")), *chain, "fold_upsampling"))[-1].fired
    assert relative_error(expected.numpy(), doubled(images).numpy()) <= tolerance
    folded = relative_error(expected.numpy(), rewrite(_built(encoder), *chain)(images.float()).numpy())
    assert folded <= TIMES_EAGER * eager


@rewrites
@pytest.mark.parametrize("encoder", ["test_vit", "test_mambaout", "test_maxvit", "levit_128s"])
@torch.inference_mode()
def test_flat_and_other_pyramids_keep_their_function_too(name: str, encoder: str) -> None:
    model, images, expected, last_bit = _flat(encoder)
    # LeViT, untrained, moves by up to 1e-12 where the last bit of its input does: folding rounds as often.
    tolerance = max(parts.find("rewrite", name).module().TOLERANCE, 10 * last_bit)
    assert relative_error(expected.numpy(), _rewritten(model, name)(images).numpy()) <= tolerance


@rewrites
@torch.no_grad()
def test_the_rewritten_network_can_be_exported_and_compiled(name: str) -> None:
    fast = _rewritten(_network(_fires_on(name)), name)
    assert any(report.fired for report in _reports(fast))
    images = torch.randn(1, 3, 64, 64)
    expected = fast(images)
    exported = torch.export.export(fast, (images,)).module()
    torch.testing.assert_close(exported(images), expected)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), expected)


@each
def test_what_a_rewrite_made_is_in_evaluation_as_the_network_is(name: str, encoder: str) -> None:
    assert not any(module.training for module in _once(name, encoder).modules())


@each
@torch.inference_mode()
def test_the_given_network_is_untouched(name: str, encoder: str) -> None:
    model = _network(encoder)
    modules, state = _modules(model), {key: value.clone() for key, value in model.state_dict().items()}
    fast = _rewritten(model, name)
    assert fast is not model
    for parameter in fast.parameters():
        parameter.zero_()  # what is done to the copy later does not come back either
    assert _modules(model) == modules
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not hasattr(model, "report")


@each
def test_the_report_counts_truly(name: str, encoder: str) -> None:
    model, fast = _built(encoder), _once(name, encoder)
    (report,) = _reports(fast)
    assert report.rewrite == name
    assert report.modules_before == len(_modules(model))
    assert report.modules_after == len(_modules(fast))
    assert report.parameters_before == sum(each.numel() for each in model.parameters())
    assert report.parameters_after == sum(each.numel() for each in fast.parameters())
    if not report.offered:
        assert not report.fired
        assert _modules(fast) == _modules(model), "finding nothing to do, it does nothing"


@each
def test_a_second_time_there_is_nothing_to_do(name: str, encoder: str) -> None:
    once = _once(name, encoder)
    first, second = _reports(_rewritten(once, name))
    assert (first,) == _reports(once)
    assert not second.fired
    assert ("nothing to do, " in rewrite_proof(second)) and bool(second.reason) != bool(second.offered)


@each
def test_a_rewrite_that_finds_nothing_says_why(name: str, encoder: str) -> None:
    (report,) = _reports(_once(name, encoder))
    assert bool(report.reason) != bool(report.offered)


@rewrites
def test_the_reports_of_several_add_up(name: str) -> None:
    encoder = _fires_on(name)
    twice = _reports(_rewritten(_once(name, encoder), name))
    assert _reports(_rewritten(_network(encoder), name, name)) == twice


@rewrites
def test_options_that_it_does_not_take_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no_such_option"):
        rewrite(nn.Identity(), f"{name}[no_such_option=1]")


def test_an_unknown_rewrite_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match=r"unknown rewrite 'reparametrize'.*reparameterize"):
        rewrite(nn.Identity(), "reparametrize")


def test_no_rewrite_is_a_copy_with_an_empty_report() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1))
    copy = rewrite(model)
    assert copy is not model
    assert _reports(copy) == ()


@pytest.mark.parametrize(
    ("encoder", "offered"), [("mobileone_s0", 43), ("repvgg_a0", 22), ("test_resnet", 0)]
)
def test_reparameterize_fires_where_there_are_branches_and_only_there(encoder: str, offered: int) -> None:
    (report,) = _reports(rewrite(_network(encoder), "reparameterize"))
    assert (report.offered, report.fired) == (offered, offered > 0)
    assert (report.modules_after < report.modules_before) == (offered > 0)
    assert (report.parameters_after < report.parameters_before) == (offered > 0)


def test_reparameterize_leaves_no_batch_norm_in_a_folded_encoder() -> None:
    encoder = rewrite(_network("repvgg_a0"), "reparameterize").encoder
    assert not [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]  # type: ignore[union-attr]
