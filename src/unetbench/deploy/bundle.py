"""A bundle on disk: opened as a stranger's folder, every path and every byte of it checked.

Nothing is unpickled, no link is followed, and nothing outside the folder is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetbench import parts
from unetbench.deploy.manifest import INPUT, LOGITS, NAME, NETWORK, Manifest, decoded, read_bytes
from unetbench.errors import BadInput, MissingPackage, in_our_words
from unetbench.records import Recipe
from unetbench.runtimes import Artifact, Image, Logits, Session
from unetbench.runtimes._chosen import HALVES, of

_READ_BYTES = 1 << 20

_MOST_FOLDERS = 2  # below each other: the network's, and one for each half


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose files are those that its manifest names."""

    folder: Path
    manifest: Manifest
    fingerprint: str  # SHA-256 of the manifest, which holds those of all other files

    @property
    def size_bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.manifest.files)

    def check_input(self) -> Image:
        """Return the test input. Shapes: (1, C, H, W), normalised."""
        case = self.manifest.case()
        return self._array(INPUT, (1, case.network.in_channels, case.height_px, case.width_px))

    def expected(self) -> Logits:
        """Return the reference's answer to it. Shapes: (1, classes, H, W)."""
        case = self.manifest.case()
        return self._array(LOGITS, (1, case.network.classes, case.height_px, case.width_px))

    def load(self, threads: int) -> Session:
        """Load the network into its runtime, in this process.

        Raises: BadInput where it cannot be, with what its runtime says.
        """
        case = self.manifest.case(threads)
        artifact = Artifact(precision=case.recipe.precision, folder=self.folder / NETWORK)
        runtimes = " and ".join(each.name for each in case.recipe.runtimes)
        with in_our_words(lambda said: self._refused(f"does not load into {runtimes} here", said)):
            return of(case.recipe).load(artifact, threads=threads)

    def answer(self, session: Session) -> Logits:
        """Return the answer of its loaded network to the test input. Shapes: (1, classes, H, W). Raises: BadInput."""
        image = self.check_input()
        with in_our_words(lambda said: self._refused("does not run here", said)):
            session.bind(image)
            session.run()
            return session.read()

    def _refused(self, why: str, said: str) -> BadInput:
        return BadInput(f"bundle {str(self.folder)!r} {why} ({said}): `unetbench verify` says more.")

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        place = self.folder / name
        try:
            # Mapped, so that a header that promises terabytes allocates none.
            array = np.lib.format.open_memmap(place, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise BadInput(f"{str(place)!r} is no array ({error}): export the bundle anew.") from error
        if array.shape != shape or array.dtype != np.float32:
            raise BadInput(
                f"{str(place)!r} is {array.dtype} of shape {array.shape}, the manifest says float32 of "
                f"{shape}: export the bundle anew."
            )
        return np.array(array)


def opened(folder: Path) -> Bundle:
    """Open a bundle and check its form, its paths and the digest of every file.

    Raises: BadInput where anything is missing, surplus, changed, or leads out of the folder; MissingPackage.
    """
    text = read_bytes(folder / NAME)
    manifest = decoded(text, folder / NAME)
    found = set(_files(folder, folder)) - {NAME}
    named, needed = set(manifest.files), set(needed_files(manifest.case().recipe))
    for lacking in sorted((named | needed) - (found & named)):
        raise BadInput(f"bundle {str(folder)!r} lacks {lacking!r}: copy or export it anew.")
    for surplus in sorted(found - named):
        raise BadInput(
            f"bundle {str(folder)!r} holds {surplus!r}, which its manifest does not name: take it out, or export anew."
        )
    # A runtime may prefer what else lies beside its network: machine code of its own cache, for one.
    for stray in sorted(name for name in named - needed if name.startswith(f"{NETWORK}/")):
        raise BadInput(
            f"bundle {str(folder)!r} names {stray!r}, which its runtime's network does not consist of: that is "
            "refused; export it anew."
        )
    for name, expected in manifest.files.items():
        if digest(folder / name) != expected:
            raise BadInput(
                f"bundle {str(folder)!r} is damaged or was changed: {name} is not what was exported; "
                "copy or export it anew."
            )
        if name.endswith(".onnx") and (name in needed or find_spec("onnx")):
            _refuse_outside_data(folder / name)
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest())


def needed_files(recipe: Recipe) -> Iterator[str]:
    """Give the paths that a bundle of a recipe cannot do without."""
    yield from (INPUT, LOGITS)
    halves = HALVES if len(recipe.runtimes) > 1 else ("",)
    for half, choice in zip(halves, recipe.runtimes, strict=True):
        part = parts.find("runtime", choice.name)
        if "TRAVELS" not in part.constants:
            raise BadInput(f"recipe {str(recipe)!r} of the bundle is of no use elsewhere: export it anew.")
        yield from ("/".join(filter(None, (NETWORK, half, name))) for name in part.constants["TRAVELS"])


def digest(path: Path) -> str:
    """Return the SHA-256 of a regular file, read without following a link."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path, root: Path) -> Iterator[str]:
    """Give the paths of all files below a folder; what is neither file nor folder is refused, and so are deep folders."""
    if len(folder.relative_to(root).parts) > _MOST_FOLDERS:
        raise BadInput(
            f"bundle {str(root)!r}: {str(folder.relative_to(root))[:80]!r} lies deeper than any of a bundle: take it out."
        )
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        place = Path(entry.path)
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from _files(place, root)
        elif stat.S_ISREG(mode):
            yield place.relative_to(root).as_posix()
        else:
            kind = "a link" if stat.S_ISLNK(mode) else "no file"
            raise BadInput(f"bundle {str(root)!r}: {str(place.relative_to(root))!r} is {kind}: take it out.")


def _refuse_outside_data(path: Path) -> None:
    """An ONNX file may name other files for its weights: one that does is read by nobody here."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingPackage(
            f"{path.name} is checked with onnx before it is loaded: "
            "install it with `uv pip install unetbench[onnxruntime]`."
        ) from error
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise BadInput(f"{str(path)!r} is no ONNX file ({error}): export the bundle anew.") from error
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and (message.data_location or message.external_data):
            raise BadInput(f"{str(path)!r} takes weights from another file: that is refused; export it anew.")


def _messages(message: Any) -> Iterator[Any]:
    """Give all messages within one, wherever they are: onnx's own search goes by what the file says of itself."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in (value,) if hasattr(value, "ListFields") else value:
                yield each
                yield from _messages(each)
