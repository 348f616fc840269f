"""What every test leaves behind as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unetbench.runtimes import _denormals


@pytest.fixture(autouse=True)
def _denormals_are_kept() -> Iterator[None]:
    """A runtime that a test loads flushes them in this process, where hypothesis and SciPy need them."""
    yield
    if _denormals.flushed():
        import torch

        torch.set_flush_denormal(False)
