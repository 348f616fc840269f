"""What a converter is handed: calibration on crops that no answer is checked on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unetbench import parts, photos
from unetbench.errors import Unsupported
from unetbench.measuring import conversion, reference
from unetbench.records import Case, Network, Recipe


@pytest.mark.parametrize(("precision", "images"), [("int8", conversion.CALIBRATION_IMAGES), ("fp32", 0)])
def test_int8_is_calibrated_on_other_crops_than_its_answers_are_checked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, images: int
) -> None:
    """Ranges from the very images that are compared would flatter every agreement."""
    asked = Case(
        network=Network("test_resnet"), recipe=Recipe.parse(f"onnxruntime/{precision}"), height_px=64,
        width_px=64, threads=1,
    )  # fmt: skip
    known = tmp_path / "known"
    reference.make(asked, known, photos.default_photos(), checked_inputs=16)
    given: list[Any] = []

    def convert(*_: Any, calibration: Any, **__: Any) -> None:
        given.extend(calibration)
        raise Unsupported("enough")

    monkeypatch.setattr(parts.find("runtime", "onnxruntime").module(), "convert", convert)
    checked = reference.images(known)
    with pytest.raises(Unsupported, match="enough"):
        conversion.convert(
            asked, known, tmp_path / "made", checked[0], photos.default_photos(), lambda _: None
        )
    assert len(given) == images
    assert not any(np.array_equal(image, other) for (image,) in given for other in checked)
    assert all(image.shape == checked[0].shape for (image,) in given)
