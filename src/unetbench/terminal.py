"""Long lines for a terminal of any width, and what Ctrl-C leaves behind; it prints nothing itself."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from shutil import get_terminal_size
from typing import TextIO

_GO_ON = ("run", "tune", "advise", "predict")  # where they were stopped


def folded(text: str, file: TextIO, *, hang: int = 4) -> str:
    """Break a line between words where the terminal ends, what follows set in; elsewhere leave it whole."""
    if not file.isatty() or len(text) <= (width := get_terminal_size().columns):
        return text
    margin = " " * (len(text) - len(text.lstrip()) + hang)
    return textwrap.fill(
        text, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False,
        replace_whitespace=False,
    )  # fmt: skip


def hush(file: TextIO) -> None:
    """Let nothing fail of what is still to be written to a file: its reader may have left, as `head` does."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def interrupted(given: Sequence[str]) -> str:
    """Say what an interruption of a command line leaves behind."""
    if not given or given[0] not in _GO_ON:
        return "interrupted"
    without = " without --fresh" if "--fresh" in given else ""
    return f"interrupted: what was shown is stored; the same command{without} goes on from there"
