"""What a whole image costs, part by part: a clock that gives each stretch of time a name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

PARTS = ("read", "tile", "network", "blend", "argmax", "write")


@dataclass(slots=True)
class Costs:
    """Nanoseconds by part; `lap` gives the time since the last one to a part."""

    clock: Callable[[], int] = time.perf_counter_ns
    spent_ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    pixels: int = 0
    _since_ns: int = 0

    def start(self) -> None:
        """Begin: the time before belongs to no part."""
        self._since_ns = self.clock()

    def lap(self, part: str) -> None:
        """Give the time since the last lap to a part."""
        now = self.clock()
        self.spent_ns[part] += now - self._since_ns
        self._since_ns = now

    def add(self, other: Costs) -> None:
        """Take another's times and pixels too."""
        self.pixels += other.pixels
        for part, ns in other.spent_ns.items():
            self.spent_ns[part] += ns

    def ms_per_megapixel(self) -> dict[str, float]:
        """Return what each part took, and all together."""
        each = {part: ns / 1e6 / max(self.pixels, 1) * 1e6 for part, ns in self.spent_ns.items()}
        return each | {"whole image": sum(each.values())}
