"""Wrong answers are caught, good ones pass, and the class is what was measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.samples import parity as made
from unetbench.measuring.parity import compare, fault, relative_error, unchanged
from unetbench.records import Parity

EAGER = 1e-6
Logits = NDArray[np.float64]


def _reference(classes: int, seed: int = 0) -> Logits:
    """Smooth blobs, as segmentation logits are, around a mean that is not zero."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:48, 0:40] / 8.0
    waves = [
        np.sin(rows * random.uniform(0.5, 2) + random.uniform(0, 6))
        * np.cos(columns * random.uniform(0.5, 2))
        for _ in range(classes)
    ]
    return np.stack(waves)[None] + 0.05


def _fault(reference: Logits, answer: Logits, precision: str = "fp32") -> str | None:
    answer = answer.astype(np.float32)
    comparable = reference.shape == answer.shape and bool(np.isfinite(answer).all())
    parity = compare(reference, answer, eager_relative_error=EAGER) if comparable else None
    return fault(reference, answer, parity, precision)


def _noisy(reference: Logits, size: float, seed: int = 1) -> Logits:
    noise = np.random.default_rng(seed).normal(size=reference.shape)
    centred = reference - reference.mean(axis=(0, 2, 3), keepdims=True)
    return reference + noise * size * np.linalg.norm(centred) / np.linalg.norm(noise)


WRONG: dict[str, Callable[[Logits], Logits]] = {
    "one pixel aside": lambda a: np.roll(a, 1, axis=-1),
    "upside down": lambda a: a[:, :, ::-1],
    "negated": lambda a: -a,
    "shifted by a constant": lambda a: a + 0.01,
    "scaled": lambda a: a * 1.01,
    "constant": lambda a: np.full_like(a, 0.05),
    "one NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.nan, a),
    "one infinity": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.inf, a),
    "cropped": lambda a: a[..., :-1],
    "zero": np.zeros_like,
}


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_caught(classes: int, name: str) -> None:
    reference = _reference(classes)
    assert _fault(reference, WRONG[name](reference)) is not None


@pytest.mark.parametrize("name", [name for name in WRONG if name not in ("shifted by a constant", "scaled")])
def test_gross_errors_are_caught_in_bf16_too(name: str) -> None:
    reference = _reference(3)
    assert _fault(reference, WRONG[name](reference), "bf16") is not None


def test_swapped_classes_are_caught() -> None:
    reference = _reference(3)
    for precision in ("fp32", "bf16"):
        assert _fault(reference, reference[:, [1, 0, 2]], precision) is not None


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_rounding_passes_as_exact(classes: int, seed: int) -> None:
    reference = _reference(classes, seed)
    answer = _noisy(reference, 1e-6)
    assert _fault(reference, answer) is None
    assert compare(reference, answer, eager_relative_error=EAGER).measured_class == "exact"


@pytest.mark.parametrize(
    ("error", "eager", "expected"),
    [
        (1e-6, 1e-6, "exact"),
        (3e-6, 1e-6, "near"),  # more than twice eager's error
        (9e-5, 6e-5, "exact"),
        (2e-4, 2e-4, "near"),  # more than 1e-4
        (9e-4, 1e-6, "near"),
        (2e-3, 1e-2, "approximate"),
    ],
)
def test_classes_are_what_was_measured(error: float, eager: float, expected: str) -> None:
    reference = _reference(2)
    found = compare(reference, _noisy(reference, error), eager_relative_error=eager)
    assert found.relative_error == pytest.approx(error, rel=1e-6)
    assert found.measured_class == expected


def test_a_constant_offset_is_an_error_but_not_part_of_the_norm() -> None:
    reference = _reference(1)
    lifted = reference + 1000.0
    assert relative_error(lifted, lifted + 0.1) == pytest.approx(relative_error(reference, reference + 0.1))


def test_a_flip_where_the_reference_was_sure_is_caught_however_few_they_are() -> None:
    random = np.random.default_rng(0)
    reference = np.sign(random.normal(size=(1, 1, 200, 200))) * 3.0
    answer = _noisy(reference, 1e-5)
    answer[0, 0, 5, 5] = np.sign(-reference[0, 0, 5, 5]) * 1e-4
    found = compare(reference, answer, eager_relative_error=EAGER)
    assert found.flips_beyond_margin == 1
    assert found.agreement > 0.999


def test_bf16_gates() -> None:
    reference = _reference(2)
    assert _fault(reference, _noisy(reference, 0.005), "bf16") is None
    said = _fault(reference, _noisy(reference, 0.3), "bf16")
    assert said is not None
    assert "agreement" in said


@pytest.mark.parametrize(("flipped", "passes"), [(0.05, True), (0.099, True), (0.101, False), (0.5, False)])
def test_int8_has_a_floor_of_agreement_under_which_the_output_is_wrong(flipped: float, passes: bool) -> None:
    reference = np.sign(np.random.default_rng(0).normal(size=(1, 1, 100, 100)))
    answer = reference.copy()
    answer.ravel()[: round(flipped * answer.size)] *= -1
    said = _fault(reference, answer, "int8")
    assert (said is None) == passes
    if said:
        assert "less than the floor of 90% in int8" in said


