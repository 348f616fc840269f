"""A Segmenter cut into sections, which can be counted, and converted and timed, apart: encoder, up-convolutions, the other
convolutions of the decoder, head. Needs torch.

It knows no decoder: what counts as an up-convolution is each `ConvTranspose2d` of the decoder that runs once. The
network itself stays as it is; sections share or copy its weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unetbench.errors import Unsupported
from unetbench.runtimes import Inputs
from unetbench.runtimes._halves import Front, separable, without_backbone

ENCODER, UPS, SKIPS, DECODER, HEAD = "encoder", "up-convolutions", "skip convolutions", "decoder", "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A section as a module, with the real inputs that it has for each image.

    `within` are the modules of the network that it is made of; a module within several is of the one that names it closest.
    """

    name: str
    module: nn.Module
    inputs: tuple[Inputs, ...]
    within: tuple[str, ...]
    note: str = ""


def cut(model: Any, images: Sequence[Inputs]) -> tuple[Cut, ...]:
    """Return a network's sections, in the order in which they run, with what they take for the images.

    Raises: Unsupported where the network has no encoder and decoder to take apart.
    """
    if not separable(model):
        raise Unsupported(
            f"{type(model).__name__} has no encoder and decoder of this package, whose sections could be told apart: "
            "measure it without --breakdown."
        )
    front = Front(model)
    watched = [_watched(model, front, inputs) for inputs in images]
    first = watched[0]
    size = images[0][0].shape[-2:]
    sections = [Cut(name=ENCODER, module=front, inputs=tuple(images), within=("encoder",))]
    if first.took:
        ups = _Ups(model.decoder, list(first.took))
        given = tuple(_arrays(run.took.values()) for run in watched)
        within = tuple(f"decoder.{name}" for name in first.took)
        sections.append(Cut(name=UPS, module=ups, inputs=given, within=within, note=_kernels(ups.ups)))
    rest = _Rest(model.decoder, first)
    given = tuple(_arrays(rest.takes(run)) for run in watched)
    name = SKIPS if first.took else DECODER
    sections.append(Cut(name=name, module=rest, inputs=given, within=("decoder",)))
    note = "the last up-convolution is folded into it" if isinstance(model.head, nn.ConvTranspose2d) else ""
    given = tuple(_arrays([run.answer]) for run in watched)
    sections.append(Cut(name=HEAD, module=_Head(model, size), inputs=given, within=("",), note=note))
    return tuple(section for section in sections if section.inputs[0])


@dataclass
class _Watched:
    """What the modules of a decoder handed over in one run."""

    features: tuple[Tensor, ...] = ()
    took: dict[str, Tensor] = field(default_factory=dict)  # by up-convolution, in the order of the run
    gave: dict[str, Tensor] = field(default_factory=dict)
    answer: Tensor = field(default_factory=lambda: torch.empty(0))
    last: str | None = None  # the up-convolution whose answer is the decoder's


def _watched(model: Any, front: Front, inputs: Inputs) -> _Watched:
    """Run the network's decoder on an image and remember what its up-convolutions took and gave."""
    run = _Watched()
    calls: Counter[str] = Counter()
    given: dict[int, str] = {}

    def hook(name: str, taken: tuple[Tensor, ...], answer: Tensor) -> None:
        calls[name] += 1
        run.took[name], run.gave[name] = taken[0], answer.clone()  # what follows may write in its place
        given[id(answer)] = name
        kept.append(answer)

    kept: list[Tensor] = []  # so that no other tensor gets their identity
    with torch.no_grad(), _hooked(model.decoder, hook):
        run.features = tuple(front(*map(torch.from_numpy, inputs)))
        run.answer = model.decoder(run.features)
    run.last = given.get(id(run.answer))
    for name in [name for name, count in calls.items() if count > 1]:
        del run.took[name], run.gave[name]  # one that runs more than once stays where it is
    return run


