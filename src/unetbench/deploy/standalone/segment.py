"""Segment images with this bundle. Needs PACKAGES alone; Pillow where images are not .npy arrays.

python predict.py                   check the bundle's own answer
python predict.py IMAGE MASK.npy    an image (PNG, JPEG, or .npy of H×W×C from 0 to 1) to its classes
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ABOUT = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
THREADS = ABOUT["threads"]
CHANNELS = ABOUT["network"]["in_channels"]
PARTS: list[Any] = []


def logits(pixels: Any) -> Any:
    """Run the network. Shapes: (1, C, H, W), normalised -> (1, classes, H, W)."""
    values = [np.ascontiguousarray(pixels, np.float32)]
    for part in PARTS:
        values = part(values)
    return np.asarray(values[0], np.float32).reshape(1, -1, *pixels.shape[2:])


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin: at multiples of the network's deepest stride, so that they cover a length."""
    unit = min(ABOUT["unit_px"], side)
    last = max(0, math.ceil((length - side) / unit))
    steps = math.ceil(last / max(1, int(side * (1 - ABOUT["overlap"])) // unit))
    return [round(step * last / max(1, steps)) * unit for step in range(steps + 1)]


def bell(side: int) -> Any:
    """The weight of a tile's answer along one axis: most in its middle."""
    return np.exp(-0.5 * ((np.arange(side) - side // 2) / (side / 8)) ** 2)


def segment(image: Any) -> Any:
    """Return the class of each pixel. Shapes: (H, W, C) from 0 to 1 -> (H, W)."""
    height, width = ABOUT["height_px"], ABOUT["width_px"]
    mean, std = (np.resize(np.float32(ABOUT[name]), CHANNELS) for name in ("mean", "std"))
    pixels = ((np.float32(image) - mean) / std).transpose(2, 0, 1)
    rows, columns = starts(image.shape[0], height), starts(image.shape[1], width)
    short = (rows[-1] + height - image.shape[0], columns[-1] + width - image.shape[1])
    pixels = np.pad(pixels, [(0, 0), (0, short[0]), (0, short[1])])  # the mean, as the network itself pads
    total = np.zeros((ABOUT["network"]["classes"], *pixels.shape[1:]), np.float32)
    weight = np.outer(bell(height), bell(width)).astype(np.float32)
    for top in rows:
        for left in columns:
            answer = logits(pixels[None, :, top : top + height, left : left + width])[0]
            total[:, top : top + height, left : left + width] += answer * weight
    total = total[:, : image.shape[0], : image.shape[1]]
    return total[0] > 0 if len(total) == 1 else total.argmax(axis=0)


def read(path: str) -> Any:
    """Read an image. Shapes: (H, W, C) from 0 to 1."""
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False)
    from PIL import Image

    modes = {1: "L", 3: "RGB"}
    with Image.open(path) as image:
        if CHANNELS not in modes or image.mode in ("I", "F"):  # of these nothing says what is white
            raise SystemExit(f"give the image as .npy of HxWx{CHANNELS} from 0 to 1, not as {image.mode}")
        if image.mode.startswith("I;16"):  # Pillow's own conversion cuts off what is beyond 255
            return np.repeat(np.asarray(image)[..., None] / 65535.0, CHANNELS, axis=2)
        return np.atleast_3d(np.asarray(image.convert(modes[CHANNELS]))) / 255.0


def main(arguments: list[str]) -> str:
    """Segment an image, or check the bundle's own answer; return what is to be said."""
    if len(arguments) == 2:
        mask = segment(read(arguments[0])).astype(np.uint16)
        np.save(to := arguments[1].removesuffix(".npy") + ".npy", mask)  # as NumPy names it
        return f"wrote {to}: {mask.shape[0]}x{mask.shape[1]}, classes {np.unique(mask).tolist()}"
    if arguments:
        raise SystemExit("usage: python predict.py [IMAGE MASK.npy]")
    expected, given = (np.load(HERE / f"{name}.npy", allow_pickle=False) for name in ("logits", "input"))
    spread = expected - expected.mean((0, 2, 3), keepdims=True)
    error = np.linalg.norm(logits(given) - expected) / np.linalg.norm(spread)
    told = ABOUT["certificate"]["parity"]["relative_error"]
    most = max(1e-3, 3 * told) if "/fp32" in ABOUT["recipe"] else max(0.9, 1.05 * told)  # CPUs differ
    if not error <= most:
        raise SystemExit(f"WRONG ANSWER: relative error {error:.1e}, where it was exported {told:.1e}")
    return f"relative error {error:.1e}; python predict.py IMAGE MASK.npy segments an image"


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]) + "\n")
