"""Run a network on meta tensors: which module feeds which, how many operations, how many bytes.

Nothing is computed: a pass takes no memory and little time, whatever the size of the image. Rewrites ask
it what follows what, since neither names nor the order of definition tell.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from unetbench.errors import Unsupported, in_our_words

Shape = tuple[int, ...]
_SIDE_PX = 64  # two cells of the deepest map of a stride-32 encoder
_UNKNOWN_SIDE_PX = 256  # where a network does not say what it needs: nnU-Net halves seven times
_LINEAR = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, _BatchNorm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one run of a network takes."""

    flop: int  # convolutions and products, a multiply-add as 2
    moved_bytes: int  # written and read by every operation that is no view, weights included
    product_bytes: (
        int  # of these, by convolutions and products: what is left where all else is fused into them
    )


def parameters(model: nn.Module) -> int:
    """Return the number of parameters (buffers, such as batch-norm statistics, are none)."""
    return sum(parameter.numel() for parameter in model.parameters())


def flop(model: nn.Module, shape: Shape) -> int:
    """Return the floating-point operations of one run. Shapes: `shape` is the input's (B, C, H, W)."""
    return counts(model, shape).flop


def counts(model: nn.Module, *shapes: Shape) -> Counts:
    """Count one run. Shapes: each input's (B, C, H, W)."""
    flops, moved = FlopCounterMode(display=False), _Moved()
    ghost = ghost_of(model)
    ghost.requires_grad_(False)  # the counter hooks into gradients where a parameter is a module's input
    with moved, flops:
        on_ghost(ghost, *(torch.empty(shape, device="meta") for shape in shapes))
    return Counts(flop=flops.get_total_flops(), moved_bytes=moved.bytes, product_bytes=moved.product_bytes)


def example_shape(model: nn.Module) -> Shape | None:
    """Return the shape of a small input that a network takes; None where it has nothing to tell it by."""
    for takes in (model, getattr(model, "encoder", None)):
        known: Any = takes if hasattr(takes, "least_side_px") else None
        if known is not None:
            axes = getattr(known, "dimensions", 2)
            sides = known.fixed_size or (max(_SIDE_PX, known.least_side_px),) * axes
            return (1, known.in_channels, *sides)
    first = next((each for each in model.modules() if isinstance(each, nn.Conv2d)), None)
    return None if first is None else (1, first.in_channels, _UNKNOWN_SIDE_PX, _UNKNOWN_SIDE_PX)


def ghost_of(model: nn.Module) -> nn.Module:
    """Return a copy of a network whose parameters and buffers have no data: on the meta device, in fp32."""
    empty: dict[int, Any] = {}  # given to deepcopy as if it had copied them, so that no data is
    for each in (*model.parameters(), *model.buffers()):
        like = torch.empty_like(each, device="meta")
        empty[id(each)] = nn.Parameter(like, each.requires_grad) if isinstance(each, nn.Parameter) else like
    return deepcopy(model, empty).to(device="meta", dtype=torch.float32)


@torch.no_grad()
def on_ghost(ghost: nn.Module, *inputs: Tensor) -> Any:
    """Run a copy of a network that has no data. Raises: Unsupported where it asks for some."""
    with in_our_words(_unseen):
        return ghost(*inputs)


def hooked(module: nn.Module) -> bool:
    """Return whether somebody listens to a module: taking it away would be noticed."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def links(model: nn.Module, *also: type[nn.Module]) -> list[tuple[str, str]]:
    """Return (producer, consumer) by name: convolutions, products, batch norms and modules of what kinds are asked for
    `also`, whose only input is the other's output, which nothing else takes. Modules that run more than once, or whose weights
    something else takes too, are in no pair."""
    shape = example_shape(model)
    if shape is None:
        return []
    kinds: tuple[type[nn.Module], ...] = (*_LINEAR, *also)
    ghost = ghost_of(model)
    seen = _Seen()
    handles = []
    for name, module in ghost.named_modules():
        if isinstance(module, kinds):
            handles.append(
                module.register_forward_pre_hook(lambda _, given, name=name: seen.took(name, given))
            )
            handles.append(
                module.register_forward_hook(lambda _, __, output, name=name: seen.gave(name, output))
            )
    try:
        with seen:
            seen.answered(on_ghost(ghost, torch.empty(shape, device="meta")))
    finally:
        for handle in handles:
            handle.remove()
    names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return [
        pair
        for pair in seen.links()
        if all(
            names[id(model.get_submodule(name))] == 1 and not seen.shared(ghost.get_submodule(name))
            for name in pair
        )
    ]


def _unseen(words: str) -> Unsupported:
    return Unsupported(
        "this network cannot be run on tensors without data, as counting its operations and rewriting it need: "
        f"{words}."
    )


class _Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.product_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if not func.is_view:
            moved = sum(
                each.numel() * each.element_size()
                for each in tree_leaves((args, kwargs, answer))
                if isinstance(each, Tensor)
            )
            self.bytes += moved
            self.product_bytes += moved if func._overloadpacket in flop_registry else 0
        return answer


@dataclass
class _Links:
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[int, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    uses: Counter[int] = field(default_factory=Counter)
    kept: list[Tensor] = field(default_factory=list)  # so that no other tensor gets their identity


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what takes each tensor, and remembers which modules took and gave it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found = _Links()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, Tensor):
                self._found.uses[id(each)] += 1
                self._found.kept.append(each)
        return func(*args, **(kwargs or {}))

    def answered(self, output: Any) -> None:
        """What the network returns is read by its caller too."""
        self._found.uses.update(id(each) for each in tree_leaves(output) if isinstance(each, Tensor))

    def shared(self, module: nn.Module) -> bool:
        """Whether one of a module's own weights was taken more than once."""
        return any(self._found.uses[id(each)] > 1 for each in module.parameters(recurse=False))

    def took(self, name: str, given: tuple[Any, ...]) -> None:
        self._found.calls[name] += 1
        if not given:
            return  # called by keyword: it is in no pair
        self._found.inputs[name] = id(given[0])
        self._found.kept.append(given[0])

    def gave(self, name: str, output: Tensor) -> None:
        self._found.outputs[id(output)] = name
        self._found.kept.append(output)

    def links(self) -> list[tuple[str, str]]:
        found = self._found
        pairs = [
            (found.outputs[tensor], consumer)
            for consumer, tensor in found.inputs.items()
            if tensor in found.outputs and found.uses[tensor] == 1
        ]
        return [pair for pair in pairs if all(found.calls[name] == 1 for name in pair)]
