"""Flush denormals without torch: what this thread sets, threads that it starts afterwards inherit.

Numbers below 1e-38 take a hundred times longer on x86; all runtimes flush them, or none is comparable.
"""

from __future__ import annotations

import ctypes
import platform

import numpy as np

_SMALLEST = 1e-45  # rounds to 2**-149, the least float32 above zero
# glibc's fenv_t on x86-64: 28 bytes of the x87 unit, then MXCSR. On aarch64: FPCR first.
_PLACES = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}  # flush to zero and denormals are zero
_SIZE = 64  # of a buffer that holds fenv_t


def flush() -> bool:
    """Flush denormals in this thread from now on; return whether they are."""
    place = _PLACES.get(platform.machine())
    if place is not None and platform.system() == "Linux":
        library, state = ctypes.CDLL("libm.so.6"), ctypes.create_string_buffer(_SIZE)
        if library.fegetenv(state) == 0:
            offset, bits = place
            word = ctypes.c_uint32.from_buffer(state, offset)
            word.value |= bits
            library.fesetenv(state)
    return flushed()


def flushed() -> bool:
    """Return whether this thread computes with zero in place of a denormal."""
    return not (np.full(16, _SMALLEST, np.float32) * np.float32(1.0)).any()


def told() -> str:
    """Return the state as a session tells it."""
    return "flushed" if flushed() else "kept"
