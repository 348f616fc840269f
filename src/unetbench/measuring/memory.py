"""The true peak memory of this process, from the kernel's high-water mark."""

from __future__ import annotations

import re
import resource
from pathlib import Path

from unetbench.records import HIGH_WATER_MARK

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_INHERITED = "ru_maxrss, which may be the parent's and is never reset"
_NOT_RESET = f"{HIGH_WATER_MARK} since the start of the process: it cannot be reset here"


def peak_rss_bytes() -> int:
    """Return the most resident memory since the start of the process or the last reset.

    `VmHWM` where the kernel shows it; `ru_maxrss` survives exec and can be the parent's peak instead.
    """
    mark = _high_water_mark()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if mark is None else mark


def reset_peak() -> str:
    """Let the high-water mark start again from what is resident now; return what later peaks are."""
    if _high_water_mark() is None:
        return _INHERITED
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return _NOT_RESET
    return HIGH_WATER_MARK


def _high_water_mark() -> int | None:
    try:
        status = _STATUS.read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else None
