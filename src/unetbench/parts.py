"""Find a decoder, reference, rewrite or runtime by the name of its file, and check its options.

A folder is the registry. Listing reads the files' text and imports none of them, so it is instant
and works where a part's third-party package is missing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from unetbench.errors import MissingPackage, unknown
from unetbench.records import Choice

Kind = Literal["decoder", "reference", "rewrite", "runtime"]
_FOLDERS: Mapping[Kind, str] = MappingProxyType(
    {
        "decoder": "networks/decoders",
        "reference": "networks/references",
        "rewrite": "rewrites",
        "runtime": "runtimes",
    }
)
# Words in the values of OPTIONS that stand for any text of their kind.
_PLACEHOLDERS = {"NUMBER": r"[1-9][0-9]{0,4}", "ENCODER": r"[\w.-]+", "PATH": ".+", "NAME": ".+"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part as its file's text tells it: the docstring's first line and the literal constants."""

    kind: Kind
    name: str
    summary: str
    constants: Mapping[str, Any]

    @property
    def missing(self) -> tuple[str, ...]:
        """The third-party packages that the part needs and that are not installed."""
        return _not_installed(self.constants.get("REQUIRES", ()))

    def missing_for(self, precision: str) -> tuple[str, ...]:
        """The same of what converting in a precision needs besides."""
        more = self.constants.get("REQUIRES_FOR", {}).get(precision, ())
        return (*self.missing, *_not_installed(more))

    def module(self) -> ModuleType:
        """Import the part.

        Raises: MissingPackage, naming the package and the extra to install.
        """
        if self.missing:
            raise MissingPackage(
                f"{self.kind} {self.name} needs {', '.join(self.missing)}: "
                f"install it with `uv pip install unetbench[{self.name}]`."
            )
        return import_module(f"unetbench.{_FOLDERS[self.kind].replace('/', '.')}.{self.name}")


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """The parts of a kind, sorted; a file whose name starts with an underscore is none."""
    folder = Path(__file__).parent / _FOLDERS[kind]
    return tuple(sorted(path.stem for path in folder.glob("[!_]*.py")))


@cache
def find(kind: Kind, name: str) -> Part:
    """Return a part by name.

    Raises: BadInput with the nearest match.
    """
    if name not in names(kind):
        raise unknown(kind, name, names(kind), f"`unetbench list {kind}s` shows them.")
    path = Path(__file__).parent / _FOLDERS[kind] / f"{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Part(kind=kind, name=name, summary=summary, constants=MappingProxyType(_literals(tree)))


def chosen(kind: Kind, choice: Choice) -> Part:
    """Return the part that a choice names.

    Raises: BadInput for an unknown part, option or value, with the nearest match.
    """
    part = find(kind, choice.name)
    accepted: Mapping[str, Sequence[str]] = part.constants.get("OPTIONS", {})
    for key, value in choice.options:
        if key not in accepted:
            raise unknown(f"option of {part.name}", key, accepted, f"`unetbench list {kind}s` shows them.")
        if not any(_fits(value, form) for form in accepted[key]):
            raise unknown(f"value of {part.name}[{key}]", value, accepted[key], "Give one of them.")
    return part


def environment(choice: Choice) -> dict[str, str]:
    """Return the variables that a process must start with for a choice's options to take effect."""
    asked: Mapping[str, Mapping[str, Mapping[str, str]]] = find("runtime", choice.name).constants.get(
        "ENVIRONMENT", {}
    )
    found: dict[str, str] = {}
    for key, value in choice.options:
        found |= asked.get(key, {}).get(value, {})
    return found


def _not_installed(packages: Sequence[str]) -> tuple[str, ...]:
    return tuple(package for package in packages if not find_spec(package))


def _fits(value: str, form: str) -> bool:
    pattern = re.sub("|".join(_PLACEHOLDERS), lambda word: _PLACEHOLDERS[word[0]], re.escape(form))
    return re.fullmatch(pattern, value) is not None


def _literals(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for node in tree.body:
        value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if value is not None and isinstance(target, ast.Name) and _is_public_constant(target.id):
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                continue  # a constant that is computed is the module's own affair
    return found


def _is_public_constant(name: str) -> bool:
    return name.isupper() and not name.startswith("_")
