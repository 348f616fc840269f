"""What this machine can do at best: products and convolutions in each precision, memory's bandwidth. Runs in
a worker of its own.

It keeps raw times and what did not run; which kernel is the limit is for reports to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unetbench import machine, parts
from unetbench.errors import UnetbenchError, Unsupported, in_our_words, one_line
from unetbench.measuring import noise
from unetbench.measuring.timing import no_garbage_collection
from unetbench.records import Kernel, LimitKind, MachineLimits
from unetbench.runtimes import Image
from unetbench.runtimes._torch_session import set_threads

_WARMUPS, _RUNS = 2, 15  # runs of a kernel, the median of which counts
_LEAST_RUNS, _LIMIT_S = 5, 1.0  # fewer where they take long
_PRODUCT = 1536  # rows and columns: 7 GFLOP, too much for any cache to matter and too little to wait for
# Of the convolutions: a decoder's levels, 3.6 GFLOP each in 3×3. Which suits best differs from runtime to runtime.
_CHANNELS_AND_SIDES = ((64, 128), (128, 64), (256, 32))
_LAYERS = 3  # in int8 the middle layer's maps are bytes on both sides
_LAYOUTS = {torch.contiguous_format: "NCHW", torch.channels_last: "channels last"}
_LEAST_BYTES = 256 << 20  # of a buffer
_CACHES = 4  # or so many times the largest cache
_MEMORY_SHARE = 8  # of the memory granted, one over this at most for each of three buffers

Act = Callable[[], object]
Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A kernel to try: `make` prepares it and returns what is timed."""

    kind: LimitKind
    name: str
    work: int
    make: Callable[[], Act]


def measured(threads: int, folder: Path, say: Say, *, runtimes: bool = True) -> MachineLimits:
    """Try every kernel that this machine and, where asked, the installed runtimes have; one that fails is told."""
    set_threads(threads)
    kernels, failed = [], {}
    before = noise.counters()
    size = _buffer_bytes()
    for candidate in (
        *_products(),
        *_convolutions(),
        *(_of_runtimes(threads, folder) if runtimes else ()),
        *_memory(size),
    ):
        say({"phase": f"limits: {candidate.name}"})
        try:
            with in_our_words(Unsupported):
                run_ns = _timed(candidate.make())
        except (UnetbenchError, MemoryError) as error:
            failed[candidate.name] = one_line(error)
            continue
        kernels.append(
            Kernel(kind=candidate.kind, name=candidate.name, work=candidate.work, run_ns=tuple(run_ns))
        )
    return MachineLimits(
        threads=threads,
        kernels=tuple(kernels),
        buffer_bytes=size,
        cache_bytes=machine.last_cache_bytes(),
        failed=failed,
        counters_before=before,
        counters_after=noise.counters(),
    )


def _timed(act: Act) -> list[int]:
    times: list[int] = []
    with no_garbage_collection(), torch.inference_mode():
        for _ in range(_WARMUPS):
            act()
        while len(times) < _LEAST_RUNS or (len(times) < _RUNS and sum(times) < _LIMIT_S * 1e9):
            start = time.perf_counter_ns()
            act()
            times.append(time.perf_counter_ns() - start)
    return times


def _precisions() -> tuple[LimitKind, ...]:
    return ("fp32", "bf16", "int8") if machine.bf16_instructions() else ("fp32", "int8")


def _products() -> Iterator[_Candidate]:
    flop = 2 * _PRODUCT**3
    for kind in _precisions():
        yield _Candidate(kind, f"torch product {kind}", flop, lambda kind=kind: _product(kind))  # type: ignore[misc]


def _product(kind: LimitKind) -> Act:
    if kind == "int8":
        whole = torch.ones(_PRODUCT, _PRODUCT, dtype=torch.int8)
        return lambda: torch._int_mm(whole, whole)
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    left, right = (torch.randn(_PRODUCT, _PRODUCT).to(dtype) for _ in range(2))
    return lambda: left @ right


