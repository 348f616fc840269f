"""The true peak memory of this process, from the kernel's high-water mark."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_rss_bytes() -> int:
    """Return the most resident memory since the start of the process or the last reset.

    `VmHWM`, not `ru_maxrss`: that one survives exec and can show the parent's peak instead.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def reset_peak() -> bool:
    """Let the high-water mark start again from what is resident now; False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
