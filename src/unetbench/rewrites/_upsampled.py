"""Find 3×3 convolutions that read a map doubled by nearest neighbours, and put another module in their place.

A pass without data says which convolution reads which map; a trace of the one module in whose forward all of it
happens is then rewritten. A trace may leave out what it does not see, as a branch that was not taken: it is made
of modules alone whose code was read for that, this package's U-Net stage and segmentation_models_pytorch's.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from unetbench.rewrites._ghost import example_shape, hooked, on_ghost

_ATEN: Any = torch.ops.aten
_STAGE = "unetbench.networks.decoders.unet"
_READ = (_STAGE, "segmentation_models_pytorch.")  # where those are from whose code was read
_DOUBLE = (2, 2.0, (2, 2), (2.0, 2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A convolution behind an upsampling, in the module that runs both."""

    owner: str
    convolution: str  # within its owner
    at: int  # the first of its input channels that were upsampled
    width: int  # how many they are
    given: inspect.BoundArguments  # what its owner was called with, defaults among them


@dataclass(frozen=True, slots=True)
class _Doubled:
    """A map that has been upsampled, alone or among others, and the modules that were running then."""

    running: tuple[str, ...]
    at: int
    width: int


@dataclass(slots=True)
class _Run:
    given: dict[str, inspect.BoundArguments] = field(default_factory=dict)  # by module
    calls: Counter[str] = field(default_factory=Counter)
    running: list[str] = field(default_factory=list)
    maps: dict[int, _Doubled] = field(default_factory=dict)
    reads: list[tuple[int, _Doubled]] = field(default_factory=list)  # by the identity of the weight
    kept: list[Any] = field(default_factory=list)  # so that no other tensor gets their identity


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows maps from upsampling through concatenation to convolution."""

    def __init__(self, run: _Run) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run = run

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        run, kind = self._run, func.overloadpacket
        if kind is _ATEN.upsample_nearest2d:
            if [2 * side for side in args[0].shape[-2:]] == list(answer.shape[-2:]):
                self._keep(answer, _Doubled(tuple(run.running), 0, answer.shape[1]))
        elif kind is _ATEN.cat and args[1:] == (1,):
            doubled = [place for place, each in enumerate(args[0]) if id(each) in run.maps]
            if len(doubled) == 1:
                before = sum(each.shape[1] for each in args[0][: doubled[0]])
                self._keep(answer, _joined(run.maps[id(args[0][doubled[0]])], run.running, before))
        elif kind is _ATEN.convolution and id(args[0]) in run.maps:
            run.reads.append((id(args[1]), _joined(run.maps[id(args[0])], run.running, 0)))
        return answer

    def _keep(self, answer: Tensor, doubled: _Doubled) -> None:
        self._run.maps[id(answer)] = doubled
        self._run.kept.append(answer)


def _joined(doubled: _Doubled, running: Sequence[str], before: int) -> _Doubled:
    """The same map where other channels stand before it; of the modules those that ran both times."""
    common = []
    for first, second in zip(doubled.running, running, strict=False):
        if first != second:
            break
        common.append(first)
    return _Doubled(tuple(common), doubled.at + before, doubled.width)


def sites(network: nn.Module, accepts: Callable[[nn.Module], bool]) -> list[Site]:
    """Return the convolutions of a network that `accepts` and that read what nearest neighbours have doubled."""
    shape = example_shape(network)
    if shape is None or not any(_is_read(module) for module in network.modules()):
        return []
    ghost, run = deepcopy(network).to(device="meta", dtype=torch.float32), _Run()
    weights = {id(each.weight): name for name, each in ghost.named_modules() if isinstance(each, nn.Conv2d)}
    handles = [handle for name, module in ghost.named_modules() for handle in _watched(module, name, run)]
    try:
        with torch.inference_mode(False), _Seen(run):  # in which operations come whole, under other names
            on_ghost(ghost, torch.empty(shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    reads = Counter(weight for weight, _ in run.reads)
    found = []
    for weight, doubled in run.reads:
        name, owner = weights.get(weight), doubled.running[-1] if doubled.running else ""
        if not (name and owner and reads[weight] == run.calls[name] == run.calls[owner] == 1):
            continue
        if accepts(network.get_submodule(name)) and _is_read(network.get_submodule(owner)):
            site = Site(
                owner=owner,
                convolution=name.removeprefix(f"{owner}."),
                at=doubled.at,
                width=doubled.width,
                given=run.given[owner],
            )
            # Of a copy: what a module keeps of a trace is no tensor.
            found += [site] if _traced(deepcopy(network.get_submodule(owner)), site) else []
    return found


def _is_read(module: nn.Module) -> bool:
    """Whether it may be traced, ready for inference and with nobody who listens."""
    if module.training or not type(module).__module__.startswith(_READ):
        return False
    return not any(hooked(each) for each in module.modules())


def _watched(module: nn.Module, name: str, run: _Run) -> Iterator[Any]:
    def begins(_: nn.Module, args: Any, kwargs: Any) -> None:
        run.running.append(name)
        run.calls[name] += 1
        run.given[name] = inspect.signature(module.forward).bind(*args, **kwargs)
        run.given[name].apply_defaults()

    yield module.register_forward_pre_hook(begins, with_kwargs=True)
    yield module.register_forward_hook(lambda *_: (run.running.pop(), None)[1])


def replaced(owner: nn.Module, site: Site, folded: nn.Module) -> nn.Module:
    """Return the site's owner with `folded` in the convolution's place, called with the map that was upsampled,
    the others that stood beside it in their order, concatenated (or None), and the size that was asked for (or None)."""
    trace = _traced(owner, site)
    assert trace is not None
    name = f"folded_{sum(child.startswith('folded_') for child, _ in owner.named_children())}"
    owner.add_module(name, folded)
    graph = trace.convolution.graph
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trace:
    convolution: fx.Node
    below: fx.Node  # what is upsampled
    rest: list[fx.Node]  # what stands beside it
    size: Any  # that is asked for, where nothing beside it tells


class _Tracer(fx.Tracer):
    """Opens the modules between an owner and what is looked for in it, and those that compute nothing.

    A trace knows no sizes. This package's own stage asks for them to mend maps that do not fit; what is folded refuses
    those, so that it may be told that all fit. Of other modules a trace that asks is given up.
    """

    def __init__(self, opened: Collection[str] = (), *, fitting: bool = False) -> None:
        super().__init__()
        self._opened, self._fitting = opened, fitting

    def to_bool(self, obj: fx.Proxy) -> bool:
        return False if self._fitting else super().to_bool(obj)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        if name in self._opened:
            return False
        return super().is_leaf_module(module, name) or any(True for _ in module.parameters())


def _traced(owner: nn.Module, site: Site) -> _Trace | None:
    """A trace of the owner in which the site is found; None where it cannot be traced, or is another there."""
    sought = [
        site.convolution,
        *(name for name, each in owner.named_modules() if isinstance(each, nn.Upsample)),
    ]
    opened = {name.rsplit(".", depth)[0] for name in sought for depth in range(1, name.count(".") + 1)}
    absent = {name: None for name, value in site.given.arguments.items() if value is None}
    fitting = type(owner).__module__ == _STAGE
    try:
        graph = _Tracer(opened, fitting=fitting).trace(owner, concrete_args=absent or None)
        _unspecialise(graph, site.given.signature)
    except Exception:  # noqa: BLE001 (whatever a network's forward does with what is no tensor)
        return None
    calls = [each for each in graph.nodes if each.op == "call_module" and each.target == site.convolution]
    return _behind(owner, calls[0]) if len(calls) == 1 else None


def _unspecialise(graph: fx.Graph, signature: inspect.Signature) -> None:
    """Give arguments that are always absent their own names back, and leave out that this is asserted."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is fx._symbolic_trace._assert_is_none:
            graph.erase_node(node)
    places = [node for node in graph.nodes if node.op == "placeholder"]
    for node, (name, parameter) in zip(places, signature.parameters.items(), strict=True):
        node.target = name
        node.args = () if parameter.default is parameter.empty else (parameter.default,)


