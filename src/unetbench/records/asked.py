"""What is asked: networks, recipes and cases, their text forms and their keys. Standard library only."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from unetbench.errors import BadInput
from unetbench.keys import content, digest

if TYPE_CHECKING:
    from unetbench.networks.segmenter import Segmenter
    from unetbench.networks.whole import Whole

RGB = 3  # channels of an image, where nothing else is said
_NO_FILE = ("random", "pretrained")  # weights that are no checkpoint
SMALLEST_SIDE_PX = 32  # one cell of the deepest map of a stride-32 encoder


@dataclass(frozen=True, slots=True)
class Network:
    """What is computed, before any choice of how: a timm encoder with a decoder and a head, or a reference,
    which is a whole network of another project.

    Shapes: the network built maps (B, in_channels, H, W) to (B, classes, H, W).
    """

    encoder: str = ""  # none where there is a reference
    _: KW_ONLY
    decoder: str = "unet"
    classes: int = 1
    in_channels: int = RGB
    decoder_channels: tuple[int, ...] | None = None
    image_size: tuple[int, int] | None = None
    weights: str = "random"
    seed: int = 0
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.classes < 1 or self.in_channels < 1:
            raise BadInput(
                f"a network needs at least 1 class and 1 input channel; got classes={self.classes}, "
                f"in_channels={self.in_channels}: give positive numbers."
            )
        if self.weights not in _NO_FILE:
            object.__setattr__(self, "weights", str(PurePath(str(self.weights))))  # ./m.pt is m.pt
        for name in ("decoder_channels", "image_size"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _positive_integers(name, value))
        if self.image_size is not None and len(self.image_size) != 2:
            raise BadInput(f"image_size {self.image_size} is not accepted: give (height, width), in pixels.")
        if (self.reference is None) != bool(self.encoder):
            raise BadInput(
                "a network is an encoder with a decoder, or a reference: give one of the two, "
                "as Network('resnet18') or Network(reference='unet_2015')."
            )
        if self.reference is None:
            object.__setattr__(self, "decoder", str(Choice.parse(self.decoder)))
            return
        if self.decoder != "unet" or self.decoder_channels:
            raise BadInput(f"{self.reference!r} is a whole network: it takes no decoder and no widths.")
        if self.weights == "pretrained":
            raise BadInput(
                f"{self.reference!r} has no pretrained weights here: give random, or a checkpoint of it."
            )
        object.__setattr__(self, "reference", _reference_text(_reference_choice(self.reference)))

    @property
    def name(self) -> str:
        """The text form, such as `resnet18/unet` or `smp.unet[resnet18]`."""
        return self.reference or f"{self.encoder}/{self.decoder}"

    @property
    def labels(self) -> tuple[str, str]:
        """The encoder and the decoder as a table shows them; a reference without an encoder has no decoder."""
        if self.reference is None:
            return (self.encoder, self.decoder)
        options = dict(self.part.options)
        encoder = options.pop("encoder", None)
        if encoder is None:
            return (self.reference, "")
        return (encoder, _reference_text(Choice(self.part.name, tuple(options.items()))))

    @property
    def part(self) -> Choice:
        """The decoder or the reference with its options."""
        return Choice.parse(self.decoder) if self.reference is None else _reference_choice(self.reference)

    @classmethod
    def parse(cls, text: str, **rest: Any) -> Network:
        """Read `encoder/decoder[key=value…]`, or a reference: `name[.architecture][[encoder,]key=value…]`."""
        pieces = re.sub(r"\[[^\]]*\]", "", text).split("/")
        if len(pieces) == 1 and pieces[0]:
            return cls(reference=text, **rest)
        encoder, _, decoder = text.partition("/")
        if "[" in encoder:
            raise BadInput(f"network {text!r}: {pieces[0]} is a whole network, which takes no decoder.")
        if len(pieces) != 2 or not (encoder and decoder):
            raise BadInput(
                f"network {text!r} is not of the form encoder/decoder, such as resnet18/unet, and names no "
                "whole network, such as unet_2015 or smp.unet[resnet18]."
            )
        return cls(encoder, decoder=decoder, **rest)

    def canonical(self) -> Network:
        """Return the network as its key sees it: files count by their content, not their path."""
        own = self
        if self.weights not in _NO_FILE:
            own = replace(own, weights=content(self.weights))
        options = {} if self.reference is None else dict(self.part.options)
        if "plans" in options:
            options["plans"] = content(options["plans"], what="plans", accepted="a plans.json of nnU-Net v2")
            own = replace(own, reference=_reference_text(Choice(self.part.name, tuple(options.items()))))
        return own

    def build(self) -> Segmenter | Whole:
        """Build the network as an `nn.Module` in eval mode; a reference has no `.decoder`.

        Raises: Unsupported where the encoder gives no pyramid; BadInput for weights that do not fit.
        """
        from unetbench.networks import build

        return build(self)


@dataclass(frozen=True, slots=True)
class Choice:
    """A part chosen by name, with its options: `mnn[winograd=1]`."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}[{','.join(f'{key}={value}' for key, value in self.options)}]"

    @classmethod
    @lru_cache(maxsize=1024)  # a store names the same few parts in each of thousands of cases
    def parse(cls, text: str) -> Choice:
        """Read `name` or `name[key=value,…]`."""
        match = re.fullmatch(r"([A-Za-z_]\w*)(?:\[([^\[\]]*)\])?", text)
        if match is None:
            raise BadInput(f"{text!r} is not a part: write it as name or name[key=value].")
        pairs = []
        for pair in filter(None, (match[2] or "").split(",")):
            key, equals, value = (piece.strip() for piece in pair.partition("="))
            if not (key and equals and value):
                raise BadInput(f"option {pair!r} of {match[1]} is not of the form key=value.")
            pairs.append((key, value))
        if len(dict(pairs)) < len(pairs):
            raise BadInput(f"{text!r} gives an option twice: give each once.")
        return cls(match[1], tuple(sorted(pairs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is run: a runtime, a precision and the rewrites applied first, in order.

    With a `decoder_runtime` the first runs the encoder alone, and that one all the rest.
    """

    runtime: Choice
    precision: str
    rewrites: tuple[Choice, ...] = ()
    decoder_runtime: Choice | None = None

    def __str__(self) -> str:
        runtimes = ">".join(map(str, self.runtimes))
        return "+".join([f"{runtimes}/{self.precision}", *map(str, self.rewrites)])

    @property
    def runtimes(self) -> tuple[Choice, ...]:
        """The runtimes that it takes: one, or the encoder's and the decoder's."""
        return (self.runtime,) if self.decoder_runtime is None else (self.runtime, self.decoder_runtime)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read `runtime[key=value…]/precision[+rewrite[key=value…]…]`, or with two runtimes `encoder>decoder/…`."""
        head, *rewrites = text.strip().split("+")
        runtimes, slash, precision = head.rpartition("/")
        runtime, arrow, decoder_runtime = runtimes.partition(">")
        if not (slash and runtime and precision) or (arrow and not decoder_runtime):
            raise BadInput(
                f"recipe {text!r} is not of the form runtime/precision+rewrite: "
                "write it as torch_eager/fp32 or torch_compile/bf16+reparameterize."
            )
        return cls(
            runtime=Choice.parse(runtime),
            precision=precision,
            rewrites=tuple(Choice.parse(rewrite) for rewrite in rewrites),
            decoder_runtime=Choice.parse(decoder_runtime) if arrow else None,
        )


REFERENCE = Recipe(runtime=Choice("torch_eager"), precision="fp32")  # what every speed-up is against


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A network under a recipe on one input shape with a number of threads: one row of a table."""

    network: Network
    recipe: Recipe
    batch: int = 1
    height_px: int
    width_px: int
    threads: int
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < SMALLEST_SIDE_PX:
            raise BadInput(
                f"size {self.height_px}x{self.width_px} is too small: "
                f"each side needs at least {SMALLEST_SIDE_PX} pixels; give --size 512 or 480x640."
            )
        if self.batch < 1 or self.threads < 1:
            raise BadInput(f"batch {self.batch} and threads {self.threads} must be at least 1.")

    @property
    def name(self) -> str:
        return f"{self.network.name} {self.recipe}"

    def key(self) -> str:
        """The stored name: a hash of the fields that differ from their defaults, so that a field
        added later renames no old case. A checkpoint counts by its content."""
        return digest(self)

    def network_key(self) -> str:
        """What cases with the same network and input share: all of them may be compared."""
        return digest(replace(self, recipe=REFERENCE, threads=1))


def _positive_integers(name: str, value: Any) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in value)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise BadInput(f"{name} {value!r} is not accepted: give positive whole numbers, such as (64, 32).")
    return numbers


def _reference_choice(text: str) -> Choice:
    """Read `name[.architecture][[encoder,]key=value…]`: both short forms are options like the others."""
    head, bracket, inside = text.partition("[")
    name, dot, architecture = head.partition(".")
    if bracket and not inside.endswith("]"):
        raise BadInput(f"network {text!r} has no closing bracket: write it as smp.unet[resnet18].")
    options = [each.strip() for each in inside.removesuffix("]").split(",") if each.strip()]
    if options and "=" not in options[0]:
        options[0] = f"encoder={options[0]}"
    if dot:
        options.append(f"architecture={architecture}")
    return Choice.parse(f"{name}[{','.join(options)}]")


def _reference_text(choice: Choice) -> str:
    options = dict(choice.options)
    architecture, encoder = options.pop("architecture", None), options.pop("encoder", None)
    name = choice.name if architecture is None else f"{choice.name}.{architecture}"
    pairs = [f"{key}={value}" for key, value in sorted(options.items())]
    inside = ",".join(pairs if encoder is None else [encoder, *pairs])
    return f"{name}[{inside}]" if inside else name
