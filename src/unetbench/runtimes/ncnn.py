"""ncnn on the CPU, converted by pnnx; every 16-bit option off, so that fp32 is fp32."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unetbench.errors import Unsupported
from unetbench.runtimes import Artifact, Image, Logits, Session
from unetbench.runtimes._denormals import flush, told

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32",)  # its quantisation tools are not in the wheel
REQUIRES = ("ncnn", "pnnx")
OPTIONS = {"winograd": ("1", "0")}
IN_PROCESS = False
_PARAMETERS, _WEIGHTS = "network.param", "network.bin"
_SIXTEEN_BITS = (
    "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_vulkan_compute"
)  # fmt: skip


def convert(
    model: nn.Module,
    examples: Sequence[Image],
    *,
    precision: str,
    options: Mapping[str, str],
    threads: int,
    folder: Path | None = None,
    calibration: Sequence[Image] = (),
) -> Artifact:
    """Trace the network for one image, convert it by pnnx in the folder, and keep ncnn's two files."""
    import torch
    from pnnx import EXEC_PATH

    assert folder is not None
    traced = folder / "network.pt"
    image = torch.from_numpy(examples[0][:1])  # ncnn knows no batch: a session runs image by image
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model.eval(), image, check_trace=False), str(traced))  # type: ignore[no-untyped-call]
    shape = ",".join(map(str, image.shape))
    kept = (folder / _PARAMETERS, folder / _WEIGHTS)
    told_by_it = subprocess.run(
        [
            EXEC_PATH,
            traced.name,
            f"inputshape=[{shape}]",
            "fp16=0",
            f"ncnnparam={_PARAMETERS}",
            f"ncnnbin={_WEIGHTS}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    for made in folder.iterdir():
        if made not in kept:
            made.unlink()
    if told_by_it.returncode < 0:
        raise MemoryError(
            f"pnnx was ended by signal {-told_by_it.returncode}, as the kernel does when memory ends"
        )
    _refuse_unknown_layers(kept[0], told_by_it.stderr or told_by_it.stdout)
    return Artifact(precision=precision, options=options, folder=folder)


def load(artifact: Artifact, *, threads: int) -> Session:
    """Read both files and return a session with that many threads."""
    assert artifact.folder is not None
    return _Session(artifact.folder, threads, artifact.options.get("winograd", "1"))


class _Session:
    """A network and the images bound to it, one by one."""

    def __init__(self, folder: Path, threads: int, winograd: str) -> None:
        import ncnn

        flush()
        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_winograd_convolution = winograd == "1"
        for option in _SIXTEEN_BITS:
            setattr(self._net.opt, option, False)
        if self._net.load_param(str(folder / _PARAMETERS)) or self._net.load_model(str(folder / _WEIGHTS)):
            raise Unsupported("ncnn cannot read the network that pnnx wrote: use another runtime.")
        (self._input,), (self._output,) = self._net.input_names(), self._net.output_names()
        self._images: list[Any] = []
        self._answers: list[Any] = []

    def bind(self, image: Image) -> None:
        self._images = [self._ncnn.Mat(np.ascontiguousarray(each)).clone() for each in image]

    def run(self) -> None:
        self._answers = [self._extracted(image) for image in self._images]

    def _extracted(self, image: Any) -> Any:
        extractor = self._net.create_extractor()
        extractor.input(self._input, image)
        code, answer = extractor.extract(self._output)
        if code != 0:
            raise RuntimeError(f"ncnn gave no answer (code {code})")
        return answer

    def read(self) -> Logits:
        return np.stack([np.array(answer, dtype=np.float32) for answer in self._answers])

    def in_force(self) -> dict[str, str]:
        options = self._net.opt
        wide = ", ".join(name for name in _SIXTEEN_BITS if getattr(options, name)) or "off"
        return {
            "threads": str(options.num_threads),
            "denormals": told(),
            "16 bits and gpu": wide,
            "winograd": str(int(options.use_winograd_convolution)),
            "packing": str(int(options.use_packing_layout)),
        }


def _refuse_unknown_layers(parameters: Path, said: str) -> None:
    """ncnn's own layers have no dot or colon in their type: what pnnx could not convert keeps torch's name."""
    if not parameters.is_file():
        last = said.strip().rpartition("\n")[2]
        raise Unsupported(f"pnnx converts this network to nothing ({last[:150]}): use another runtime.")
    kinds = {line.split()[0] for line in parameters.read_text(encoding="utf-8").splitlines()[2:] if line}
    unknown = sorted(kind for kind in kinds if "." in kind or ":" in kind)
    if unknown:
        raise Unsupported(f"ncnn has no operator {', '.join(unknown)}: use another runtime.")
