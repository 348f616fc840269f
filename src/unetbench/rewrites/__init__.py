"""Rewrites: changes of a network's modules that leave its function the same, one file each.

A file gives `TOLERANCE` (the relative error in fp64 that it promises not to exceed),
`offered(network)` (how many modules it could act on), `apply(network)`, which changes the network
that it is given and returns it, and `why_none(network)`, asked where nothing is offered; all take the
values of `OPTIONS`, where it has any, by keyword. Finding nothing to do is a recorded no-op with its
reason; finding something that cannot be rewritten exactly raises Unsupported.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from unetbench import parts
from unetbench.errors import Unsupported
from unetbench.records import Choice, RewriteReport

if TYPE_CHECKING:
    from torch import nn


def rewrite(model: nn.Module, *names: str, shape: tuple[int, ...] | None = None) -> nn.Module:
    """Return a copy of a network with rewrites applied in order; `.report` says what each one did.

    The given network is untouched. With the shape of an input the operations and bytes of a run are
    counted before and after.
    Shapes: shape (B, C, H, W).
    Raises: BadInput for an unknown rewrite or option; Unsupported where one does not apply exactly.
    """
    reports = list(getattr(model, "report", ()))
    copy = _copied(model)
    own = set(copy.modules())
    found = _counted(copy, shape)
    for name in names:
        choice = Choice.parse(name)
        part = parts.chosen("rewrite", choice).module()
        options = dict(choice.options)
        before, offered = found, part.offered(copy, **options)
        copy = part.apply(copy, **options)
        found = _counted(copy, shape)
        together = {f"{what}_before": count for what, count in before.items()}
        together |= {f"{what}_after": count for what, count in found.items()}
        reports.append(
            RewriteReport(
                rewrite=name,
                offered=offered,
                remaining=part.offered(copy, **options),
                reason="" if offered else part.why_none(copy, **options),
                **together,
            )
        )
    for module in copy.modules():
        if module not in own:  # made by a rewrite: torch begins each in training
            module.training = model.training
    copy.report = tuple(reports)  # type: ignore[assignment]
    return copy


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy of a network.

    Raises: Unsupported where it would lose what listens, as the copy of a module that was traced does.
    """
    from unetbench.rewrites._ghost import hooked  # torch is loaded where a network is rewritten, not before

    copy = deepcopy(model)
    kept = dict(copy.named_modules())
    for name, module in model.named_modules():
        if hooked(module) and not (name in kept and hooked(kept[name])):
            raise Unsupported(
                f"a rewritten copy would lose the hooks on {name or 'the network'}: remove them and add them again "
                "when all is rewritten."
            )
    return copy


def _counted(model: nn.Module, shape: tuple[int, ...] | None) -> dict[str, int]:
    from unetbench.rewrites import _ghost

    counts = {"modules": sum(1 for _ in model.modules()), "parameters": _ghost.parameters(model)}
    if shape is None:
        return counts
    run = _ghost.counts(model, shape)
    return counts | {"flop": run.flop, "moved_bytes": run.moved_bytes}
