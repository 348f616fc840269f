"""Trace a module and find the upsampling behind which a convolution stands."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from unetbench.rewrites._followed import Site

OWN = frozenset(  # this package's modules whose code was read for being traced
    f"unetbench.networks.{name}" for name in ("decoders.unet.Stage", "decoders.unet_plusplus.Decoder", "references.unet_2015.UNet2015")
)  # fmt: skip
_DOUBLE = (2, 2.0, (2, 2), (2.0, 2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A convolution in a trace, and what stands before it."""

    convolution: fx.Node
    below: fx.Node  # what is upsampled
    rest: list[fx.Node]  # what stands beside it
    size: Any  # that is asked for, where nothing beside it tells


class _Tracer(fx.Tracer):
    """Opens the modules between an owner and what is looked for in it, and those that compute nothing.

    A trace knows no sizes. This package's own modules compare them to mend maps that do not fit, and are answered no: maps
    are not too small (what is folded refuses those), and are resized even where they have their size. Of other modules a
    trace that asks is given up.
    """

    # Unpickling a traced module makes one without arguments.
    def __init__(self, sought: Iterable[nn.Module] = (), *, compares: bool = False) -> None:
        super().__init__()
        self._sought, self._compares = set(sought), compares

    def to_bool(self, obj: fx.Proxy) -> bool:
        return False if self._compares else super().to_bool(obj)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        if module not in self._sought and not self._sought.isdisjoint(module.modules()):
            return False
        return super().is_leaf_module(module, name) or any(True for _ in module.parameters())


def full_name(module: nn.Module) -> str:
    """Return the name of a module's class, with where it is from."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def traced(owner: nn.Module, found: Sequence[Site]) -> fx.Graph | None:
    """A trace of the owner in which the sites can be found; None where it cannot be traced."""
    names = {name for site in found for name in (site.convolution, site.up) if name}
    sought = [each for name, each in owner.named_modules() if name in names or isinstance(each, nn.Upsample)]
    given = found[0].given
    absent = {name: None for name, value in given.arguments.items() if value is None}
    try:
        graph = _Tracer(sought, compares=full_name(owner) in OWN).trace(owner, concrete_args=absent or None)
        _unspecialise(graph, given.signature)
    except Exception:  # noqa: BLE001 (whatever a network's forward does with what is no tensor)
        return None
    return graph


def _unspecialise(graph: fx.Graph, signature: inspect.Signature) -> None:
    """Give arguments that are always absent their own names back, and leave out that this is asserted."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is fx._symbolic_trace._assert_is_none:
            graph.erase_node(node)
    places = [node for node in graph.nodes if node.op == "placeholder"]
    for node, (name, parameter) in zip(places, signature.parameters.items(), strict=True):
        node.target = name
        node.args = () if parameter.default is parameter.empty else (parameter.default,)


def behind(owner: nn.Module, graph: fx.Graph, site: Site) -> Trace | None:
    """What stands before a site's convolution, if that is one upsampling, alone or concatenated with others."""
    calls = [each for each in graph.nodes if each.op == "call_module" and each.target == site.convolution]
    if len(calls) != 1:
        return None
    (convolution,) = calls
    read = _through_nothing(owner, convolution.args[0])
    parts = [read]
    if read is not None and read.op == "call_function" and read.target is torch.cat:
        if (read.args[1:] or (read.kwargs.get("dim"),)) != (1,) or len(read.users) != 1:
            return None
        parts = list(read.args[0])
    found = [
        (place, up)
        for place, part in enumerate(parts)
        if (up := _upsampling(owner, part, site.up)) is not None
    ]
    if len(found) != 1:
        return None
    ((place, (below, size)),) = found
    rest = [part for other, part in enumerate(parts) if other != place]
    if any(not isinstance(each, fx.Node) for each in (below, *rest)):
        return None
    return Trace(convolution=convolution, below=below, rest=rest, size=None if rest else size)


def _through_nothing(owner: nn.Module, node: Any) -> Any:
    while isinstance(node, fx.Node) and node.op == "call_module":
        if type(owner.get_submodule(str(node.target))) is not nn.Identity:
            break
        node = node.args[0]
    return node


def _upsampling(owner: nn.Module, node: Any, up: str | None) -> tuple[Any, Any] | None:
    """What a node doubles, by an up-convolution or by nearest neighbours, and the size that it was asked for;
    None where it does not."""
    if not isinstance(node, fx.Node):
        return None
    if up is not None:
        doubles = node.op == "call_module" and node.target == up and len(node.args) == 1
        return (node.args[0], None) if doubles else None
    if node.op == "call_module":
        module: Any = owner.get_submodule(str(node.target))
        nearest = type(module) is nn.Upsample and module.mode == "nearest" and module.scale_factor in _DOUBLE
        return (node.args[0], None) if nearest else None
    if node.op != "call_function" or node.target is not F.interpolate:
        return None
    given = inspect.signature(node.target).bind(*node.args, **node.kwargs)
    given.apply_defaults()
    size, factor = given.arguments["size"], given.arguments["scale_factor"]
    if given.arguments["mode"] != "nearest" or (size is None and factor not in _DOUBLE):
        return None
    return node.args[0], size
