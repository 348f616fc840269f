"""What is asked: networks, recipes and cases, their text forms and their keys. Standard library only."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any

from unetbench.errors import BadInput
from unetbench.keys import content, digest

if TYPE_CHECKING:
    from unetbench.networks.segmenter import Segmenter

SMALLEST_SIDE_PX = 32  # one cell of the deepest map of a stride-32 encoder


@dataclass(frozen=True, slots=True)
class Network:
    """A timm encoder with a decoder and a head: what is computed, before any choice of how.

    Shapes: the network built maps (B, in_channels, H, W) to (B, classes, H, W).
    """

    encoder: str
    _: KW_ONLY
    decoder: str = "unet"
    classes: int = 1
    in_channels: int = 3
    decoder_channels: tuple[int, ...] | None = None
    image_size: tuple[int, int] | None = None
    weights: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.classes < 1 or self.in_channels < 1:
            raise BadInput(
                f"a network needs at least 1 class and 1 input channel; got classes={self.classes}, "
                f"in_channels={self.in_channels}: give positive numbers."
            )
        object.__setattr__(self, "weights", str(self.weights))
        for name in ("decoder_channels", "image_size"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _positive_integers(name, value))

    @property
    def name(self) -> str:
        """The text form, such as `resnet18/unet`."""
        return f"{self.encoder}/{self.decoder}"

    @classmethod
    def parse(cls, text: str, **rest: Any) -> Network:
        """Read `encoder/decoder`."""
        encoder, slash, decoder = text.partition("/")
        if not (encoder and slash and decoder) or "/" in decoder:
            raise BadInput(f"network {text!r} is not of the form encoder/decoder: write it as resnet18/unet.")
        return cls(encoder, decoder=decoder, **rest)

    def canonical(self) -> Network:
        """Return the network as its key sees it: a checkpoint counts by its content, not its path."""
        if self.weights in ("random", "pretrained"):
            return self
        return replace(self, weights=content(self.weights))

    def build(self) -> Segmenter:
        """Build the network as an `nn.Module` in eval mode, with `.encoder` and `.decoder`.

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
        options = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.name}[{options}]" if options else self.name

    @classmethod
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
