"""Rows to files: CSV, Markdown and Parquet, and nothing half-written."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from unetbench.errors import MissingPackage, StoreError
from unetbench.reporting.row import Row

_FORMULA_STARTS = ("=", "+", "-", "@", "\t")  # a spreadsheet would execute such a cell
_SIGNIFICANT = 6  # digits kept in the CSV; more would be noise


def columns(row: Struct) -> dict[str, Any]:
    """Return a row's figures by column name, the unit in the name."""
    return asdict(row)


def csv_text(rows: Iterable[Struct], kind: type[Struct] = Row) -> str:
    """Return the rows, all of one kind, as CSV with a header line."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=kind.__struct_fields__, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in columns(row).items()})
    return stream.getvalue()


def markdown_text(
    heading: str,
    header: Sequence[str],
    body: Iterable[Sequence[str]],
    notes: Sequence[str],
    rewrites: Sequence[str] = (),
) -> str:
    """Return a Markdown table under its heading, the conditions and notes below it; what rewrites did is folded away."""
    lines = [f"**{_escaped(heading)}**", "", "| " + " | ".join(map(_escaped, header)) + " |"]
    words = {"encoder", "network", "decoder", "recipe", "winner", "status", "size", "bound by memory"}
    lines.append("|" + "|".join("---" if name in words else "---:" for name in header) + "|")
    lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in body]
    lines += ["", *(f"{_escaped(note)}  " for note in notes)]
    if rewrites:
        lines += ["", "<details><summary>What the rewrites did</summary>", ""]
        lines += [*(f"{_escaped(line)}  " for line in rewrites), "", "</details>"]
    return "\n".join(lines).rstrip() + "\n"


def parquet_bytes(rows: Sequence[Row], conditions: Mapping[str, str]) -> bytes:
    """Return the rows as a Parquet file, with what must stand beside them as its metadata.

    Raises: MissingPackage where pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackage(
            "Parquet needs pyarrow: install it with `uv pip install unetbench[parquet]`, or take results.csv of --out."
        ) from error
    kinds = {
        "bool": pyarrow.bool_(),
        "str": pyarrow.string(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
    }
    schema = pyarrow.schema(
        [(name, kinds[str(kind).partition(" ")[0]]) for name, kind in Row.__annotations__.items()],
        metadata=dict(conditions),
    )
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([columns(row) for row in rows], schema=schema), stream)
    return stream.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a text as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary file, synced, then renamed.

    Raises: StoreError where the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{str(path)!r} cannot be written ({error.strerror}): make room, or give another place."
        ) from error


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.{_SIGNIFICANT}g}"
    if isinstance(value, str):
        value = value.replace("\r", " ")  # Python below 3.13 does not quote it, and it would end the row
        return "'" + value if value.startswith(_FORMULA_STARTS) else value
    return value


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