def _behind(owner: nn.Module, convolution: fx.Node) -> _Trace | None:
    """What stands before the convolution, if that is one upsampling, alone or concatenated with others."""
    read = _through_nothing(owner, convolution.args[0])
    parts = [read]
    if read is not None and read.op == "call_function" and read.target is torch.cat:
        if (read.args[1:] or (read.kwargs.get("dim"),)) != (1,) or len(read.users) != 1:
            return None
        parts = list(read.args[0])
    found = [(place, up) for place, part in enumerate(parts) if (up := _upsampling(owner, part)) is not None]
    if len(found) != 1:
        return None
    ((place, (below, size)),) = found
    rest = [part for other, part in enumerate(parts) if other != place]
    if any(not isinstance(each, fx.Node) for each in (below, *rest)):
        return None
    return _Trace(convolution=convolution, below=below, rest=rest, size=None if rest else size)


def _through_nothing(owner: nn.Module, node: Any) -> Any:
    while isinstance(node, fx.Node) and node.op == "call_module":
        if type(owner.get_submodule(str(node.target))) is not nn.Identity:
            break
        node = node.args[0]
    return node


def _upsampling(owner: nn.Module, node: Any) -> tuple[Any, Any] | None:
    """What a node doubles by nearest neighbours, and the size that it was asked for; None where it does not."""
    if not isinstance(node, fx.Node):
        return None
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