@pytest.mark.parametrize(
    ("share", "kept", "passes"), [(0.05, 0.04, False), (0.05, 0.6, True), (0.005, 0.3, True)]
)
def test_int8_keeps_every_class_that_is_to_be_seen(share: float, kept: float, passes: bool) -> None:
    reference = -np.ones((1, 1, 100, 100))
    count = round(share * reference.size)
    reference.ravel()[:count] = 1  # the only object
    answer = reference.copy()
    answer.ravel()[round(kept * count) : count] = -1
    said = _fault(reference, answer, "int8")
    assert (said is None) == passes
    if said:
        assert said == "class 1 has 5.0% of the pixels and keeps 4% of them in int8"


def test_a_vacuous_reference_proves_nothing() -> None:
    reference = _reference(1) + 10
    said = _fault(reference, reference)
    assert said is not None
    assert "one class on 100" in said


@pytest.mark.parametrize(
    ("error", "eager", "expected"),
    [
        (0.999e-4, 1.0, "exact"),
        (1.001e-4, 1.0, "near"),
        (1.99e-6, 1e-6, "exact"),
        (2.01e-6, 1e-6, "near"),
        (0.999e-3, 1.0, "near"),
        (1.001e-3, 1.0, "approximate"),
    ],
)
def test_classes_change_at_their_bounds(error: float, eager: float, expected: str) -> None:
    reference = _reference(2)
    assert compare(reference, _noisy(reference, error), eager_relative_error=eager).measured_class == expected


@pytest.mark.parametrize(
    ("found", "precision", "passes"),
    [
        (made(measured_class="near"), "fp32", True),
        (made(measured_class="approximate"), "fp32", False),
        (made(measured_class="approximate"), "bf16", True),
        (made(agreement=0.999), "fp32", True),
        (made(agreement=0.9989), "fp32", False),
        (made(flips_beyond_margin=1), "fp32", False),
        (made(flips_beyond_margin=1), "bf16", True),
        (made(agreement=0.99, cosine=0.99), "bf16", True),
        (made(agreement=0.9899), "bf16", False),
        (made(cosine=0.9899), "bf16", False),
        (None, "fp32", False),
        (None, "bf16", False),
    ],
)
def test_gates_open_at_their_bounds(found: Parity | None, precision: str, passes: bool) -> None:
    reference = _reference(2)
    assert (fault(reference, reference, found, precision) is None) is passes


def test_agreement_is_the_share_of_pixels_in_the_same_class() -> None:
    reference = _reference(1)
    answer = reference.copy()
    answer[0, 0, 0] *= -1.0  # one row of 48
    assert compare(reference, answer, eager_relative_error=EAGER).agreement == pytest.approx(47 / 48)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_reference_that_is_not_finite_proves_nothing() -> None:
    reference = _reference(1)
    broken = reference.copy()
    broken[0, 0, 0, 0] = np.nan
    found = compare(broken, reference, eager_relative_error=EAGER)
    assert fault(broken, reference, found, "bf16") is not None


def test_flips_where_the_reference_was_not_sure_are_no_fault_by_themselves() -> None:
    reference = _reference(1)
    found = compare(reference, _noisy(reference, 0.05), eager_relative_error=EAGER)
    assert found.agreement < 1.0
    assert found.flips_beyond_margin == 0


def test_another_shape_is_told_before_anything_is_compared() -> None:
    reference = _reference(1)
    said = fault(reference, reference[..., :1], made(), "fp32")
    assert said is not None
    assert "shape" in said


@pytest.mark.parametrize(
    ("precision", "moved", "same"),
    [
        ("fp32", 5e-4, True),
        ("fp32", 2e-3, False),
        ("bf16", 5e-3, True),
        ("bf16", 2e-2, False),
        ("int8", 5e-3, True),
    ],
)
def test_a_second_run_may_sum_in_another_order_and_no_more(precision: str, moved: float, same: bool) -> None:
    first = _reference(2).astype(np.float32)
    second = first.copy()
    second.flat[7] += moved * np.abs(first).max()
    assert unchanged(first, second, precision) is same
    assert unchanged(first, first.copy(), precision)
    second.flat[7] = np.nan
    assert not unchanged(first, second, precision)


def test_a_vacuous_answer_is_caught_where_the_reference_is_nearly_so() -> None:
    reference = -1.0 - np.random.default_rng(0).random((1, 1, 100, 100))
    reference[0, 0, 0, :15] = 0.001  # 0.15 % of the pixels, more than the gates let pass
    answer = np.where(reference > 0, -0.001, reference)
    said = _fault(reference, answer, "bf16")
    assert said is not None
    assert "the answer is one class" in said
