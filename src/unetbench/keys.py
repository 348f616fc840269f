"""The stored names of records: short hashes of what they say, stable as fields are added.

It knows no record: any frozen dataclass has such a name; `canonical()` lets one say what counts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unetbench.errors import BadInput

_CONTENT = "sha256:"  # what the name of a file's content starts with


def digest(record: Any) -> str:
    """Return a hash of the fields that differ from their defaults: a field added later renames nothing."""
    text = json.dumps(_differing(record), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content(
    path: str, *, what: str = "weights", accepted: str = "random, pretrained, or a .safetensors or .pt file"
) -> str:
    """Return the name of a file by its content; such a name stays as it is.

    Raises: BadInput where the file cannot be read.
    """
    if path.startswith(_CONTENT):
        return path
    try:
        facts = Path(path).stat()
        identity = (facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size)
        return _CONTENT + _file_digest(Path(path), identity)
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{what} {path!r} cannot be read ({reason}): accepted is {accepted}.") from error


def _differing(record: Any) -> Any:
    if hasattr(record, "canonical"):
        record = record.canonical()
    if is_dataclass(record) and not isinstance(record, type):
        return {
            each.name: _differing(getattr(record, each.name))
            for each in fields(record)
            if getattr(record, each.name) != each.default
        }
    return [_differing(item) for item in record] if isinstance(record, tuple) else record


@cache
def _file_digest(path: Path, identity: tuple[int, ...]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
