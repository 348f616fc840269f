"""The peak is this process's own and true; a parent's does not count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unetbench.measuring import memory

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
    assert reset == "VmHWM"
    assert int(after) < int(before) + (20 << 20)


def test_what_no_high_water_mark_is_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmHWM:\t  2048 kB\n", encoding="ascii")
    monkeypatch.setattr(memory, "_STATUS", status)
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "missing" / "clear_refs")
    assert memory.peak_rss_bytes() == 2 << 20
    assert "cannot be reset" in memory.reset_peak()
    status.write_text("VmRSS:\t  2048 kB\n", encoding="ascii")
    assert memory.peak_rss_bytes() > 10 << 20, "of this process"
    assert "may be the parent's" in memory.reset_peak()
