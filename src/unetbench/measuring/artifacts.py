"""Converted networks on disk, kept by content: what was converted once is found again, whoever asks.

The name of an artifact says everything that it depends on; its manifest holds a digest of each file, so
that a damaged one is made again. It holds machine code: the folder must be the user's alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from unetbench import machine, parts
from unetbench.errors import BadInput
from unetbench.keys import digest
from unetbench.records import Case, Network

MANIFEST: Final = "artifact.json"
_UNFINISHED = ".part-"
_LIMIT_BYTES = 10 << 30  # of everything kept; the least recently used go first
_ABANDONED_S = 86_400.0  # then no process works at an unfinished folder, or with an artifact, any more
_OTHERS_MAY_WRITE = 0o022
_SOURCE = Path(__file__).parents[1]
_MAKE = ("conversion", "reference")  # of measuring
# Whatever the runtime.
_CONVERTS = ("torch", "timm", "onnx", "onnx-ir", "onnxscript", "nncf", "torchao", "numpy")


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
    runtimes = [parts.find("runtime", choice.name) for choice in case.recipe.runtimes]
    here = machine.machine()
    network = replace(case.network, weights="random")  # the digest says more than how they were drawn
    calibration = images if case.recipe.precision == "int8" else ""
    packages = [name for part in runtimes for name in part.constants.get("REQUIRES", ())]
    # A shell may hold back what the CPU has, or set a compiler's options: its code is not what another shell asks for.
    machine_facts = (here.cpu, here.instruction_sets, machine.cpu_flags(), here.environment)
    compiled = any(part.constants.get("COMPILES") for part in runtimes)
    asked = replace(case, network=network)
    return digest(
        (
            asked,
            weights,
            calibration,
            build,
            made_by([*packages, *builders(network)]),
            machine_facts,
            machine.compiler() if compiled else "",
            sources([part.name for part in runtimes]),
        )
    )


def builders(network: Network) -> tuple[str, ...]:
    """Return the packages that a whole network of another project is built by."""
    if not network.reference:
        return ()
    return tuple(parts.find("reference", network.part.name).constants.get("REQUIRES", ()))


def facts(folder: Path) -> dict[str, Any] | None:
    """Return what is known of an artifact; None where it is not there, or damaged."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known, digests = dict(manifest["facts"]), dict(manifest["digests"])
        if not all(map(_own, (folder, *folder.rglob("*")))):
            return None  # planted while others could write into the folder
        found = {name: _digest(folder / name) for name in digests}
        if found != digests or not found or manifest["seal"] != _seal(known, digests):
            return None
        os.utime(folder / MANIFEST)  # used last, when the oldest go
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known


def unfinished(folder: Path) -> Path:
    """Return an empty folder beside an artifact's place, in which to make it."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # It is the parent that tidies up after a worker that was killed: its number tells whose it is.
    return Path(mkdtemp(prefix=f"{folder.name}{_UNFINISHED}{os.getppid()}-", dir=folder.parent))


def forget_unfinished(folder: Path) -> None:
    """Remove what this process's killed workers left beside an artifact's place."""
    for place in folder.parent.glob(f"{folder.name}{_UNFINISHED}{os.getpid()}-*"):
        shutil.rmtree(place, ignore_errors=True)


def seal(made: Path, folder: Path, known: Mapping[str, Any]) -> None:
    """Write the manifest of an artifact and put it in its place, whole or not at all.

    Where another run was first, its artifact stays: it is the same, and may be in use.
    """
    files = sorted(path for path in made.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    told = {**known, "artifact_bytes": size}
    digests = {path.relative_to(made).as_posix(): _digest(path) for path in files}
    manifest = {"facts": told, "digests": digests, "seal": _seal(told, digests)}
    (made / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for _ in range(2):
        with suppress(OSError):
            made.rename(folder)
            return
        if facts(folder) is not None:
            break
        shutil.rmtree(folder, ignore_errors=True)  # what is there is damaged
    shutil.rmtree(made, ignore_errors=True)


def prune(root: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
    """Remove what killed processes left, and the least recently used artifacts beyond the limit.

    Another run may use the same folder: what it removes meanwhile is passed over, what it used within the
    last day stays.
    """
    now, total = time.time(), 0
    whole = []
    for place in root.iterdir():
        with suppress(FileNotFoundError):
            manifest = place / MANIFEST
            unfinished_place = _UNFINISHED in place.name or not manifest.is_file()
            used = (place if unfinished_place else manifest).stat().st_mtime
            if not unfinished_place:
                size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
                whole.append((used, size, place))
            elif now - used > _ABANDONED_S:
                shutil.rmtree(place, ignore_errors=True)
    for used, size, place in sorted(whole, reverse=True):
        total += size
        if total > limit_bytes and now - used > _ABANDONED_S:
            shutil.rmtree(place, ignore_errors=True)


def made_by(packages: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the versions of what builds and converts networks, and of further packages."""
    return tuple((name, machine.version(name)) for name in sorted({*_CONVERTS, *packages}))


def sources(runtimes: Sequence[str]) -> str:
    """Return a digest of our own code: it is part of what a reference and an artifact are made from."""
    files = [*(_SOURCE / "networks").rglob("*.py"), *(_SOURCE / "rewrites").glob("*.py")]
    files += [_SOURCE / name for name in ("photos.py", "machine.py", "plans.py")]
    files += [_SOURCE / "measuring" / f"{name}.py" for name in _MAKE]
    files += [*(_SOURCE / "runtimes").glob("_*.py")]
    files += [_SOURCE / "runtimes" / f"{runtime}.py" for runtime in dict.fromkeys(runtimes)]
    return digest(tuple(path.read_text(encoding="utf-8") for path in sorted(files)))


def _seal(known: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    text = json.dumps([known, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _own(path: Path) -> bool:
    facts = path.lstat()
    return facts.st_uid == os.getuid() and not stat.S_ISLNK(facts.st_mode)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
