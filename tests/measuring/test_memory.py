"""The peak is this process's own and true; a parent's does not count."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
from unetbench.measuring.memory import peak_rss_bytes, reset_peak
before = peak_rss_bytes()
held = bytearray(MEGABYTES << 20)
grown = peak_rss_bytes() - before
del held
print(before, grown, reset_peak(), peak_rss_bytes())
"""


@pytest.mark.parametrize("megabytes", [64, 256])
def test_what_is_touched_is_what_is_told(megabytes: int) -> None:
    ballast = bytearray(300 << 20)  # of the parent
    code = CODE.replace("MEGABYTES", str(megabytes))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, grown, reset, after = out.split()
    assert abs(int(grown) - (megabytes << 20)) <= max(0.02 * (megabytes << 20), 5 << 20)
    assert int(before) < 200 << 20 < len(ballast), "ru_maxrss would tell the parent's"
    assert reset == "True"
    assert int(after) < int(before) + (20 << 20)
