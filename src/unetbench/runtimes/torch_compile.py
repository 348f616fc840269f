"""Inductor, torch.compile's compiler, ahead of time: a package that later processes load; bf16 by autocast.

int8 is torchao's static quantisation for x86, on real images; it is always frozen, or nothing would be folded.
`freezing=1` folds the weights into the compiled code (Inductor's `freezing`), which plain torch.compile
does not. `hugepages=1` lets torch ask the kernel for pages of 2 MB, as in torch_eager.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unetbench import machine
from unetbench.errors import MissingPackage
from unetbench.runtimes import Artifact, Inputs, Session
from unetbench.runtimes._torch_session import TorchSession, check_huge_pages, set_threads

PRECISIONS = ("fp32", "bf16", "int8")
REQUIRES = ("torch",)
REQUIRES_FOR = {"int8": ("torchao",)}
OPTIONS = {"freezing": ("0", "1"), "hugepages": ("0", "1")}
ENVIRONMENT = {"hugepages": {"1": {"THP_MEM_ALLOC_ENABLE": "1"}}}
IN_PROCESS = False
COMPILES = True
KEEPS_LAYOUT = True
WORTH_TRYING = {"freezing": ("1",), "hugepages": ("1",)}
_PACKAGE = "package.pt2"


def convert(
    model: nn.Module,
    inputs: Inputs,
    *,
    precision: str,
    options: Mapping[str, str],
    threads: int,
    folder: Path | None = None,
    calibration: Sequence[Inputs] = (),
) -> Artifact:
    """Compile for the inputs' shapes and that many threads into a package in the folder."""
    assert folder is not None
    set_threads(threads)
    tensors = tuple(map(torch.from_numpy, inputs))
    frozen = precision == "int8" or options.get("freezing") == "1"
    with torch.no_grad():
        program = torch.export.export(_Cast(model).eval() if precision == "bf16" else model.eval(), tensors)
        if precision == "int8":
            quantised = _quantised(program.module(), calibration or [inputs])
            program = torch.export.export(quantised, tensors)
        # Said in either case: the shell may have another default.
        choices: dict[str, Any] = {"freezing": frozen}
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(folder / _PACKAGE), inductor_configs=choices
        )
    return Artifact(precision=precision, options=options, folder=folder)


def load(artifact: Artifact, *, threads: int) -> Session:
    """Load the package. It holds machine code: only from a folder that nobody else can write."""
    assert artifact.folder is not None
    set_threads(threads)
    check_huge_pages(artifact.options)
    package: Any = torch._inductor.aoti_load_package(str(artifact.folder / _PACKAGE))
    return TorchSession(package, precision="fp32")  # what autocast does is in the code


def _quantised(graph: Any, images: Sequence[Inputs]) -> nn.Module:
    """Return a graph with quantisers around its convolutions, which Inductor folds into them; ranges come from
    the images."""
    try:
        from torchao.quantization.pt2e import quantize_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    except ImportError as error:
        raise MissingPackage(
            "runtime torch_compile needs torchao for int8: install it with `uv pip install unetbench[torchao]`."
        ) from error
    # Without VNNI the CPU sums products of bytes in 16 bits, which saturate.
    kind = x86.get_default_x86_inductor_quantization_config(reduce_range=not machine.multiplies_bytes())
    quantiser = x86.X86InductorQuantizer().set_global(kind)
    prepared = quantize_pt2e.prepare_pt2e(graph, quantiser)
    for inputs in images:
        prepared(*map(torch.from_numpy, inputs))
    quantised: nn.Module = quantize_pt2e.convert_pt2e(prepared)
    return quantised


class _Cast(nn.Module):
    """A network under autocast, so that its casts are part of the exported program."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Any:
        with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
            return self.model(*inputs)
