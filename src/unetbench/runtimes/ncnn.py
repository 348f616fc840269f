"""ncnn on the CPU, converted by pnnx; every 16-bit option off, so that fp32 is fp32.

`winograd=4` leaves out its largest tiles, of 6×6 answers: as fast where tried, and more exact (docs/folding.md);
`winograd=0` has none.
"""

from __future__ import annotations

import signal
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unetbench.errors import Unsupported
from unetbench.runtimes import Artifact, Image, Inputs, Logits, Session
from unetbench.runtimes._denormals import flush, told

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32",)  # its quantisation tools are not in the wheel
REQUIRES = ("ncnn", "pnnx")
OPTIONS = {"winograd": ("1", "0", "4")}
DIRECT = {"winograd": "0"}
WORTH_TRYING = {"winograd": ("1", "4")}
IN_PROCESS = False
TRAVELS = ("network.param", "network.bin")
_PARAMETERS, _WEIGHTS = "network.param", "network.bin"
_NARROW = ("fp16", "bf16", "vulkan")  # in the names of the options that fp32 on a CPU must not have


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
    """Trace the network for one image, convert it by pnnx in the folder, and keep ncnn's two files."""
    import torch
    from pnnx import EXEC_PATH

    assert folder is not None
    traced = folder / "network.pt"
    first = tuple(
        torch.from_numpy(each[:1]) for each in inputs
    )  # ncnn knows no batch: it goes image by image
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model.eval(), first, check_trace=False), str(traced))  # type: ignore[no-untyped-call]
    shapes = ",".join(f"[{','.join(map(str, each.shape))}]" for each in first)
    kept = (folder / _PARAMETERS, folder / _WEIGHTS)
    told_by_it = subprocess.run(
        [
            EXEC_PATH,
            traced.name,
            f"inputshape={shapes}",
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
    ended_by = -told_by_it.returncode
    if ended_by == signal.SIGKILL or "bad_alloc" in told_by_it.stderr:
        raise MemoryError("pnnx ended for want of memory")
    if ended_by > 0:
        raise Unsupported(f"pnnx crashed on this network (signal {ended_by}): use another runtime.")
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
        self._net.opt.use_winograd_convolution = winograd != "0"
        self._net.opt.use_winograd63_convolution = winograd == "1"
        for option in _narrow(self._net.opt):
            setattr(self._net.opt, option, False)
        if self._net.load_param(str(folder / _PARAMETERS)) or self._net.load_model(str(folder / _WEIGHTS)):
            raise Unsupported("ncnn cannot read the network that pnnx wrote: use another runtime.")
        # pnnx numbers both; ncnn tells them in the order in which its layers come.
        self._inputs = sorted(self._net.input_names(), key=_number)
        # An input that nothing reads counts as an output, too.
        self._outputs = sorted({*self._net.output_names()} - {*self._inputs}, key=_number)
        self._images: list[list[Any]] = []  # of each image of the batch its inputs
        self._answers: list[list[Any]] = []

    def bind(self, *inputs: Image, shared: bool = False) -> None:
        # Its own layout pads each channel to a multiple of 16 bytes: it copies in any case.
        self._images = [
            [self._ncnn.Mat(np.ascontiguousarray(each)).clone() for each in image]
            for image in zip(*inputs, strict=True)
        ]

    def run(self) -> None:
        self._answers = [self._extracted(image) for image in self._images]

    def _extracted(self, image: list[Any]) -> list[Any]:
        extractor = self._net.create_extractor()
        for name, each in zip(self._inputs, image, strict=True):
            extractor.input(name, each)
        return [self._answer(extractor, name) for name in self._outputs]

    def _answer(self, extractor: Any, name: str) -> Any:
        code, answer = extractor.extract(name)
        if code != 0:
            raise RuntimeError(f"ncnn gave no answer (code {code})")
        return answer

    def answers(self) -> tuple[Logits, ...]:
        images = zip(*self._answers, strict=True)
        return tuple(np.stack([np.array(each, dtype=np.float32) for each in answers]) for answers in images)

    def read(self) -> Logits:
        return self.answers()[0]

    def in_force(self) -> dict[str, str]:
        options = self._net.opt
        wide = ", ".join(name for name in _narrow(options) if getattr(options, name)) or "off"
        return {
            "threads": str(options.num_threads),
            "denormals": told(),
            "16 bits and gpu": wide,
            "winograd": _tiles(options),
            "packing": str(int(options.use_packing_layout)),
        }


def _narrow(options: Any) -> list[str]:
    """Return what this version of the library calls its 16 bits and the GPU."""
    named = (name for name in dir(options) if any(part in name for part in _NARROW))
    return [name for name in named if isinstance(getattr(options, name), bool)]


def _number(name: str) -> int:
    return int(name.lstrip("inout"))


def _refuse_unknown_layers(parameters: Path, said: str) -> None:
    """ncnn's own layers have no dot or colon in their type: what pnnx could not convert keeps torch's name."""
    if not parameters.is_file():
        last = said.strip().rpartition("\n")[2]
        raise Unsupported(f"pnnx converts this network to nothing ({last[:150]}): use another runtime.")
    kinds = {line.split()[0] for line in parameters.read_text(encoding="utf-8").splitlines()[2:] if line}
    unknown = sorted(kind for kind in kinds if "." in kind or ":" in kind)
    if unknown:
        raise Unsupported(f"ncnn has no operator {', '.join(unknown)}: use another runtime.")


def _tiles(options: Any) -> str:
    if not options.use_winograd_convolution:
        return "0"
    return "1" if options.use_winograd63_convolution else "4"
