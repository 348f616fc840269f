"""A reference is read through once a session, and made again where it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeWorker
from tests.samples import case
from unetbench.measuring import reference
from unetbench.measuring.preparing import Preparing


def test_a_reference_is_read_through_once_and_made_again_where_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, made = [], []
    whole = reference.ready
    monkeypatch.setattr(reference, "ready", lambda folder: read.append(folder) or whole(folder))

    def make(do: str, arguments: Any) -> None:
        folder = Path(arguments["folder"])
        folder.mkdir()
        for name in reference.FILES:
            (folder / name).write_bytes(b"")
        reference.seal(folder, {})
        made.append(do)

    preparing = Preparing(
        work=tmp_path, cache=tmp_path / "cache", images=(), checked_inputs=1, on_phase=lambda _: None,
        on_tick=lambda: None, start_worker=lambda *_: FakeWorker(on_ask=make),
    )  # fmt: skip
    (folder,) = {preparing.reference(case(recipe=recipe)) for recipe in ("torch_eager/fp32", "mnn/fp32")}
    assert (made, read) == (["reference"], [folder])
    shutil.rmtree(folder)
    assert preparing.reference(case()) == folder
    assert made == ["reference"] * 2
