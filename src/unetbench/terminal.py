"""Long lines for a terminal of any width; it prints nothing itself."""

from __future__ import annotations

import textwrap
from shutil import get_terminal_size
from typing import TextIO


def folded(text: str, file: TextIO, *, hang: int = 4) -> str:
    """Break a line between words where the terminal ends, what follows set in; elsewhere leave it whole."""
    if not file.isatty() or len(text) <= (width := get_terminal_size().columns):
        return text
    margin = " " * (len(text) - len(text.lstrip()) + hang)
    return textwrap.fill(
        text, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False,
        replace_whitespace=False,
    )  # fmt: skip
