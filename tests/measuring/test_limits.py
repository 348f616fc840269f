"""The machine's limits: kernels of known work, all tried, failures told; small sizes in the place of the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unetbench import machine
from unetbench.measuring import limits
from unetbench.records import MachineLimits


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    for name, value in {
        "_PRODUCT": 64,
        "_CHANNELS_AND_SIDES": ((16, 16),),
        "_LEAST_BYTES": 1 << 20,
        "_CACHES": 0,
    }.items():
        monkeypatch.setattr(limits, name, value)
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def _measured(folder: Path) -> tuple[MachineLimits, list[str]]:
    said: list[str] = []
    return limits.measured(1, folder, lambda message: said.append(message["phase"])), said


def test_every_kind_has_kernels_with_raw_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_of_runtimes", lambda *_: iter(()))
    monkeypatch.setattr(machine, "bf16_instructions", lambda: ())
    found, said = _measured(tmp_path)
    kinds = {kernel.kind for kernel in found.kernels}
    assert kinds == {"fp32", "int8", "memory"}
    assert all(len(kernel.run_ns) >= 5 and min(kernel.run_ns) > 0 for kernel in found.kernels)
    assert len(said) == len(found.kernels) + len(found.failed)
    assert (found.threads, found.buffer_bytes) == (1, 1 << 20)
    work = {kernel.name: kernel.work for kernel in found.kernels}
    assert work["torch product fp32"] == 2 * 64**3
    assert work["torch convolution 3×3 fp32 NCHW, 16 channels"] == 3 * 2 * 9 * 16 * 16 * 16 * 16
    assert work["copy"] == 2 << 20
    assert work["triad"] == 3 << 20


def test_an_installed_runtime_is_tried_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_products", lambda: iter(()))
    monkeypatch.setattr(limits, "_convolutions", lambda: iter(()))
    monkeypatch.setattr(limits, "_precisions", lambda: ("fp32",))
    (tmp_path / "openvino-fp32-16").mkdir()  # so that this one cannot make it
    found, _ = _measured(tmp_path)
    assert "FileExistsError" in found.failed["openvino convolution 3×3 fp32, 16 channels"]
    tried = {kernel.name.split()[0] for kernel in found.kernels if kernel.kind == "fp32"}
    assert tried == {"onnxruntime", "mnn", "ncnn"}


def test_buffers_outgrow_the_largest_cache_and_never_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_LEAST_BYTES", 256 << 20)
    monkeypatch.setattr(limits, "_CACHES", 4)
    monkeypatch.setattr(machine, "last_cache_bytes", lambda: 128 << 20)
    monkeypatch.setattr(machine, "granted_memory_bytes", lambda: 64 << 30)
    assert limits._buffer_bytes() == 512 << 20
    monkeypatch.setattr(machine, "granted_memory_bytes", lambda: 1 << 30)
    assert limits._buffer_bytes() == 128 << 20
    monkeypatch.setattr(machine, "last_cache_bytes", lambda: None)
    monkeypatch.setattr(machine, "granted_memory_bytes", lambda: 64 << 30)
    assert limits._buffer_bytes() == 256 << 20
