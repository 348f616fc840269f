"""A suite: the axes of a sweep as data, checked by name and expanded into cases. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from unetbench import encoders, parts, plans
from unetbench.errors import BadInput, Unsupported, unknown
from unetbench.records import RGB, SMALLEST_SIDE_PX, Case, Network, Recipe

_MOST_DIGITS = 10  # of a side: far more than can be accepted
_MOST_SUITE_BYTES = 1 << 20  # a suite is a page of names
_TIMM_IN_SMP = "tu-"  # segmentation_models_pytorch's own mark of an encoder of timm
_LONGEST_SIDE_PX = 65_536  # beyond it an input alone is tens of GB: a typing error


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The axes of a sweep. Networks are encoders × decoders, then those named whole."""

    title: str = "A sweep"
    encoders: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ("unet",)
    networks: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ("torch_eager/fp32",)
    sizes: tuple[str, ...] = ("512x512",)
    batch: int = 1
    classes: int = 1
    in_channels: int = RGB
    weights: str = "random"
    decoder_channels: tuple[int, ...] = field(default=())

    def cases(self, threads: int) -> tuple[Case, ...]:
        """Expand into cases, breadth-first: every network has its first recipe before any its second.

        Raises: BadInput for any name that is not known, before anything runs.
        """
        networks = [
            Network(
                encoder,
                decoder=decoder,
                classes=self.classes,
                in_channels=self.in_channels,
                decoder_channels=self.decoder_channels or None,
                weights=self.weights,
            )
            for encoder, decoder in product(self.encoders, self.decoders)
        ]
        for named in map(Network.parse, self.networks):
            widths = None if named.reference else self.decoder_channels or None
            networks.append(
                replace(
                    named,
                    classes=self.classes,
                    in_channels=self.in_channels,
                    weights=self.weights,
                    decoder_channels=widths,
                )
            )
        if not networks:
            raise BadInput("the suite names no network: give encoders = [...] in it, or --encoder NAME.")
        if not (self.recipes and self.sizes):
            raise BadInput(
                "the suite names no recipe or no size: give both in it, or leave both to their defaults."
            )
        for network in networks:
            check_network(network)
        recipes = [checked_recipe(text) for text in self.recipes]
        cases = [
            Case(
                network=network,
                recipe=recipe,
                batch=self.batch,
                height_px=height,
                width_px=width,
                threads=threads,
            )
            for recipe in recipes
            for (height, width) in map(parse_size, self.sizes)
            for network in networks
        ]
        cases[0].key()  # reads a checkpoint once, so that one that is not there is told before anything runs
        return tuple(dict.fromkeys(cases))


