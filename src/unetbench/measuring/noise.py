"""What the kernel tells of disturbance: counters, read before and after. Judges nothing.

A counter that the machine does not show is None: unknown, not fine.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping
from pathlib import Path

from unetbench.machine import control_groups

_CPU_PRESSURE = re.compile(r"^some .*total=(\d+)$", re.MULTILINE)
_THROTTLED = re.compile(r"^nr_throttled (\d+)$", re.MULTILINE)
_NUMBER = re.compile(r"^(\d+)$", re.MULTILINE)
_STEAL_FIELD = 8  # of the line `cpu  user nice system idle iowait irq softirq steal …` in /proc/stat


def counters() -> dict[str, int | None]:
    """Return the counters that speak of neighbours, throttling and interruption.

    Units: steal in kernel ticks (10 ms as a rule), pressure in microseconds, the first CPU's frequency in
    kHz, the others are counts.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "steal_ticks": _steal_ticks(),
        "throttled_periods": _throttled(),
        "cpu_pressure_us": _matched(_CPU_PRESSURE, "/proc/pressure/cpu"),
        "frequency_khz": _matched(_NUMBER, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
        "major_faults": usage.ru_majflt,
    }


def change(before: Mapping[str, int | None], after: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return how far each counter moved; None where it was not shown both times."""
    moved: dict[str, int | None] = {}
    for name, end in after.items():
        start = before.get(name)
        moved[name] = None if start is None or end is None else end - start
    return moved


def _steal_ticks() -> int | None:
    line = (_text("/proc/stat") or "").partition("\n")[0].split()
    return int(line[_STEAL_FIELD]) if len(line) > _STEAL_FIELD else None


def _throttled() -> int | None:
    """Of the nearest control group that tells."""
    told = (_matched(_THROTTLED, f"{folder}/cpu.stat") for folder in control_groups())
    return next((count for count in told if count is not None), None)


def _matched(pattern: re.Pattern[str], path: str) -> int | None:
    match = pattern.search(_text(path) or "")
    return int(match[1]) if match else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return None
