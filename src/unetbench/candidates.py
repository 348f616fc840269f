"""What is worth trying: the recipes that `tune` searches, from what discovery finds, and the encoders of `advise`.

A runtime's file says what matters to it: `WORTH_TRYING` (the option values to search, where not its
defaults alone), `KEEPS_LAYOUT` (the weights' memory layout reaches its kernels), `FIRST_HALF` (the options with
which it may run the encoder before another) and `SECOND_HALF` (it may run the decoder after another). No
timing is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product

from unetbench import machine, parts, suite
from unetbench.errors import BadInput, unknown
from unetbench.records import REFERENCE, Choice, Recipe

_LAYOUT = "channels_last"
_HEAD_FOLDED = ("reparameterize", "fold_head")
# What helps nearly everywhere first. fold_upconv and fold_upsampling end in an addition, behind which no compiler folds a batch
# norm: it goes with fold_batchnorm, which elsewhere compilers do themselves.
_FOLDS = (
    ("reparameterize",),
    _HEAD_FOLDED,
    ("reparameterize", "fold_batchnorm", "fold_head", "fold_upconv", "fold_upsampling"),
)

# From fast to accurate, one of each kind; `benchmarks/recipes` has the recipes of most of them.
_ENCODERS = (
    "mobilenetv4_conv_small", "mobileone_s0", "regnetx_004", "repvgg_a0", "resnet18", "mobilenetv4_conv_medium",
    "efficientnet_b0", "edgenext_small", "resnet34", "convnextv2_atto",
)  # fmt: skip
_MOST_ENCODERS = 40  # that a search begins with: each takes some 20 s under its first recipe


def encoders(patterns: Sequence[str], known: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the encoders to search: a short list, or those of timm that match and whose quality is known.

    Raises: BadInput where none or too many are meant.
    """
    if not patterns:
        return _ENCODERS
    return tuple(dict.fromkeys(name for pattern in patterns for name in _matching(pattern, known)))


def _matching(pattern: str, known: Callable[[str], bool]) -> tuple[str, ...]:
    names = suite.encoder_tags()
    if pattern.partition(".")[0] in names:
        suite.check_encoder(pattern)
        return (pattern,)
    found = tuple(name for name in names if fnmatchcase(name, pattern) and known(name))
    if not 0 < len(found) <= _MOST_ENCODERS:
        raise BadInput(
            f"--encoder {pattern!r} matches {len(found)} encoders of known quality, and 1 to {_MOST_ENCODERS} can be "
            "searched: give another pattern; `unetbench list encoders PATTERN` shows what matches."
        )
    return found


def recipes(runtimes: Collection[str] = (), precisions: Collection[str] = ()) -> tuple[Recipe, ...]:
    """Return the recipes to search, the reference first; all runtimes and precisions where none is named.

    bf16 is among them only where the CPU has it. Runtimes, and precisions of them, whose packages are not installed are
    left out.
    Raises: BadInput for an unknown runtime or precision, or where nothing is left.
    """
    names = parts.names("runtime")
    for name in runtimes:
        parts.find("runtime", name)
    known = {each for name in names for each in parts.find("runtime", name).constants["PRECISIONS"]}
    for precision in precisions:
        if precision not in known:
            raise unknown("precision", precision, sorted(known), "Give --precision one of them.")
    chosen = [parts.find("runtime", name) for name in names if not runtimes or name in runtimes]
    there = [part for part in chosen if not part.missing]
    every = [*(recipe for part in there for recipe in _of_runtime(part)), *_of_two(there)]
    found = [recipe for recipe in every if not precisions or recipe.precision in precisions]
    if not found:
        raise BadInput("no recipe is left to try: name other runtimes or precisions, or install a runtime.")
    return tuple(dict.fromkeys([REFERENCE, *found]))


def _of_runtime(part: parts.Part) -> Iterator[Recipe]:
    for precision in part.constants["PRECISIONS"]:
        emulated = precision == "bf16" and not machine.bf16_instructions()
        if emulated or part.missing_for(precision):
            continue
        for choice in _choices(part):
            for rewrites in _rewrites(bool(part.constants.get("KEEPS_LAYOUT"))):
                yield Recipe(runtime=choice, precision=precision, rewrites=rewrites)


def _of_two(there: Sequence[parts.Part]) -> Iterator[Recipe]:
    """The encoder in one runtime and the decoder in another, in fp32: how they differ is in their convolutions."""
    firsts = [part for part in there if "FIRST_HALF" in part.constants]
    seconds = [part for part in there if part.constants.get("SECOND_HALF")]
    for first, second in product(firsts, seconds):
        encoder = Choice(first.name, tuple(sorted(first.constants["FIRST_HALF"].items())))
        for decoder in _choices(second):
            yield Recipe(
                runtime=encoder,
                precision="fp32",
                rewrites=tuple(map(Choice, _HEAD_FOLDED)),
                decoder_runtime=decoder,
            )


def _choices(part: parts.Part) -> Iterator[Choice]:
    worth = part.constants.get("WORTH_TRYING", {})
    for values in product(*worth.values()):
        options = sorted(zip(worth, values, strict=True))
        # Defaults are left out: stores know those recipes by the shorter name.
        yield Choice(
            part.name, tuple(each for each in options if each[1] != part.constants["OPTIONS"][each[0]][0])
        )


def _rewrites(keeps_layout: bool) -> Iterator[tuple[Choice, ...]]:
    for names in _FOLDS:
        folds = tuple(map(Choice, names))
        yield folds
        if keeps_layout:
            yield (*folds, Choice(_LAYOUT))