def _convolutions() -> Iterator[_Candidate]:
    for kind in _precisions():
        if kind == "int8":
            continue  # torch has none that is not a runtime's: those come below
        for kernel, (channels, side), layout in product((1, 3), _CHANNELS_AND_SIDES, _LAYOUTS):
            yield _Candidate(
                kind,
                f"torch convolution {kernel}×{kernel} {kind} {_LAYOUTS[layout]}, {channels} channels",
                _flop(kernel, channels, side),
                partial(_convolution, kernel, channels, side, layout, kind),
            )


def _convolution(kernel: int, channels: int, side: int, layout: torch.memory_format, kind: LimitKind) -> Act:
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    layers = _layers(kernel, channels).to(dtype).to(memory_format=layout)
    image = torch.from_numpy(_image(channels, side)).to(dtype=dtype, memory_format=layout)
    return lambda: layers(image)


def _of_runtimes(threads: int, folder: Path) -> Iterator[_Candidate]:
    for name in parts.names("runtime"):
        part = parts.find("runtime", name)
        if "DIRECT" not in part.constants:
            continue
        for kind, (channels, side) in product(_precisions(), _CHANNELS_AND_SIDES):
            if kind in part.constants["PRECISIONS"] and not part.missing_for(kind):
                place = folder / f"{name}-{kind}-{channels}"
                yield _Candidate(
                    kind,
                    f"{name} convolution 3×3 {kind}, {channels} channels",
                    _flop(3, channels, side),
                    partial(_of_runtime, part, kind, channels, side, threads, place),
                )


def _of_runtime(
    part: parts.Part, kind: LimitKind, channels: int, side: int, threads: int, place: Path
) -> Act:
    """Convert the convolutions as a case's network is converted, and return its run."""
    place.mkdir(parents=True)
    module, image = part.module(), (_image(channels, side),)
    artifact = module.convert(
        _layers(3, channels),
        image,
        precision=kind,
        options=part.constants["DIRECT"],
        threads=threads,
        folder=place,
        calibration=[image],
    )
    session = module.load(artifact, threads=threads)
    session.bind(*image)
    run: Act = session.run
    return run


def _layers(kernel: int, channels: int) -> nn.Module:
    """Convolutions with nothing between them but ReLU, which every runtime fuses."""
    layers: list[nn.Module] = []
    for _ in range(_LAYERS):
        layers += [nn.Conv2d(channels, channels, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def _flop(kernel: int, channels: int, side: int) -> int:
    return 2 * _LAYERS * kernel**2 * channels**2 * side**2


def _image(channels: int, side: int) -> Image:
    generator = np.random.default_rng(0)
    return generator.normal(size=(1, channels, side, side)).astype(np.float32)


def _buffer_bytes() -> int:
    wanted = max(_LEAST_BYTES, _CACHES * (machine.last_cache_bytes() or 0))
    return min(wanted, machine.granted_memory_bytes() // _MEMORY_SHARE)


def _memory(size: int) -> Iterator[_Candidate]:
    """Copy, triad and sum over buffers that no cache holds; torch divides each among its threads.

    Source: McCalpin, STREAM: what the program reads and writes counts, not what caches add.
    """
    count = size // 4  # float32

    def buffers(number: int) -> list[torch.Tensor]:
        return [torch.ones(count) for _ in range(number)]  # written, so that every page is there

    def copied() -> Act:
        source, target = buffers(2)
        return lambda: target.copy_(source)

    def triad() -> Act:
        first, second, target = buffers(3)
        return lambda: torch.add(first, second, alpha=3.0, out=target)

    def read() -> Act:
        (source,) = buffers(1)
        return source.sum

    yield _Candidate("memory", "copy", 2 * size, copied)
    yield _Candidate("memory", "triad", 3 * size, triad)
    yield _Candidate("memory", "sum", size, read)
