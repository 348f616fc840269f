"""Follow maps that are doubled, by nearest neighbours or an up-convolution of kernel and stride 2, to who reads them.

In a pass without data.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unetbench.rewrites._ghost import Shape, on_ghost

_ATEN: Any = torch.ops.aten
_CUTS = (_ATEN.slice, _ATEN.constant_pad_nd, _ATEN.replication_pad2d, _ATEN.reflection_pad2d)
# Of aten's convolution: stride, padding, dilation, whether transposed, output padding, groups.
_DOUBLING = ([2, 2], [0, 0], [1, 1], True, [0, 0], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A convolution behind an upsampling, in the module that runs both."""

    owner: str
    convolution: str  # within its owner
    up: str | None  # the up-convolution within its owner; None where nearest neighbours double
    at: int  # the first of its input channels that were upsampled
    width: int  # how many they are
    cut: bool  # whether the doubled map was padded or cropped before it was read
    given: inspect.BoundArguments  # what its owner was called with, defaults among them


@dataclass(frozen=True, slots=True)
class _Doubled:
    """A map that has been upsampled, alone or among others, and the modules that were running then."""

    running: tuple[str, ...]
    at: int
    width: int
    up: int | None = None  # the identity of the up-convolution's weight
    cut: bool = False


@dataclass(slots=True)
class _Run:
    given: dict[str, inspect.BoundArguments] = field(default_factory=dict)  # by module
    calls: Counter[str] = field(default_factory=Counter)
    running: list[str] = field(default_factory=list)
    # By identity. A map may hold several, of which one was doubled in the module that concatenates them.
    maps: dict[int, list[_Doubled]] = field(default_factory=dict)
    reads: list[tuple[int, list[_Doubled]]] = field(default_factory=list)  # by the identity of the weight
    kept: list[Any] = field(default_factory=list)  # so that no other tensor gets their identity


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows maps from upsampling through concatenation to convolution."""

    def __init__(self, run: _Run) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run = run

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        run, kind = self._run, func.overloadpacket
        taken = run.maps.get(id(args[0]), []) if args else []
        if kind is _ATEN.upsample_nearest2d and _is_double(args[0], answer):
            self._keep(answer, [_Doubled(tuple(run.running), 0, answer.shape[1])])
        elif kind is _ATEN.cat and args[1:] == (1,):
            self._keep(answer, list(self._joined(args[0])))
        elif kind is _ATEN.convolution and taken:
            run.reads.append((id(args[1]), [_common(each, run.running, 0) for each in taken]))
        elif kind in _CUTS and taken and answer.shape[1] == args[0].shape[1]:
            self._keep(answer, [replace(each, cut=True) for each in taken])
        if kind is _ATEN.convolution and args[1].shape[2:] == (2, 2) and args[3:] == _DOUBLING:
            self._keep(answer, [_Doubled(tuple(run.running), 0, answer.shape[1], id(args[1]))])
        return answer

    def _joined(self, maps: Sequence[Tensor]) -> Iterator[_Doubled]:
        before = 0
        for each in maps:
            for doubled in self._run.maps.get(id(each), ()):
                yield _common(doubled, self._run.running, before)
            before += each.shape[1]

    def _keep(self, answer: Tensor, doubled: list[_Doubled]) -> None:
        if doubled:
            self._run.maps[id(answer)] = doubled
            self._run.kept.append(answer)


def _is_double(below: Tensor, answer: Tensor) -> bool:
    return [2 * side for side in below.shape[-2:]] == list(answer.shape[-2:])


def _common(doubled: _Doubled, running: Sequence[str], before: int) -> _Doubled:
    """The same map where other channels stand before it; of the modules those that ran both times."""
    common = []
    for first, second in zip(doubled.running, running, strict=False):
        if first != second:
            break
        common.append(first)
    return replace(doubled, running=tuple(common), at=doubled.at + before)


def readers(ghost: nn.Module, shape: Shape) -> Iterator[Site]:
    """Run a network without data and give the convolutions that read doubled maps, in the order in which they run.

    Of those that run once, in an owner that runs once; a convolution of several doubled maps comes with each.
    Shapes: (B, C, H, W).
    """
    run = _Run()
    handles = [handle for name, module in ghost.named_modules() for handle in _watched(module, name, run)]
    try:
        with torch.inference_mode(False), _Seen(run):  # in which operations come whole, under other names
            on_ghost(ghost, torch.empty(shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    names = {
        id(each._parameters.get("weight")): name  # a parametrised one is made anew whenever it is asked for
        for name, each in ghost.named_modules()
        if isinstance(each, kinds)
    }
    reads = Counter(weight for weight, _ in run.reads)
    for weight, several in run.reads:
        name = names.get(weight, "")
        for doubled in several if reads[weight] == run.calls[name] == 1 else ():
            up = None if doubled.up is None else names.get(doubled.up, "")
            owner = doubled.running[-1] if doubled.running else ""
            inside = all(each is None or each.startswith(f"{owner}.") for each in (name, up))
            if owner and inside and all(run.calls[each] == 1 for each in (owner, up) if each is not None):
                yield Site(
                    owner=owner,
                    convolution=name.removeprefix(f"{owner}."),
                    up=None if up is None else up.removeprefix(f"{owner}."),
                    at=doubled.at,
                    width=doubled.width,
                    cut=doubled.cut,
                    given=run.given[owner],
                )


def _watched(module: nn.Module, name: str, run: _Run) -> Iterator[Any]:
    def begins(_: nn.Module, args: Any, kwargs: Any) -> None:
        run.running.append(name)
        run.calls[name] += 1
        run.given[name] = inspect.signature(module.forward).bind(*args, **kwargs)
        run.given[name].apply_defaults()

    yield module.register_forward_pre_hook(begins, with_kwargs=True)
    yield module.register_forward_hook(lambda *_: (run.running.pop(), None)[1])
