"""Find convolutions that read a doubled map, and put another module in their place.

A pass without data says which convolution reads which map; a trace of the one module in whose forward all of it
happens is then rewritten. A trace may leave out what it does not see, as a branch that was not taken: it is made
of modules alone whose code was read for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves, tree_map

from unetbench.errors import Unsupported, in_our_words
from unetbench.rewrites._doubling import is_plain_convolution
from unetbench.rewrites._followed import Site, readers
from unetbench.rewrites._ghost import example_shape, ghost_of, hooked
from unetbench.rewrites._traced import OWN, behind, full_name, traced

_READ = (  # how the classes begin whose code was read, of other packages
    "segmentation_models_pytorch.decoders.unet.", "segmentation_models_pytorch.decoders.unetplusplus.",
    "dynamic_network_architectures.building_blocks.unet_decoder.UNetDecoder",
)  # fmt: skip
_MADE = "unetbench"  # in the meta of modules that were made here of such
_Make = Callable[[nn.Module, Site], nn.Module]  # of an owner and a site what takes the convolution's place


def sites(network: nn.Module, *, upconvolutions: bool) -> list[Site]:
    """Return the plain 3×3 convolutions of a network that read a map doubled by nearest neighbours, or by `upconvolutions`.

    In the order in which they run, with the innermost module that runs both.
    """
    shape = example_shape(network)
    if shape is None or not any(_is_read(module) for module in network.modules()):
        return []
    ghost = ghost_of(network)
    found: dict[str, Site] = {}
    for site in readers(ghost, shape):
        name = f"{site.owner}.{site.convolution}"
        if (
            (name not in found or len(site.owner) > len(found[name].owner))
            and (site.up is not None) == upconvolutions
            and _is_read(network.get_submodule(site.owner))
            and is_plain_convolution(network.get_submodule(name))
        ):
            found[name] = site
    return [
        site
        for owner, within in _by_owner(found.values()).items()
        for site in _seen_in_trace(ghost.get_submodule(owner), within)
    ]


def _by_owner(found: Iterable[Site]) -> Mapping[str, list[Site]]:
    owners: dict[str, list[Site]] = {}
    for site in found:
        owners.setdefault(site.owner, []).append(site)
    return owners


def _seen_in_trace(owner: nn.Module, found: Sequence[Site]) -> list[Site]:
    """Those that a trace shows, too. What a cut hides from it counts: it is refused with its reason."""
    graph = traced(owner, found)
    return [site for site in found if site.cut or (graph and behind(owner, graph, site))]


def _is_read(module: nn.Module) -> bool:
    """Whether it may be traced, ready for inference and with nobody who listens."""
    name = full_name(module)
    if not (
        name in OWN or name.startswith(_READ) or (isinstance(module, fx.GraphModule) and _MADE in module.meta)
    ):
        return False
    trained = any(each.training for each in module.modules() if isinstance(each, _BatchNorm | _DropoutNd))
    return not (module.training or trained or any(map(hooked, module.modules())))


def fold(network: nn.Module, found: Iterable[Site], make: _Make, name: str) -> None:
    """Put what `make` makes in the place of each convolution.

    It is called with the map that was upsampled, the others that stood beside it in their order, concatenated (or
    None), and, where a size was asked for, with that.
    Raises: Unsupported, by the rewrite's name, where a map is padded or cropped, or an owner does not answer as it did.
    """
    for owner_name, within in _by_owner(found).items():
        if any(site.cut for site in within):
            raise Unsupported(
                f"{name} cannot join the maps of {owner_name} exactly: what is doubled is padded or cropped to its "
                "skip's size, as this encoder's maps are no halves of each other; leave the rewrite out."
            )
        owner = network.get_submodule(owner_name)
        _check(owner, within, make, name)
        network.set_submodule(owner_name, _replaced(owner, within, make))


def _check(owner: nn.Module, found: Sequence[Site], make: _Make, name: str) -> None:
    """What was found must be all that happens: both forms must answer the same to maps of the shapes that were seen."""
    random = torch.Generator().manual_seed(0)
    device = next(owner.parameters()).device

    def drawn(each: object) -> object:
        if not isinstance(each, Tensor):
            return each
        return torch.randn(each.shape, dtype=torch.float64, generator=random).to(device)

    args, kwargs = tree_map(drawn, (found[0].given.args, found[0].given.kwargs))
    refused = f"{name} cannot fold {', '.join(site.convolution for site in found)} of {found[0].owner}"
    with in_our_words(lambda words: Unsupported(f"{refused}: {words}; leave the rewrite out.")):
        own = _needed(owner, found).double()
        expected = tree_leaves(own(*deepcopy(args), **kwargs))  # some write over what they are given
        answers = tree_leaves(_replaced(own, found, make)(*args, **kwargs))
    if not (len(expected) == len(answers) and all(map(_same, expected, answers))):
        raise Unsupported(
            f"{refused}, which does more with its maps than upsampling, concatenation and convolution; leave the "
            "rewrite out."
        )


def _needed(owner: nn.Module, found: Sequence[Site]) -> nn.Module:
    """A copy of an owner without the children that it does not run: nnU-Net's decoder holds its encoder."""
    graph = traced(owner, found)
    assert graph is not None
    run = {
        str(node.target).partition(".")[0] for node in graph.nodes if node.op in ("call_module", "get_attr")
    }
    return deepcopy(
        owner, {id(child): nn.Identity() for name, child in owner.named_children() if name not in run}
    )


def _same(expected: Any, answer: Any) -> bool:
    return torch.allclose(answer, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def _replaced(owner: nn.Module, found: Sequence[Site], make: _Make) -> nn.Module:
    graph = traced(owner, found)
    assert graph is not None
    before = sum(name.startswith("folded_") for name, _ in owner.named_children())
    for number, site in enumerate(found, start=before):
        trace = behind(owner, graph, site)
        assert trace is not None
        name = f"folded_{number}"
        owner.add_module(name, make(owner, site))
        with graph.inserting_before(trace.convolution):
            rest = trace.rest[0] if len(trace.rest) == 1 else None
            if len(trace.rest) > 1:
                rest = graph.call_function(torch.cat, (trace.rest, 1))
            size = () if trace.size is None else (trace.size,)
            new = graph.call_module(name, (trace.below, rest, *size))
        trace.convolution.replace_all_uses_with(new)
        graph.erase_node(trace.convolution)
    made = fx.GraphModule(owner, graph, type(owner).__name__).eval()
    made.graph.eliminate_dead_code()
    made.delete_all_unused_submodules()
    made.recompile()
    made.meta[_MADE] = True
    return made
