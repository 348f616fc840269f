"""What several runtimes convert from: an ONNX file, written by torch's own exporter. Needs torch."""

from __future__ import annotations

import ast
import logging
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from unetbench.runtimes import Inputs
from unetbench.runtimes._names import INPUT, OUTPUT, names, of_module

_SCOPES: Final = (
    "pkg.torch.onnx.name_scopes"  # where the exporter keeps the modules around an operation, outermost first
)


def write_onnx(model: nn.Module, inputs: Inputs, path: Path) -> int:
    """Write a network for inputs of one shape as a single ONNX file; return the number of its outputs.

    Operations are named by their modules, which runtimes' own counters then tell.
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
        _name_by_module(program.model.graph)
        program.save(str(path), external_data=False)
    return outputs


def _name_by_module(graph: Any) -> None:
    for node in graph:
        *modules, _ = ast.literal_eval(node.metadata_props.get(_SCOPES, "['']"))
        if not modules:  # as of what the exporter's own changes add
            continue
        node.name = of_module(modules[-1], node.name)
        for made in node.outputs:
            if not made.is_graph_output():  # some runtimes name what they make of operations by these
                made.name = of_module(modules[-1], made.name)


def outputs_of(model: nn.Module, tensors: tuple[torch.Tensor, ...]) -> int:
    """Return how many tensors a network answers, by running it on the meta device."""
    ghost = deepcopy(model).to("meta")
    answer = ghost(*(tensor.to("meta") for tensor in tensors))
    return 1 if isinstance(answer, torch.Tensor) else len(answer)
