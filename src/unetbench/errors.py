"""The few exceptions of unetbench and the exit code of each; nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Literal

FailureKind = Literal["unsupported", "out of memory", "timeout", "crashed", "wrong output", "not run"]


class UnetbenchError(Exception):
    """A failure that the user can act on: its message is one line with the next step."""

    exit_code = 2


class BadInput(UnetbenchError):
    """Something given by the user is not accepted."""


class StoreError(UnetbenchError):
    """A results file that cannot be used: held by another run, too new, or no database."""


class MissingPackage(UnetbenchError):
    """A part needs a package that is not installed."""


class Unsupported(UnetbenchError):
    """A network cannot be built or run in the way that was asked: a row of its own, not a crash."""


class WrongOutput(UnetbenchError):
    """An answer that cannot be right: the case has no time."""


class WorkerLost(UnetbenchError):
    """A worker process ended, hung or answered with an error; carries the row's failure."""

    def __init__(self, stage: str, kind: FailureKind, message: str) -> None:
        super().__init__(f"{kind} while {stage}: {message}")
        self.stage, self.kind, self.message = stage, kind, message
        self.log = ""  # the end of what the process printed, where nobody else can ask it


class TimeUp(UnetbenchError):
    """The time of the whole run ended with a worker at work: no finding about its case."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"the run's time was up while {stage}")
        self.stage = stage


def one_line(error: Exception, characters: int = 160) -> str:
    """Return an error as one line that can be printed: our own words, or another package's kind and first words."""
    text = "".join(filter(str.isprintable, " ".join(str(error).split())))[:characters].rstrip(".")
    return text if isinstance(error, UnetbenchError) else f"{type(error).__name__}: {text}"


@contextmanager
def in_our_words(refused: Callable[[str], UnetbenchError]) -> Iterator[None]:
    """Turn whatever another package raises within, each its own, into our error, made of its words in one line."""
    try:
        yield
    except (UnetbenchError, MemoryError):
        raise
    except Exception as error:
        raise refused(one_line(error)) from error


def unknown(what: str, given: str, accepted: Iterable[str], next_step: str) -> BadInput:
    """Return the error for a name that is not among those accepted, with the nearest match."""
    names = list(accepted)
    near = get_close_matches(given, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else _listed(names)
    return BadInput(f"unknown {what} {given!r}: {hint} {next_step}")


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:12])
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"accepted are {shown}{more}." if names else "none is accepted here."