@contextmanager
def _hooked(decoder: nn.Module, hook: Any) -> Iterator[None]:
    handles = [
        module.register_forward_hook(lambda _, taken, answer, name=name: hook(name, taken, answer))
        for name, module in decoder.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Ups(nn.Module):
    """The up-convolutions alone: what each takes -> what each answers."""

    def __init__(self, decoder: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.ups = nn.ModuleList(decoder.get_submodule(name) for name in names)

    def forward(self, *below: Tensor) -> tuple[Tensor, ...]:
        return tuple(up(each) for up, each in zip(self.ups, below, strict=True))


class _Exchange:
    """Where stand-ins lay down what they are given, and find what to answer. No module: nothing of it is weight."""

    def __init__(self) -> None:
        self.taken: dict[str, Tensor] = {}
        self.given: dict[str, Tensor] = {}


class _StandIn(nn.Module):
    """Stands where an up-convolution was: its answer was computed elsewhere."""

    def __init__(self, exchange: _Exchange, name: str) -> None:
        super().__init__()
        self._exchange, self._name = exchange, name

    def forward(self, below: Tensor) -> Tensor:
        self._exchange.taken[self._name] = below
        return self._exchange.given[self._name]


class _Rest(nn.Module):
    """A decoder without its up-convolutions: the features that it reads and what those answer -> its own answer
    and what they would take."""

    def __init__(self, decoder: nn.Module, run: _Watched) -> None:
        super().__init__()
        self._exchange = _Exchange()
        self._fed = [name for name in run.took if name != run.last]
        self._shapes = [tuple(feature.shape) for feature in run.features]
        self.decoder = deepcopy(decoder)
        for name in run.took:
            stand_in = nn.Identity() if name == run.last else _StandIn(self._exchange, name)
            self.decoder.set_submodule(name, stand_in)
        self._kept: list[str] = []
        self._read = list(range(len(run.features)))
        touched = _Touched(run.features)
        with torch.no_grad(), touched:
            self(*self.takes(run))
        features = {id(feature) for feature in run.features}
        self._kept = [name for name in self._fed if id(run.took[name]) not in features]
        self._read = sorted(touched.found)

    def takes(self, run: _Watched) -> list[Tensor]:
        """Return its inputs in a run."""
        return [run.features[index] for index in self._read] + [run.gave[name] for name in self._fed]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        nothing = inputs[0].new_zeros(())
        features = [nothing.expand(shape) for shape in self._shapes]  # of those that nothing reads
        for index, feature in zip(self._read, inputs, strict=False):
            features[index] = feature
        self._exchange.given.update(zip(self._fed, inputs[len(self._read) :], strict=True))
        answer = self.decoder(features)
        taken = [self._exchange.taken[name] for name in self._kept]
        self._exchange.given.clear()
        self._exchange.taken.clear()
        return (answer, *taken)


class _Touched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees which of some tensors an operation takes."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._places = {id(tensor): place for place, tensor in enumerate(tensors)}
        self.found: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.ops.aten.new_zeros.default:  # our own, which reads no value
            self.found |= {self._places[id(e)] for e in tree_leaves((args, kwargs)) if id(e) in self._places}
        return func(*args, **(kwargs or {}))


class _Head(nn.Module):
    """The decoder's answer for images of one size -> logits (B, classes, H, W)."""

    def __init__(self, model: Any, size: Sequence[int]) -> None:
        super().__init__()
        self.model, self._size = without_backbone(model), tuple(size)
        self.model.decoder = _First()

    def forward(self, decoded: Tensor) -> Tensor:
        answer: Tensor = self.model.decoded((decoded,), *self._size)
        return answer


class _First(nn.Module):
    """A decoder that has already run."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return features[0]


def _arrays(tensors: Any) -> Inputs:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


def _kernels(ups: Any) -> str:
    """How many there are of each kernel: a folded stage's is 4, a plain one's 2."""
    counts = Counter("×".join(map(str, up.kernel_size)) for up in ups)
    return ", ".join(f"{count} of kernel {kernel}" for kernel, count in counts.items())
