"""What watches a sweep: a display, or nothing. Whoever measures tells it; it answers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from unetbench.records import Case, Result


class Observer(Protocol):
    """What watches a sweep: a display, or nothing."""

    def started(self, case: Case, left_s: float) -> None:
        """A case is in hand; so much time is expected for it and those after it."""

    def phase(self, name: str) -> None:
        """The case in hand has come to a phase: building, compiling, warming up, measuring."""

    def tick(self) -> None:
        """A second has passed; never called while a case is timed."""

    def finished(self, result: Result, done: int, left_s: float) -> None:
        """A result is on the disk; so much time is expected for the cases after it."""

    def block(self, results: Sequence[Result], number: int, left_s: float) -> None:
        """A paired block of these cases is on the disk; the race goes on for so long, at most."""

    def after(self, what: str, left_s: float) -> None:
        """The cases are done and something else is in hand; so much time is expected for it and what follows."""

    def close(self) -> None:
        """The sweep is over, or was interrupted."""
