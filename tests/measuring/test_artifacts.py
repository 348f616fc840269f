"""Artifacts: named by all that they are made from, whole or not there, in a folder of the user's own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from unetbench.errors import BadInput
from unetbench.measuring import artifacts
from unetbench.records import Case, Network, Recipe

CASE = Case(
    network=Network("resnet18"),
    recipe=Recipe.parse("onnxruntime/fp32+fold_head"),
    height_px=64,
    width_px=64,
    threads=1,
)
FACTS = {"prepare_s": 1.5}


def _made(root: Path, name: str = "a", text: str = "code") -> Path:
    place = root / name
    made = artifacts.unfinished(place)
    (made / "cache").mkdir()
    (made / "network.bin").write_text(text, encoding="utf-8")
    (made / "cache" / "blob").write_text(text, encoding="utf-8")
    artifacts.seal(made, place, FACTS)
    return place


def _key(case: Case = CASE, *, weights: str = "w", images: str = "i", build: int = 0) -> str:
    return artifacts.key(case, weights=weights, images=images, build=build)


def test_what_another_run_has_sealed_stays_as_it_is(tmp_path: Path) -> None:
    place = _made(tmp_path)
    before = (place / "network.bin").stat().st_ino
    assert _made(tmp_path, text="the same, converted again") == place
    assert (place / "network.bin").stat().st_ino == before, "it may be in use"
    assert [each.name for each in tmp_path.iterdir()] == [place.name]


def test_what_was_made_is_found_again_with_its_facts(tmp_path: Path) -> None:
    place = _made(tmp_path)
    assert artifacts.facts(place) == FACTS | {"artifact_bytes": 8}
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "nothing unfinished is left"


def test_what_others_planted_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _made(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
        assert artifacts.facts(place) is None
    assert artifacts.facts(place) is not None
    file = place / "network.bin"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert artifacts.facts(place) is None, "its content is right, but another may change it"


def test_the_compilers_version_is_part_of_what_it_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = replace(CASE, recipe=Recipe.parse("torch_compile/fp32"))
    before = _key(), _key(compiled)
    monkeypatch.setattr(artifacts.machine, "compiler", lambda: "another")
    assert _key() == before[0]
    assert _key(compiled) != before[1]


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "no manifest", "no sense", "empty"])
def test_a_damaged_artifact_is_not_there_and_can_be_made_again(tmp_path: Path, damage: str) -> None:
    place = _made(tmp_path)
    file, manifest = place / "cache" / "blob", place / artifacts.MANIFEST
    if damage == "changed":
        file.write_text("CODE", encoding="utf-8")
    elif damage == "cut":
        file.write_text("", encoding="utf-8")
    elif damage == "gone":
        file.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "no sense":
        manifest.write_text("{", encoding="utf-8")
    else:
        manifest.write_text('{"facts": {}, "digests": {}}', encoding="utf-8")
    assert artifacts.facts(place) is None
    assert artifacts.facts(_made(tmp_path)) is not None


def test_the_name_says_all_that_it_is_made_from() -> None:
    others = [
        _key(replace(CASE, recipe=Recipe.parse("onnxruntime/fp32"))),
        _key(replace(CASE, recipe=Recipe.parse("onnxruntime[spinning=0]/fp32+fold_head"))),
        _key(replace(CASE, recipe=Recipe.parse("openvino/fp32+fold_head"))),
        _key(replace(CASE, threads=2)),
        _key(replace(CASE, height_px=96)),
        _key(replace(CASE, network=Network("resnet18", classes=2))),
        _key(weights="other"),
        _key(build=1),
    ]
    assert len({_key(), *others}) == len(others) + 1
    assert _key() == _key(images="other"), "only int8 takes its ranges from images"
    int8 = replace(CASE, recipe=Recipe.parse("onnxruntime/int8"))
    assert _key(int8) != _key(int8, images="other")


def test_another_version_of_the_runtime_or_of_our_code_is_another_artifact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _key()
    with monkeypatch.context() as patch:
        patch.setattr(artifacts.machine, "version", lambda package: "99")
        assert _key() != before
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "sources", lambda runtime: "changed")
        assert _key() != before


def test_the_folder_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = artifacts.cache_folder()
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o770)
    with pytest.raises(BadInput, match=r"can be written by others.*chmod 700"):
        artifacts.cache_folder()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BadInput, match=r"cannot be made.*XDG_CACHE_HOME"):
        artifacts.cache_folder()


def test_the_least_recently_used_go_first_and_what_was_abandoned(tmp_path: Path) -> None:
    for age, name in ((300, "old"), (200, "older than it looks"), (100, "new")):
        os.utime(_made(tmp_path, name, "x" * 50) / artifacts.MANIFEST, (age, 1_000_000 - age))
    assert artifacts.facts(tmp_path / "older than it looks")  # used now
    abandoned, working = artifacts.unfinished(tmp_path / "b"), artifacts.unfinished(tmp_path / "c")
    os.utime(abandoned, (0, 0))
    artifacts.prune(tmp_path, limit_bytes=900)
    left = {path.name for path in tmp_path.iterdir()}
    assert "old" not in left
    assert {"older than it looks", working.name} <= left
    assert abandoned.name not in left
