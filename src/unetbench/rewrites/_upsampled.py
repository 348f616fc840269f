"""Find convolutions that read a doubled map, and put another module in their place.

A pass without data says which convolution reads which map; a trace of the one module in whose forward all of it
happens is then rewritten. A trace may leave out what it does not see, as a branch that was not taken: it is made
of modules alone whose code was read for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from unetbench.errors import Unsupported
from unetbench.rewrites._followed import Site, readers
from unetbench.rewrites._ghost import example_shape, hooked
from unetbench.rewrites._traced import behind, traced

_READ = (  # where those are from whose code was read
    "unetbench.networks.decoders.unet", "unetbench.networks.decoders.unet_plusplus", "unetbench.networks.references.unet_2015",
    "segmentation_models_pytorch.", "dynamic_network_architectures.building_blocks.unet_decoder",
)  # fmt: skip
Folded = Callable[[nn.Module, Site], nn.Module]  # of an owner and a site: what takes the convolution's place


def sites(
    network: nn.Module, *, convolutions: Callable[[nn.Module], bool], upconvolutions: bool
) -> list[Site]:
    """Return those `convolutions` of a network that read a map doubled by nearest neighbours, or by `upconvolutions`.

    In the order in which they run.
    """
    shape = example_shape(network)
    if shape is None or not any(_is_read(module) for module in network.modules()):
        return []
    ghost = deepcopy(network).to(device="meta", dtype=torch.float32)
    found = [
        site
        for site in readers(ghost, shape)
        if (site.up is not None) == upconvolutions
        and _is_read(network.get_submodule(site.owner))
        and convolutions(network.get_submodule(f"{site.owner}.{site.convolution}"))
    ]
    return [
        site
        for owner, within in groupby(found, key=attrgetter("owner"))
        for site in _seen_in_trace(ghost.get_submodule(owner), list(within))
    ]


def _seen_in_trace(owner: nn.Module, found: Sequence[Site]) -> list[Site]:
    """Those that a trace shows, too. What a cut hides from it counts: it is refused with its reason."""
    graph = traced(owner, found)
    return [site for site in found if site.cut or (graph and behind(owner, graph, site))]


def _is_read(module: nn.Module) -> bool:
    """Whether it may be traced, ready for inference and with nobody who listens."""
    if module.training or not type(module).__module__.startswith(_READ):
        return False
    return not any(hooked(each) for each in module.modules())


def fold(network: nn.Module, found: Iterable[Site], folded: Folded, name: str) -> None:
    """Put `folded` of an owner and a site in the place of each convolution.

    It is called with the map that was upsampled, the others that stood beside it in their order, concatenated (or
    None), and the size that was asked for (or None).
    Raises: Unsupported, by the rewrite's name, where an owner does not answer as it did.
    """
    for owner_name, each in groupby(found, key=attrgetter("owner")):
        owner, within = network.get_submodule(owner_name), list(each)
        if any(site.cut for site in within):
            raise Unsupported(
                f"{name} cannot join the maps of {owner_name} exactly: what is doubled is padded or cropped to its "
                "skip's size, as this encoder's maps are no halves of each other; leave the rewrite out."
            )
        _check(owner, within, folded, name)
        network.set_submodule(owner_name, _replaced(owner, within, folded))


def _check(owner: nn.Module, found: Sequence[Site], folded: Folded, name: str) -> None:
    """What was found must be all that happens: both forms must answer the same to maps of the shapes that were seen."""
    random = torch.Generator().manual_seed(0)

    def drawn(each: object) -> object:
        if not isinstance(each, Tensor):
            return each
        return torch.randn(each.shape, dtype=torch.float64, generator=random)

    given = tree_map(drawn, found[0].given.args)
    expected = deepcopy(owner).double()(*deepcopy(given))  # some write over what they are given
    answer = _replaced(deepcopy(owner).double(), found, folded)(*given)
    if not torch.allclose(answer, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())):
        raise Unsupported(
            f"{name} cannot fold {', '.join(site.convolution for site in found)} of {found[0].owner}, which does more "
            "with its maps than upsampling, concatenation and convolution; leave the rewrite out."
        )


def _replaced(owner: nn.Module, found: Sequence[Site], folded: Folded) -> nn.Module:
    graph = traced(owner, found)
    assert graph is not None
    for number, site in enumerate(found):
        trace = behind(owner, graph, site)
        assert trace is not None
        name = f"folded_{number}"
        owner.add_module(name, folded(owner, site))
        with graph.inserting_before(trace.convolution):
            rest = trace.rest[0] if len(trace.rest) == 1 else None
            if len(trace.rest) > 1:
                rest = graph.call_function(torch.cat, (trace.rest, 1))
            new = graph.call_module(name, (trace.below, rest, trace.size))
        trace.convolution.replace_all_uses_with(new)
        graph.erase_node(trace.convolution)
    made = fx.GraphModule(owner, graph, type(owner).__name__).train(owner.training)
    made.graph.eliminate_dead_code()
    made.delete_all_unused_submodules()
    made.recompile()
    return made
