"""Build a case's network, rewrite it, convert it for its runtime. Runs in a worker, which need not time it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from unetbench import parts, photos
from unetbench.errors import UnetbenchError, Unsupported, one_line
from unetbench.measuring import artifacts, memory
from unetbench.records import Case
from unetbench.runtimes import Image, Inputs
from unetbench.runtimes._chosen import One, Two, of

CALIBRATION_IMAGES = 32  # crops that give int8 its ranges
_CALIBRATION_SEED = 4321  # other crops than those that are timed and compared
_FULL_BYTES = 16 << 20  # a disk with less than this is full: the converter's own words differ
_OPERATOR = re.compile(r"\b(?:aten|torchvision|prims)[.:]+\w+(?:\.\w+)?")

Say = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True, kw_only=True)
class Built:
    """A rewritten network with its counts and what it cost until now."""

    model: Any
    runtime: One | Two
    facts: dict[str, Any] = field(default_factory=dict)


def build(case: Case, folder: Path, shape: tuple[int, ...], say: Say) -> Built:
    """Build a case's network with the reference's weights and rewrite it.

    Shapes: shape (B, C, H, W). Raises: Unsupported where a rewrite does not apply.
    """
    clock = time.perf_counter
    marks = [clock()]
    say({"phase": "importing"})
    from unetbench.rewrites import _ghost, rewrite

    runtime = of(case.recipe)
    for choice in case.recipe.runtimes:  # imported here, where imports are timed
        parts.find("runtime", choice.name).module()
    marks.append(clock())
    say({"phase": "building"})
    size = case.network.image_size or (case.height_px, case.width_px)
    weights = str(folder / "weights.safetensors")
    model: Any = replace(case.network, image_size=size, weights=weights).build()
    marks.append(clock())
    model = rewrite(model, *map(str, case.recipe.rewrites), shape=shape)
    marks.append(clock())
    facts = {
        "parameters": _ghost.parameters(model),
        "encoder_parameters": _ghost.parameters(model.encoder),
        "flop": _ghost.flop(model, shape),
        "rewrites": msgspec.to_builtins(model.report),
        "import_s": marks[1] - marks[0],
        "build_s": marks[2] - marks[1],
        "rewrite_s": marks[3] - marks[2],
        "peak_build_bytes": memory.peak_rss_bytes(),
    }
    return Built(model=model, runtime=runtime, facts=facts)


def convert(
    case: Case, folder: Path, to: Path, image: Image, image_files: Sequence[Path], say: Say
) -> dict[str, Any]:
    """Build, rewrite and convert a case; the artifact is put in its place with its facts, which are returned.

    Raises: Unsupported, with the operator's name, where the runtime cannot convert the network.
    """
    built = build(case, folder, image.shape, say)
    say({"phase": "converting"})
    made = artifacts.unfinished(to)
    start = time.perf_counter()
    try:
        with converting(case, made):
            artifact = built.runtime.convert(
                built.model,
                (image,),
                precision=case.recipe.precision,
                threads=case.threads,
                folder=made,
                calibration=_calibration(case, built.model, image_files),
            )
            facts = built.facts | {"prepare_s": time.perf_counter() - start}
            facts["peak_build_bytes"] = memory.peak_rss_bytes()
            session = built.runtime.load(artifact, threads=case.threads)
            session.bind(image)
            session.run()  # a file that a converter left half-written must not be kept as whole
            artifacts.seal(made, to, facts)
    finally:
        shutil.rmtree(made, ignore_errors=True)  # it lies in its place, or is of no use
    return facts


@contextmanager
def converting(case: Case, made: Path) -> Iterator[None]:
    """Turn what a converter raises into Unsupported with the operator's name; a full disk is no finding."""
    try:
        yield
    except (UnetbenchError, MemoryError, OSError):
        raise
    except Exception as error:
        if shutil.disk_usage(made).free < _FULL_BYTES:
            raise OSError(f"No space left on device: converting for {case.recipe}") from error
        raise Unsupported(_reason(case, error)) from error


def _calibration(case: Case, model: Any, image_files: Sequence[Path]) -> tuple[Inputs, ...]:
    if case.recipe.precision != "int8":
        return ()
    from unetbench.networks.whole import intake

    crops = photos.crops(
        image_files,
        CALIBRATION_IMAGES * case.batch,
        height_px=case.height_px,
        width_px=case.width_px,
        channels=case.network.in_channels,
        seed=_CALIBRATION_SEED,
    )
    pixels = photos.normalised(crops, intake(model).mean, intake(model).std)
    return tuple((each,) for each in pixels.reshape(CALIBRATION_IMAGES, case.batch, *pixels.shape[1:]))


def _reason(case: Case, error: Exception) -> str:
    """Name the operator first, where the error does: the rest may be pages."""
    text = " ".join(str(error).split())
    operator = _OPERATOR.search(text)
    named = f"operator {operator[0]}: " if operator else ""
    return (
        f"{' and '.join(each.name for each in case.recipe.runtimes)} cannot convert this network: "
        f"{named}{one_line(error)}; use another runtime"
    )
