"""bf16 is a go only where it is computed, not emulated; fp32 stands in for it and says so."""

from __future__ import annotations

import pytest

from tests.samples import case
from unetbench.measuring.preflight import bf16, int8, substituted

HARDWARE = {"fp32_ms": 10.0, "bf16_ms": 4.0}
EMULATED = {"fp32_ms": 10.0, "bf16_ms": 680.0}
CASES = tuple(case(name, recipe) for recipe in ("torch_eager/fp32", "torch_compile/bf16+reparameterize") for name in ("a", "b"))  # fmt: skip


@pytest.mark.parametrize(
    ("instructions", "probe", "go"),
    [
        (("amx_bf16",), HARDWARE, True),
        (("amx_bf16",), None, True),
        (("amx_bf16",), EMULATED, False),
        ((), HARDWARE, False),
        ((), EMULATED, False),
        ((), None, False),
    ],
)
def test_go(instructions: tuple[str, ...], probe: dict[str, float] | None, go: bool) -> None:
    finding = bf16(instructions, probe)
    assert finding.go is go
    assert str(finding).startswith("bf16 go" if go else "bf16 no-go")


def test_the_finding_names_both_facts() -> None:
    assert str(bf16((), EMULATED)) == (
        "bf16 no-go: no bf16 instructions, so PyTorch emulates it; one convolution took 68 × the time of fp32"
    )


def test_fp32_stands_in_where_bf16_is_emulated() -> None:
    to_run, not_run = substituted(CASES, bf16((), EMULATED), force=False)
    assert [str(each.recipe) for each in to_run] == ["torch_eager/fp32"] * 2 + [
        "torch_compile/fp32+reparameterize"
    ] * 2
    assert [each.network.encoder for each in to_run] == ["a", "b", "a", "b"], "still breadth-first"
    assert [each for each, _ in not_run] == list(CASES[2:])
    assert "--force" in not_run[0][1].message
    assert not_run[0][1].kind == "not run"


def test_a_stand_in_that_is_in_the_suite_already_runs_once() -> None:
    cases = (*CASES, case("a", "torch_compile/fp32+reparameterize"))
    to_run, _ = substituted(cases, bf16((), EMULATED), force=False)
    assert len(to_run) == len(set(to_run)) == 4


@pytest.mark.parametrize(("instructions", "force"), [(("amx_bf16",), False), ((), True)])
def test_bf16_runs_where_it_can_or_is_forced(instructions: tuple[str, ...], force: bool) -> None:
    probe = HARDWARE if instructions else EMULATED
    assert substituted(CASES, bf16(instructions, probe), force=force) == (CASES, ())


@pytest.mark.parametrize(("bf16_ms", "go"), [(80.0, True), (80.1, False)])
def test_more_than_8_times_fp32_is_emulation(bf16_ms: float, go: bool) -> None:
    assert bf16(("amx_bf16",), {"fp32_ms": 10.0, "bf16_ms": bf16_ms}).go is go


def test_the_reason_names_the_recipe_that_stands_in() -> None:
    _, ((skipped, failure), *_) = substituted(CASES, bf16((), EMULATED), force=False)
    assert str(skipped.recipe) == "torch_compile/bf16+reparameterize"
    assert "torch_compile/fp32+reparameterize is measured in its place" in failure.message
    assert failure.stage == "preflight"


def test_int8_goes_where_the_cpu_multiplies_bytes() -> None:
    probe = {"int8_product_ms": 3.0, "fp32_product_ms": 1.0}
    assert int8(("avx2", "amx_int8"), probe).startswith("int8 go: amx_int8; torch's own product took 3 ×")
    assert int8(("avx2",), {}) == "int8 no-go: no instructions that multiply bytes"
