"""A bundle's README.md: the manifest for people, as text. It writes no file."""

from __future__ import annotations

from collections.abc import Iterator

from unetbench import parts
from unetbench.amounts import counted
from unetbench.deploy.manifest import INPUT, LOGITS, Manifest
from unetbench.deploy.tiles import least_overlap
from unetbench.deploy.verify import agreement, time_text
from unetbench.reporting.row import rewrite_proof

_PAGE = """# {name}

A segmentation network, exported by unetbench on {made}: {taken} to
{told}, in tiles of {height}x{width} pixels, run as `{recipe}`.

| | |
|---|---|
{rows}

## Use

```bash
pip install numpy {packages}
python predict.py                  # does it still answer what it answered here?
python predict.py IMAGE MASK.npy   # needs pillow too where IMAGE is no .npy
```

With unetbench: `unetbench verify FOLDER` checks every file, the answer and the time on another machine;
`unetbench predict FOLDER IMAGES -o MASKS` segments images of any size, by tiles, in bounded memory.

## Feed it yourself

Input: float32, (1, {channels}, {height}, {width}), pixels from 0 to 1 less mean {mean}, divided by std {std}
(repeated over further channels). Output: logits, (1, {classes}, {height}, {width}); {decision}.
`{input}` is such an input, `{logits}` what PyTorch answers to it in fp64 (kept as float32).
Images larger than a tile: tiles that begin at multiples of {unit} pixels and overlap by {overlap:.0%} or more, what is
beyond the image filled with 0, their logits blended with Gaussian weights.
{onnx}
"""


def text(manifest: Manifest) -> str:
    """Return the page."""
    case = manifest.case()
    packages = {
        parts.find("runtime", choice.name).constants["REQUIRES"][0] for choice in case.recipe.runtimes
    }
    classes = case.network.classes
    onnx = f"`{manifest.onnx}` is plain ONNX, for any other consumer." if manifest.onnx else ""
    return _PAGE.format(
        name=case.network.name,
        made=manifest.made_utc,
        recipe=case.recipe,
        channels=case.network.in_channels,
        classes=classes,
        taken=counted(case.network.in_channels, "channel"),
        told=counted(classes, "class", "classes"),
        height=case.height_px,
        width=case.width_px,
        rows="\n".join(f"| {heading} | {said} |" for heading, said in _rows(manifest)),
        packages=" ".join(sorted(packages)),
        mean=list(manifest.mean),
        std=list(manifest.std),
        decision="a pixel is of the class where it is above 0"
        if classes == 1
        else "the largest is the class",
        input=INPUT,
        logits=LOGITS,
        overlap=min(
            least_overlap(side, manifest.overlap, manifest.unit_px)
            for side in (case.height_px, case.width_px)
        ),
        unit=manifest.unit_px,
        onnx=onnx,
    )


def _rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    certificate = manifest.certificate
    fired = [rewrite_proof(report) for report in certificate.rewrites if report.fired]
    yield "weights", manifest.network.weights
    yield "size", f"{certificate.parameters:,} parameters, {certificate.flop / 1e9:.2f} GFLOP a tile"
    yield "rewrites", "; ".join(fired) or "none"
    yield "agreement", agreement(certificate.parity)
    yield "time", time_text(manifest.card)
    yield "made with", ", ".join(f"{name} {version}" for name, version in manifest.versions)
