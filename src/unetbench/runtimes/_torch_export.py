"""What several runtimes convert from: an ONNX file, written by torch's own exporter. Needs torch."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from unetbench.runtimes import Image
from unetbench.runtimes._names import INPUT, OUTPUT


def write_onnx(model: nn.Module, image: Image, path: Path) -> None:
    """Write a network for one input shape as a single ONNX file.

    Shapes: image (B, C, H, W). Raises: what torch's exporter raises where an operator is not known to it.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations inside the exporter itself
        program = torch.onnx.export(
            model.eval(),
            (torch.from_numpy(image),),
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
        assert program is not None
        program.save(str(path), external_data=False)
