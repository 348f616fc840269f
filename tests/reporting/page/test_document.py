"""The page as a file: whatever names say, it is text; nothing but its own scripts may run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest

from tests.samples import case, machine, measurement
from unetbench.errors import BadInput, StoreError
from unetbench.records import Failure, Machine
from unetbench.reporting import page
from unetbench.reporting.page.document import embedded, policy
from unetbench.store import writing

HOSTILE = "</script><script>alert(1)</script><!--\u2028&@@cases@@"


def store(path: Path, here: Machine | None = None, **measured: float) -> Path:
    """A store with a network, its faster recipe and a failure."""
    with writing(path) as opened:
        session = opened.open_session(
            here or machine(), preset="quick", images="x", command=["run", "suite"], fresh=True
        )
        opened.append(session.identifier, case(), measurement(200))
        opened.append(session.identifier, case(recipe="onnxruntime/fp32+reparameterize"), measurement(100))
        failure = Failure(stage="checking", kind="wrong output", message=HOSTILE)
        opened.append(session.identifier, case("regnetx_004"), failure)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    first = store(folder / "first.sqlite", machine(cpu=HOSTILE))
    assert page.write([first, store(folder / "second.sqlite")], folder / "page.html") == 6
    return (folder / "page.html").read_text(encoding="utf-8")


def _json(made: str, name: str) -> object:
    (text,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', made, re.DOTALL)
    return json.loads(text)


def test_names_are_text_and_come_back_whole(made: str) -> None:
    data = _json(made, "data")
    assert isinstance(data, dict)
    assert data["columns"]["reason"].count(f"checking: {HOSTILE}") == 2
    assert len(data["machines"]) == 2
    assert "alert(1)</script>" not in made
    assert len(re.findall("<script", made.partition("<body>")[2])) >= 5


def test_only_its_own_scripts_and_style_may_run(made: str) -> None:
    (policy_text,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)
    allowed = html.unescape(policy_text)
    assert allowed.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in allowed
    assert "http" not in allowed
    texts = re.findall(r"<script>(.*?)</script>", made, re.DOTALL) + re.findall(
        r"<style>(.*?)</style>", made, re.DOTALL
    )
    assert len(texts) == 3
    for text in texts:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed


def test_it_names_no_other_place(made: str) -> None:
    own = made.partition("<script>")[0] + made.rpartition("<script>")[2]
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", own)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", made.rpartition("<script>")[2])


def test_embedded_json_ends_no_script() -> None:
    text = embedded({"name": HOSTILE, "number": 1.5})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"name": HOSTILE, "number": 1.5}


def test_a_policy_names_each_text_by_its_hash() -> None:
    digest = base64.b64encode(hashlib.sha256(b"a").digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy(["a"], ["b"])


def test_what_cannot_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        page.write([tmp_path / "none.sqlite"], tmp_path / "page.html")
    known = store(tmp_path / "known.sqlite")
    with pytest.raises(BadInput, match="unknown session 7"):
        page.write([known], tmp_path / "page.html", session=7)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        page.write([known], tmp_path / "file" / "page.html")
