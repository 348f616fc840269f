"""The names of a converted network's input and output, for those who load it without torch."""

from __future__ import annotations

INPUT, OUTPUT = "image", "logits"
