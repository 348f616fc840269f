"""Truthful speed of segmentation networks on your own machine.

The public names are loaded when they are first used: importing unetbench imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetbench.records import Case as Case
    from unetbench.records import Network as Network
    from unetbench.records import Recipe as Recipe
    from unetbench.results import load as load
    from unetbench.rewrites import rewrite as rewrite
    from unetbench.runtimes import prepare as prepare

__version__ = "0.1.0"

_HOMES = {
    "Case": "unetbench.records",
    "Network": "unetbench.records",
    "Recipe": "unetbench.records",
    "load": "unetbench.results",
    "prepare": "unetbench.runtimes",
    "rewrite": "unetbench.rewrites",
}
__all__ = ["Case", "Network", "Recipe", "__version__", "load", "prepare", "rewrite"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unetbench' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
