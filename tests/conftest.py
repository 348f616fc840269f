"""What every test leaves behind as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch starts. Side by side, the tests' processes would have twice as many threads as there are cores, and those
# wait by spinning; sessions and workers are given their threads in any case.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nine tenths of a compilation is the code around the kernels, which has nothing to optimise; kernels stay at -O3.
os.environ.setdefault("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")

import pytest

from unetbench.runtimes import _denormals

# By file, longest first: what takes minutes must not be what a process begins with at the end.
_LONGEST = (
    "conformance/test_rewrites.py", "measuring/test_real_run.py", "conformance/test_runtimes.py", "test_docs.py",
    "conformance/test_references.py", "conformance/test_decoders.py", "runtimes/test_two.py", "networks/test_segmenter.py",
    "deploy/test_export.py", "reporting/page/test_browser.py", "runtimes/test_containment.py", "measuring/test_cutting.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    here = f"{Path(__file__).parent}/"
    items.sort(key=lambda item: places.get(str(item.path).removeprefix(here), len(places)))


@pytest.fixture(autouse=True)
def _denormals_are_kept() -> Iterator[None]:
    """A runtime that a test loads flushes them in this process, where hypothesis and SciPy need them."""
    yield
    if _denormals.flushed():
        import torch

        torch.set_flush_denormal(False)
