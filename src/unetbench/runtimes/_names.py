"""The names in a converted network, for those who load it without torch: inputs, outputs, and whose each operation is."""

from __future__ import annotations

from collections.abc import Iterable

INPUT, OUTPUT = "input", "output"
_OF = "::"  # between a module's name and its operation's, in names that runtimes go on to append to


def names(of: str, count: int) -> list[str]:
    """Return as many names, in order."""
    return [f"{of}_{index}" for index in range(count)]


def of_module(module: str, operation: str) -> str:
    """Return the name of an operation that tells whose it is."""
    return f"{module}{_OF}{operation}"


def by_module(spent: Iterable[tuple[Iterable[str], int]]) -> dict[str, int]:
    """Return how long each module took, from all operations in the order in which they ran: the names that each goes by, and its time.

    One whose names tell no module, as a change of layout, is the next one's that they tell; at the end the network's own, "".
    """
    found: dict[str, int] = {}
    waiting = 0
    for own, time in spent:
        waiting += time
        if told := [name.partition(_OF)[0] for name in own if _OF in name]:
            found[told[0]] = found.get(told[0], 0) + waiting
            waiting = 0
    found[""] = found.get("", 0) + waiting
    return found
