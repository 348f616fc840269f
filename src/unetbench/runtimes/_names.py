"""The names of a converted network's inputs and outputs, for those who load it without torch."""

from __future__ import annotations

INPUT, OUTPUT = "input", "output"


def names(of: str, count: int) -> list[str]:
    """Return as many names, in order."""
    return [f"{of}_{index}" for index in range(count)]
