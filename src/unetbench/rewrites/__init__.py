"""Rewrites: changes of a network's modules that leave its function the same, one file each.

A file gives `TOLERANCE` (the relative error in fp64 that it promises not to exceed),
`offered(network)` (how many modules it could act on) and `apply(network)`, which changes the network
that it is given and returns it. Finding nothing to do is a recorded no-op; finding something that
cannot be rewritten exactly raises Unsupported.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from unetbench import parts
from unetbench.records import Choice, RewriteReport

if TYPE_CHECKING:
    from torch import nn


def rewrite(model: nn.Module, *names: str) -> nn.Module:
    """Return a copy of a network with rewrites applied in order; `.report` says what each one did.

    The given network is untouched.
    Raises: BadInput for an unknown rewrite; Unsupported where one does not apply exactly.
    """
    reports = list(getattr(model, "report", ()))
    copy = deepcopy(model)
    for name in names:
        part = parts.chosen("rewrite", Choice.parse(name)).module()
        before = (_modules(copy), _parameters(copy))
        offered = part.offered(copy)
        copy = part.apply(copy)
        reports.append(
            RewriteReport(
                rewrite=name,
                offered=offered,
                modules_before=before[0],
                modules_after=_modules(copy),
                parameters_before=before[1],
                parameters_after=_parameters(copy),
            )
        )
    copy.report = tuple(reports)  # type: ignore[assignment]
    return copy


def _modules(model: nn.Module) -> int:
    return sum(1 for _ in model.modules())


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
