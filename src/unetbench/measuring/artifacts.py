"""Converted networks on disk, kept by content: what was converted once is found again, whoever asks.

The name of an artifact says everything that it depends on; its manifest holds a digest of each file, so
that a damaged one is made again. It holds machine code: the folder must be the user's alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from unetbench import machine, parts
from unetbench.errors import BadInput
from unetbench.keys import digest
from unetbench.records import Case

MANIFEST: Final = "artifact.json"
_UNFINISHED = ".part-"
_LIMIT_BYTES = 10 << 30  # of everything kept; the least recently used go first
_ABANDONED_S = 86_400.0  # then an unfinished folder is a killed process's
_OTHERS_MAY_WRITE = 0o022
_SOURCE = Path(__file__).parents[1]
_CONVERTS = ("torch", "timm", "onnx", "onnxscript", "nncf", "numpy")  # whatever the runtime


def cache_folder() -> Path:
    """Return the folder of artifacts, made where it is not there.

    Raises: BadInput where others could write into it: what lies there is run.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unetbench"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = root.stat()
    except OSError as error:
        raise BadInput(
            f"cache folder {str(root)!r} cannot be made ({error.strerror}): set XDG_CACHE_HOME to another."
        ) from error
    if facts.st_uid != os.getuid() or facts.st_mode & _OTHERS_MAY_WRITE:
        raise BadInput(
            f"cache folder {str(root)!r} can be written by others, and what lies there is run: "
            f"`chmod 700 {root}`, or set XDG_CACHE_HOME to a folder of your own."
        )
    return root


def key(case: Case, *, weights: str, images: str, build: int) -> str:
    """Return the name of a case's artifact: a hash of all that it is made from.

    `weights` and `images` are digests; `build` tells apart what is autotuned more than once.
    """
    part = parts.find("runtime", case.recipe.runtime.name)
    here = machine.machine()
    network = replace(case.network, weights="random")  # the digest says more than how they were drawn
    calibration = images if case.recipe.precision == "int8" else ""
    made_by = tuple((name, _version(name)) for name in sorted({*_CONVERTS, *part.constants["REQUIRES"]}))
    machine_facts = (here.cpu, here.instruction_sets)
    asked = replace(case, network=network)
    return digest((asked, weights, calibration, build, made_by, machine_facts, _sources(part.name)))


def facts(folder: Path) -> dict[str, Any] | None:
    """Return what is known of an artifact; None where it is not there, or damaged."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = {name: _digest(folder / name) for name in manifest["digests"]}
        if found != manifest["digests"] or not found:
            return None
        os.utime(folder / MANIFEST)  # used last, when the oldest go
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(manifest["facts"])


def unfinished(folder: Path) -> Path:
    """Return an empty folder beside an artifact's place, in which to make it."""
    place = folder.with_name(f"{folder.name}{_UNFINISHED}{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    return place


def seal(made: Path, folder: Path, known: Mapping[str, Any]) -> None:
    """Write the manifest of an artifact and put it in its place, whole or not at all."""
    files = sorted(path for path in made.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    manifest = {
        "facts": {**known, "artifact_bytes": size},
        "digests": {path.relative_to(made).as_posix(): _digest(path) for path in files},
    }
    (made / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # what was there is damaged, or another process's same
    made.rename(folder)


def prune(root: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
    """Remove what killed processes left, and the least recently used artifacts beyond the limit."""
    whole = []
    for place in root.iterdir():
        if _UNFINISHED in place.name:
            if time.time() - place.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(place, ignore_errors=True)
        elif (place / MANIFEST).is_file():
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            whole.append(((place / MANIFEST).stat().st_mtime, size, place))
    total = 0
    for _, size, place in sorted(whole, reverse=True):
        total += size
        if total > limit_bytes:
            shutil.rmtree(place, ignore_errors=True)


def _sources(runtime: str) -> str:
    """Our own code is part of what an artifact is made from."""
    files = [*(_SOURCE / "networks").rglob("*.py"), *(_SOURCE / "rewrites").glob("*.py")]
    files += [*(_SOURCE / "runtimes").glob("_*.py"), _SOURCE / "runtimes" / f"{runtime}.py"]
    return digest(tuple(path.read_text(encoding="utf-8") for path in sorted(files)))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
