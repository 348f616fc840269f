"""Before a sweep: is bf16 computed here or emulated, and what is measured in its place.

PyTorch emulates bf16 where the CPU has no such instructions, tens of times slower than fp32
(pytorch#146508, #183815): a case to handle before hours are spent on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unetbench import machine
from unetbench.records import Case, Failure

# Emulated, one convolution took 68 × the time of fp32 on a machine where, in hardware, it took 0.4 ×;
# 2.4 × was seen there beside a busy neighbour.
_EMULATED_RATIO = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bf16:
    """Whether bf16 is worth measuring on this machine, and why."""

    instructions: tuple[str, ...]
    fp32_ms: float | None = None
    bf16_ms: float | None = None

    @property
    def go(self) -> bool:
        """Only where the CPU has bf16 instructions and one pass does not belie them."""
        belied = self.ratio is not None and self.ratio > _EMULATED_RATIO
        return bool(self.instructions) and not belied

    @property
    def ratio(self) -> float | None:
        """Time of one convolution in bf16 over that in fp32."""
        return self.bf16_ms / self.fp32_ms if self.bf16_ms and self.fp32_ms else None

    def __str__(self) -> str:
        found = ", ".join(self.instructions) or "no bf16 instructions, so PyTorch emulates it"
        probed = "" if self.ratio is None else f"; one convolution took {self.ratio:.2g} × the time of fp32"
        return f"bf16 {'go' if self.go else 'no-go'}: {found}{probed}"


def bf16(instructions: Sequence[str], probe: Mapping[str, Any] | None) -> Bf16:
    """Return the finding from the instruction sets and a worker's probe, where one was made."""
    probe = probe or {}
    return Bf16(instructions=tuple(instructions), fp32_ms=probe.get("fp32_ms"), bf16_ms=probe.get("bf16_ms"))


def int8(sets: Sequence[str], probe: Mapping[str, Any]) -> str:
    """Return what is to be expected of int8: it pays only where the CPU multiplies bytes.

    The probe is torch's own product, which may use those instructions badly; other runtimes differ.
    """
    found = [name for name in machine.INT8_SETS if name in sets]
    ratio = probe["int8_product_ms"] / probe["fp32_product_ms"] if probe.get("int8_product_ms") else None
    probed = "" if ratio is None else f"; torch's own product took {ratio:.2g} × the time of fp32"
    return f"int8 {'go' if found else 'no-go'}: {', '.join(found) or 'no instructions that multiply bytes'}{probed}"


def substituted(
    cases: Sequence[Case], finding: Bf16, *, force: bool
) -> tuple[tuple[Case, ...], tuple[tuple[Case, Failure], ...]]:
    """Return the cases to run, and those not run with the reason.

    Where bf16 is a no-go each of its cases is measured in fp32 instead, unless forced.
    """
    if finding.go or force:
        return tuple(cases), ()
    to_run, not_run = [], []
    for case in cases:
        if case.recipe.precision != "bf16":
            to_run.append(case)
            continue
        instead = replace(case, recipe=replace(case.recipe, precision="fp32"))
        to_run.append(instead)
        reason = f"{finding}; {instead.recipe} is measured in its place, `run --force` measures bf16 too"
        not_run.append((case, Failure(stage="preflight", kind="not run", message=reason)))
    return tuple(dict.fromkeys(to_run)), tuple(not_run)
