"""The pieces of a bundle's own `predict.py`: plain files, joined as text. They import nothing of unetbench.

`segment.py` does all that is the same for every bundle; a file named as a runtime loads its network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unetbench import parts
from unetbench.errors import Unsupported
from unetbench.records import Recipe

_HERE = Path(__file__).parent
_PARTS = "PARTS: list[Any] = []\n"  # what loading takes the place of
_PACKAGES = "PACKAGES"


def script(recipe: Recipe, folders: Sequence[str]) -> str:
    """Return the text of a bundle's predict.py: each runtime loads the network of its folder.

    Raises: Unsupported where a runtime has no file here.
    """
    packages = {parts.find("runtime", choice.name).constants["REQUIRES"][0] for choice in recipe.runtimes}
    loaders = [_loader(name) for name in dict.fromkeys(choice.name for choice in recipe.runtimes)]
    calls = [
        f"load_{choice.name}(HERE / {folder!r}, THREADS, {dict(choice.options) | {'precision': recipe.precision}})"
        for choice, folder in zip(recipe.runtimes, folders, strict=True)
    ]
    before, _, after = (_HERE / "segment.py").read_text(encoding="utf-8").partition(_PARTS)
    loading = "\n\n".join(["", *loaders, f"PARTS: list[Any] = [{', '.join(calls)}]\n"])
    return f"{before}{loading}{after}".replace(_PACKAGES, " and ".join(["NumPy", *sorted(packages)]), 1)


def _loader(runtime: str) -> str:
    """Return the function of a runtime's file: segment.py imports what it needs."""
    file = _HERE / f"{runtime}.py"
    if not file.is_file():
        raise Unsupported(f"runtime {runtime} has no loader for a bundle's predict.py: use another runtime.")
    return "def " + file.read_text(encoding="utf-8").partition("\ndef ")[2].strip() + "\n"
