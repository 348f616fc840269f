"""What several runtimes convert from: an ONNX file, written by torch's own exporter. Needs torch."""

from __future__ import annotations

import logging
import warnings
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from unetbench.runtimes import Inputs
from unetbench.runtimes._names import INPUT, OUTPUT, names


def write_onnx(model: nn.Module, inputs: Inputs, path: Path) -> int:
    """Write a network for inputs of one shape as a single ONNX file; return the number of its outputs.

    Shapes: inputs (B, C, H, W) each. Raises: what torch's exporter raises where an operator is not known to it.
    """
    tensors = tuple(map(torch.from_numpy, inputs))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations inside the exporter itself
        outputs = outputs_of(model, tensors)
        program = torch.onnx.export(
            model.eval(),
            tensors,
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=names(INPUT, len(tensors)),
            output_names=names(OUTPUT, outputs),
        )
        assert program is not None
        program.save(str(path), external_data=False)
    return outputs


def outputs_of(model: nn.Module, tensors: tuple[torch.Tensor, ...]) -> int:
    """Return how many tensors a network answers, by running it on the meta device."""
    ghost = deepcopy(model).to("meta")
    answer = ghost(*(tensor.to("meta") for tensor in tensors))
    return 1 if isinstance(answer, torch.Tensor) else len(answer)
