"""Does the answer still agree with the reference? NumPy only; the gates are those of docs/measuring.md.

The reference is fp64 eager on the same weights and input. The class of a case is what was measured,
never what a runtime claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unetbench.records import MARGIN_EDGES, Parity

Floats = NDArray[np.floating[Any]]

EXACT_ERROR = 1e-4  # relative L2
EXACT_RATIO = 2.0  # and at most twice eager fp32's own error
NEAR_ERROR = 1e-3  # about tf32's
FULL_AGREEMENT = 0.999  # exact and near
SURE_MARGIN = 10.0  # in units of the error's RMS: beyond it no pixel may change class
LOW_PRECISION_COSINE = 0.99  # bf16
LOW_PRECISION_AGREEMENT = 0.99
INT8_AGREEMENT = 0.90  # a floor only: how much quality int8 costs is told beside every int8 time
INT8_SEEN, INT8_KEPT = 0.01, 0.5  # a class on so many of the pixels keeps so many of them, or it is lost
# Of the largest logit, how far an answer may move when its input is run again: sums in another order move one by a step
# or two of the precision.
UNCHANGED_ERROR = {"fp32": NEAR_ERROR, "bf16": 1e-2, "int8": 1e-2}
VACUOUS_SHARE = 0.999  # one answer on more of the pixels says nothing


def relative_error(reference: Floats, answer: Floats) -> float:
    """Return the error's L2 norm over that of the reference with its mean per class removed.

    Shapes: both (B, classes, H, W).
    """
    centred = reference - _mean(reference)
    return float(np.linalg.norm(answer - reference) / np.linalg.norm(centred))


def compare(reference: Floats, answer: Floats, *, eager_relative_error: float) -> Parity:
    """Compare an answer with the reference's.

    Shapes: both (B, classes, H, W), float64 and float32.
    """
    answer = answer.astype(np.float64)
    mean = _mean(reference)
    error = relative_error(reference, answer)
    a, b = (reference - mean).ravel(), (answer - mean).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    flips = _classes(reference) != _classes(answer)
    rms = float(np.sqrt(np.mean((answer - reference) ** 2)))
    return Parity(
        relative_error=error,
        eager_relative_error=eager_relative_error,
        cosine=float(a @ b) / norms if norms else 0.0,
        agreement=1.0 - float(flips.mean()),
        flips_beyond_margin=int((flips & (_margin(reference) > SURE_MARGIN * rms)).sum()),
        measured_class=_measured_class(error, eager_relative_error),
        inputs=1,
        largest_error=float(np.abs(answer - reference).max() / max(np.sqrt(np.mean(a**2)), 1e-300)),
        margins=_histogram(_margin(reference), rms),
    )


def merged(parts: Sequence[Parity]) -> Parity:
    """Return what several inputs say together: the worst of each error, the mean agreement."""
    classes = ("exact", "near", "approximate")
    worst = max(parts, key=lambda each: classes.index(each.measured_class))
    return Parity(
        relative_error=max(each.relative_error for each in parts),
        eager_relative_error=max(each.eager_relative_error for each in parts),
        cosine=min(each.cosine for each in parts),
        agreement=sum(each.agreement * each.inputs for each in parts) / sum(each.inputs for each in parts),
        flips_beyond_margin=sum(each.flips_beyond_margin for each in parts),
        measured_class=worst.measured_class,
        inputs=sum(each.inputs for each in parts),
        largest_error=max(each.largest_error for each in parts),
        margins=tuple(map(sum, zip(*(each.margins for each in parts), strict=True))),
    )


def unchanged(first: Floats, answer: Floats, precision: str) -> bool:
    """Return whether an answer is the one that the same input gave before, up to the order of sums.

    A parallel sum may round differently from run to run; more than that is other work.
    """
    if np.array_equal(first, answer):
        return True
    moved = float(np.abs(answer - first).max())
    return moved <= UNCHANGED_ERROR[precision] * max(float(np.abs(first).max()), 1e-30)


def fault(reference: Floats, answer: Floats, parity: Parity | None, precision: str) -> str | None:
    """Return why an answer is wrong, or None where it passes its gate.

    `parity` is None where the answer is not finite, or of another shape: then it is not compared.
    """
    if reference.shape != answer.shape:
        return f"the answer's shape is {answer.shape}, the reference's {reference.shape}"
    for name, logits in (("reference", reference), ("answer", answer)):
        if not np.isfinite(logits).all():
            return f"{int((~np.isfinite(logits)).sum())} logits of the {name} are NaN or infinite"
        share = np.unique(_classes(logits), return_counts=True)[1].max() / _classes(logits).size
        if share > VACUOUS_SHARE:
            return f"the {name} is one class on {share:.2%} of the pixels: agreement would say nothing"
    if parity is None:
        return "the answer was not compared"
    if precision == "fp32":
        return _fp32_fault(parity)
    if precision == "int8":
        return _int8_fault(reference, answer, parity)
    if parity.cosine < LOW_PRECISION_COSINE or parity.agreement < LOW_PRECISION_AGREEMENT:
        return (
            f"cosine {parity.cosine:.4f} (at least {LOW_PRECISION_COSINE}), "
            f"agreement {parity.agreement:.2%} (at least {LOW_PRECISION_AGREEMENT:.0%})"
        )
    return None


def _int8_fault(reference: Floats, answer: Floats, parity: Parity) -> str | None:
    if parity.agreement < INT8_AGREEMENT:
        return f"agreement {parity.agreement:.2%}, less than the floor of {INT8_AGREEMENT:.0%} in int8"
    wanted, found = _classes(reference), _classes(answer)
    for number in np.unique(wanted):
        where = wanted == number
        kept = float((found[where] == number).mean())
        if where.mean() >= INT8_SEEN and kept < INT8_KEPT:
            return f"class {number} has {where.mean():.1%} of the pixels and keeps {kept:.0%} of them in int8"
    return None


def _fp32_fault(parity: Parity) -> str | None:
    if parity.measured_class == "approximate":
        return f"relative error {parity.relative_error:.1e}, more than {NEAR_ERROR:.0e} in fp32"
    if parity.agreement < FULL_AGREEMENT:
        return f"agreement {parity.agreement:.2%}, less than {FULL_AGREEMENT:.1%}"
    if parity.flips_beyond_margin:
        return f"{parity.flips_beyond_margin} pixels changed class where the reference was sure"
    return None


def _measured_class(error: float, eager_error: float) -> Literal["exact", "near", "approximate"]:
    if error <= EXACT_ERROR and error <= EXACT_RATIO * eager_error:
        return "exact"
    return "near" if error <= NEAR_ERROR else "approximate"


def _mean(logits: Floats) -> Floats:
    mean: Floats = logits.mean(axis=(0, 2, 3), keepdims=True)
    return mean


def _classes(logits: Floats) -> NDArray[np.intp]:
    """The class of each pixel; with one class, whether the logit is above zero."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.intp)
    winners: NDArray[np.intp] = logits.argmax(axis=1)
    return winners


def _histogram(margin: Floats, rms: float) -> tuple[int, ...]:
    """Pixels by how sure the reference is: below, between and beyond the edges."""
    edges = [-np.inf, *(edge * rms for edge in MARGIN_EDGES), np.inf]
    return tuple(int(count) for count in np.histogram(margin, edges)[0])


def _margin(logits: Floats) -> Floats:
    """How far each pixel is from changing class."""
    if logits.shape[1] == 1:
        return np.abs(logits[:, 0])
    top = np.partition(logits, -2, axis=1)
    return top[:, -1] - top[:, -2]