def read_suite(path: Path) -> Suite:
    """Read a suite from its folder or its TOML file.

    Raises: BadInput for a missing or malformed file, an unknown key (with the nearest) or a wrong type.
    """
    file = path / "suite.toml" if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST_SUITE_BYTES + 1)
        if len(text) > _MOST_SUITE_BYTES:
            raise BadInput(f"suite {str(file)!r} is larger than 1 MiB: a suite is a page of names.")
        data = tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise BadInput(
            f"suite {str(path)!r} cannot be read ({error.strerror}): "
            "give a folder that holds a suite.toml, such as benchmarks/unet_decoder."
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise BadInput(f"suite {str(file)!r} is not TOML ({error}): mend it at that place.") from error
    return Suite(**{key: _checked(file, key, value) for key, value in data.items()})


def overridden(suite: Suite, axes: Mapping[str, Any]) -> Suite:
    """Return the suite with those axes replaced that were given (not None and not empty).

    Naming networks or encoders replaces the suite's own choice of both.
    """
    given = {key: value for key, value in axes.items() if value}
    if "networks" in given:
        given.setdefault("encoders", ())
    if "encoders" in given:
        given.setdefault("networks", ())
    changed = replace(suite, **given)
    if "decoders" in given and not changed.encoders:
        raise BadInput(
            f"--decoder {given['decoders'][0]} goes with encoders, and none is left: write the network as "
            f"resnet18/{given['decoders'][0]}, or give --encoder."
        )
    return changed


def parse_size(text: str) -> tuple[int, int]:
    """Read `HxW` or `N` as (height, width).

    Units: pixels. Raises: BadInput.
    """
    pieces = text.lower().replace("×", "x").split("x")
    if len(pieces) > 2 or not all(piece.isdecimal() and len(piece) < _MOST_DIGITS for piece in pieces):
        raise BadInput(f"size {text!r} is not understood: give N or HxW, such as 512 or 480x640.")
    height, width = int(pieces[0]), int(pieces[-1])
    if not all(SMALLEST_SIDE_PX <= side <= _LONGEST_SIDE_PX for side in (height, width)):
        raise BadInput(
            f"size {text!r} is out of range: each side takes {SMALLEST_SIDE_PX} to {_LONGEST_SIDE_PX} pixels, "
            "such as 512 or 480x640."
        )
    return height, width


def checked_recipe(text: str) -> Recipe:
    """Read a recipe and check that its runtime, precision, options and rewrites exist.

    Raises: BadInput with the nearest match.
    """
    recipe = Recipe.parse(text)
    for choice in recipe.runtimes:
        runtime = parts.chosen("runtime", choice)
        precisions = runtime.constants.get("PRECISIONS", ())
        if recipe.precision not in precisions:
            accepted = f"{runtime.name} computes in {', '.join(precisions)}."
            raise unknown("precision", recipe.precision, precisions, accepted)
        if len(recipe.runtimes) > 1 and runtime.constants["IN_PROCESS"]:
            raise BadInput(
                f"recipe {text!r}: {runtime.name} keeps its network in memory and cannot be one of two "
                "runtimes; name one that writes files, such as openvino>mnn/fp32."
            )
    for rewrite in recipe.rewrites:
        parts.chosen("rewrite", rewrite)
    return recipe


def check_network(network: Network) -> None:
    """Raise BadInput unless every name in a network is known and it takes images.

    Raises: BadInput, with the nearest match; for a 3D network, which takes volumes.
    """
    if network.reference is None:
        check_encoder(network.encoder)
        parts.chosen("decoder", network.part)
        return
    choice = network.part
    if choice.name not in parts.names("reference"):
        step = "An encoder goes with a decoder: write encoder/decoder, as resnet18/unet."
        raise unknown("whole network", choice.name, parts.names("reference"), step)
    parts.chosen("reference", choice)
    options = dict(choice.options)
    encoder = options.get("encoder", "")
    if encoder.startswith(_TIMM_IN_SMP):
        check_encoder(encoder.removeprefix(_TIMM_IN_SMP))
    dimensions = int(options.get("dimensions", 2))
    if "plans" in options:
        dimensions = plans.architecture(options["plans"], options.get("configuration", "2d")).dimensions
    if dimensions != 2:
        raise BadInput(
            f"{network.name} is a {dimensions}D network: it takes volumes, and cases here are images; "
            "choose a 2D configuration."
        )


def network_text(name: str) -> str:
    """Return a network's text: an encoder alone stands for its U-Net."""
    head = name.partition("[")[0].partition(".")[0]
    return name if "/" in name or head in parts.names("reference") else f"{name}/unet"


def check_encoder(name: str) -> None:
    """Check from the shipped table that timm has this encoder and that it gives a pyramid.

    Raises: BadInput, with the nearest match; Unsupported with the reason.
    """
    architecture, dot, tag = name.partition(".")
    known = encoders.known()
    if set(name) & set("*?"):
        raise BadInput(
            f"encoder {name!r} is a pattern: name encoders one by one; `unetbench list encoders {name!r}` shows which "
            "there are."
        )
    if architecture not in known:
        raise unknown("encoder", name, known, "`unetbench list encoders` shows all.")
    encoder = known[architecture]
    if dot and tag not in encoder.tags:
        raise unknown(
            f"pretrained tag of {architecture}", tag, encoder.tags, f"{architecture} alone works too."
        )
    if encoder.reason:
        raise Unsupported(encoder.reason)


def encoder_tags() -> Mapping[str, tuple[str, ...]]:
    """Return timm's models and the pretrained tags of each."""
    return {encoder.name: encoder.tags for encoder in encoders.known().values()}


def _checked(file: Path, key: str, value: Any) -> Any:
    types = {each.name: str(each.type) for each in fields(Suite)}
    if key not in types:
        raise unknown("suite key", key, types, f"Mend it in {str(file)!r}.")
    kind = types[key]
    item = str if "str" in kind else int
    if kind.startswith("tuple"):
        valid = isinstance(value, list) and all(type(each) is item for each in value)
    else:
        valid = type(value) is item
    if not valid:
        wanted = {"str": "a string", "int": "a whole number", "tuple[str, ...]": "a list of strings"}
        raise BadInput(
            f"suite key {key!r} in {str(file)!r} has the value {value!r}: "
            f"it takes {wanted.get(kind, 'a list of whole numbers')}; mend it there."
        )
    return tuple(value) if isinstance(value, list) else value
