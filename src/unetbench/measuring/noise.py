"""What the kernel tells of disturbance: counters, read before and after. Judges nothing.

A counter that the machine does not show is None: unknown, not fine.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path

from unetbench.machine import control_groups

_CPU_PRESSURE = re.compile(r"^some .*total=(\d+)$", re.MULTILINE)
_THROTTLED = re.compile(r"^nr_throttled (\d+)$", re.MULTILINE)
_NUMBER = re.compile(r"^(\d+)$", re.MULTILINE)
_MIGRATIONS = re.compile(r"^se\.nr_migrations\s*:\s*(\d+)$", re.MULTILINE)
_FIRST_VERSION = "/sys/fs/cgroup/cpu"  # where control groups are of version 1
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
        "cpu_pressure_us": _cpu_pressure(),
        "frequency_khz": _matched(_NUMBER, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
        "major_faults": usage.ru_majflt,
        "migrations": _migrations(),
    }


def _steal_ticks() -> int | None:
    line = (_text("/proc/stat") or "").partition("\n")[0].split()
    return int(line[_STEAL_FIELD]) if len(line) > _STEAL_FIELD else None


def _throttled() -> int | None:
    """Of all control groups that tell: a limit above this process's own counts there alone."""
    told = [_matched(_THROTTLED, f"{folder}/cpu.stat") for folder in (*control_groups(), _FIRST_VERSION)]
    known = [count for count in told if count is not None]
    return sum(known) if known else None


def _cpu_pressure() -> int | None:
    """Of the nearest control group that tells: on a machine with other tenants somebody always waits."""
    told = (_matched(_CPU_PRESSURE, f"{folder}/cpu.pressure") for folder in control_groups())
    own = next((waited for waited in told if waited is not None), None)
    return _matched(_CPU_PRESSURE, "/proc/pressure/cpu") if own is None else own


def _migrations() -> int | None:
    """How often the threads that this process has now were moved to another CPU."""
    told = [_matched(_MIGRATIONS, f"{task}/sched") for task in Path("/proc/self/task").glob("*")]
    known = [count for count in told if count is not None]  # a thread may end meanwhile
    return sum(known) if known else None


def _matched(pattern: re.Pattern[str], path: str) -> int | None:
    match = pattern.search(_text(path) or "")
    return int(match[1]) if match else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")  # a thread may have any name
    except OSError:
        return None
