"""Hand-made records for tests: a measurement, a case, a machine, each with what the test cares about."""

from __future__ import annotations

from typing import Any

from unetbench.records import Case, Machine, Measurement, Network, Parity, Recipe

MS = 1_000_000


def parity(**changes: Any) -> Parity:
    facts: dict[str, Any] = {
        "relative_error": 1e-6, "eager_relative_error": 1e-6, "cosine": 1.0, "agreement": 1.0,
        "flips_beyond_margin": 0, "measured_class": "exact", "inputs": 1,
    }  # fmt: skip
    return Parity(**facts | changes)


def measurement(run_ms: float = 100.0, **changes: Any) -> Measurement:
    runs = tuple(round(run_ms * factor * MS) for factor in (1.1, 1.0, 0.9))
    facts: dict[str, Any] = {
        "warmup_ns": runs, "run_ns": runs, "bind_ns": (MS,) * 3, "read_ns": (2 * MS,) * 3,
        "cpu_ns": sum(runs), "import_s": 2.0, "build_s": 0.5, "rewrite_s": 0.1, "prepare_s": 10.0,
        "first_run_s": 0.2, "peak_load_bytes": 900_000_000, "peak_run_bytes": 800_000_000,
        "parameters": 4_000_000, "encoder_parameters": 1_000_000, "flop": 16_000_000_000, "parity": parity(),
    }  # fmt: skip
    return Measurement(**facts | changes)


def case(encoder: str = "resnet18", recipe: str = "torch_eager/fp32", **changes: Any) -> Case:
    facts: dict[str, Any] = {"height_px": 512, "width_px": 512, "threads": 2}
    return Case(network=Network(encoder), recipe=Recipe.parse(recipe), **facts | changes)


def machine(**changes: Any) -> Machine:
    facts: dict[str, Any] = {
        "cpu": "A CPU", "instruction_sets": ("avx2",), "cores": 2, "logical_cpus": 2,
        "memory_bytes": 8 << 30, "kernel": "6.1", "virtualisation": None, "governor": None,
        "versions": (("python", "3.12.0"), ("torch", "2.15.0")),
    }  # fmt: skip
    return Machine(**facts | changes)


# Two networks, whose cases are measured beside each other.
EAGER, COMPILED, BF16 = (
    case(recipe=recipe) for recipe in ("torch_eager/fp32", "torch_compile/fp32", "torch_compile/bf16")
)
OTHER = tuple(case("resnet34", recipe) for recipe in ("torch_eager/fp32", "torch_compile/fp32"))
