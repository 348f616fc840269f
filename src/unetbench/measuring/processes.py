"""What the kernel tells of another process and of what that started: stopped? how much memory?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_ENDED = ("X", "Z")  # dead, or nobody has waited for it yet
_STOPPED = ("T", "t", *_ENDED)  # stopped, traced or ended: none of them takes a core
_PSS_KB = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_STATE_FIELD, _BEGAN_FIELD = 0, 19  # of /proc/PID/stat, after the name in brackets


def all_stopped(pid: int) -> bool:
    """Return whether every thread of a process and of its descendants is stopped or gone."""
    return all(
        _stat(task)[_STATE_FIELD] in _STOPPED
        for process in (pid, *descendants(pid))
        for task in _tasks(process)
    )


def descendants(pid: int) -> tuple[int, ...]:
    """Return the processes that a process started, and those that they started."""
    children = [
        int(child)
        for task in _tasks(pid)
        for child in (_text(Path("/proc", str(pid), "task", task.name, "children")) or "").split()
    ]
    return (*children, *(deeper for child in children for deeper in descendants(child)))


def began(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks; None where there is none."""
    fields = _stat(Path("/proc", str(pid)))
    return fields[_BEGAN_FIELD] if len(fields) > _BEGAN_FIELD else None


def runs(pid: int, since: str | None) -> bool:
    """Return whether the process that began then is still there: numbers are used again."""
    fields = _stat(Path("/proc", str(pid)))
    return (
        since is not None
        and len(fields) > _BEGAN_FIELD
        and (fields[_BEGAN_FIELD] == since and fields[_STATE_FIELD] not in _ENDED)
    )


def pss_bytes(pid: int) -> int | None:
    """Return the memory of a process, what it shares counted by its part; None where it is not shown."""
    match = _PSS_KB.search(_text(Path("/proc", str(pid), "smaps_rollup")) or "")
    return int(match[1]) * 1024 if match else None


def _tasks(pid: int) -> Iterator[Path]:
    try:
        yield from Path("/proc", str(pid), "task").iterdir()
    except OSError:
        return  # it has ended


def _stat(folder: Path) -> list[str]:
    text = _text(folder / "stat")
    return text.rpartition(") ")[2].split() if text else ["X"]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
