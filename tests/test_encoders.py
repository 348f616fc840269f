"""The table of encoders: read back as written, chosen by what is asked, shown in 80 characters at once."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetbench import encoders
from unetbench.cli import main
from unetbench.encoders import KnownEncoder
from unetbench.errors import BadInput, Unsupported
from unetbench.suite import check_encoder, encoder_tags

ROOT = Path(__file__).parents[1]
WIDTH = 80
KNOWN = encoders.known()

words = st.text("abcxyz0189_", min_size=1, max_size=60)
numbers = st.lists(st.integers(1, 4096), max_size=5).map(tuple)


@given(
    name=words,
    tags=st.lists(words, max_size=3).map(tuple),
    strides=numbers,
    channels=numbers,
    flat_stride=st.integers(0, 64),
    parameters=st.integers(0, 10**11),
    reason=st.text("abc xyz.:()", max_size=30),
)
def test_a_row_reads_back_as_it_was_written(**facts: object) -> None:
    encoder = KnownEncoder(**facts)  # type: ignore[arg-type]
    assert KnownEncoder.parse(encoder.row()) == encoder


def test_the_table_is_whole() -> None:
    assert len(KNOWN) > 1300
    for encoder in KNOWN.values():
        if encoder.reason:
            assert not (encoder.strides or encoder.flop), encoder
            continue
        assert len(encoder.strides) == len(encoder.channels) >= 2, encoder
        assert list(encoder.strides) == sorted(encoder.strides)
        assert encoder.parameters > 0 and encoder.flop > 0 and encoder.size


def test_nearly_all_of_timm_works_and_the_rest_is_told_why() -> None:
    refused = [encoder for encoder in KNOWN.values() if encoder.reason]
    assert len(KNOWN) - len(refused) >= 1250
    for encoder in refused:
        assert encoder.name in encoder.reason and "\n" not in encoder.reason
        assert encoder.reason.rstrip().endswith("choose another.")


def test_one_of_each_family_ran_for_real() -> None:
    families = {encoder.family for encoder in KNOWN.values() if not encoder.reason}
    assert families == {encoder.family for encoder in KNOWN.values() if encoder.ran}


def test_the_page_shows_this_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    page = import_module("encoders_page").page
    text = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
    assert page(text, KNOWN.values()) == text
    assert page(text, list(KNOWN.values())[1:]) != text


def test_a_pattern_the_parameters_and_the_pyramid_choose() -> None:
    assert [each.name for each in encoders.matching("resnet18")] == ["resnet18"]
    small = encoders.matching("*", most_parameters=3_000_000)
    assert 0 < len(small) < len(KNOWN)
    assert all(0 < each.parameters <= 3_000_000 for each in small)
    assert all(each.flat_stride for each in encoders.matching("*", levels="flat"))
    exact = encoders.matching("*", levels="2,4,8,16,32")
    assert {each.strides for each in exact} == {(2, 4, 8, 16, 32)}
    for form in ("4…32", "4-32", "4..32", "4...32"):
        ranged = encoders.matching("*", levels=form)
        assert {each.strides[0] for each in ranged} == {4}
        assert {each.strides[-1] for each in ranged} == {32}


@pytest.mark.parametrize("levels", ["", "flatt", "4…", "2,4,", "4…16…32", "-4", "2;4"])
def test_a_pyramid_that_is_not_understood(levels: str) -> None:
    with pytest.raises(BadInput, match=r"is not understood: give flat"):
        encoders.matching("*", levels=levels)


def test_nothing_found_says_what_was_asked() -> None:
    with pytest.raises(BadInput, match=r"did you mean mobilenet\*"):
        encoders.matching("mobilnet*")
    assert [each.name for each in encoders.matching("mobilenetv4_conv_small.e2400_r224_in1k")] == [
        "mobilenetv4_conv_small"
    ]
    with pytest.raises(
        BadInput, match=r"'resnet\*' --max-params 1000 --pyramid 4…32.*the pattern alone matches some"
    ):
        encoders.matching("resnet*", most_parameters=1000, levels="4…32")


@pytest.mark.parametrize("pattern", ["*", "resnet*", "vit*", "mobilenetv4*"])
def test_no_line_is_wider_than_a_terminal(pattern: str) -> None:
    shown = list(encoders.lines(encoders.matching(pattern)))
    assert max(map(len, shown)) <= WIDTH
    assert shown[0].split() == ["encoder", "levels", "channels", "params", "GFLOP"]


def test_every_figure_of_an_encoder_is_shown() -> None:
    encoder = KnownEncoder(
        name="an_encoder", strides=(4, 8), channels=(96, 192), parameters=27_500_000, flop=21_000_000_000,
        size="512x512",
    )  # fmt: skip
    _, row, *notes = encoders.lines([encoder])
    assert row.split() == ["an_encoder", "4", "8", "96", "192", "27.5M", "21"]
    assert not any("flat" in note for note in notes)
    flat = replace(encoder, flat_stride=16, size="224x224", name="x" * 70)
    _, name, row, *notes = encoders.lines([flat])
    assert name == "x" * 70, "a long name has a line of its own"
    assert row.split() == ["4", "8*", "96", "192", "27.5M", "21", "224x224"]
    assert any("flat" in note for note in notes)


def test_what_does_not_work_is_counted_or_told() -> None:
    rows = [*encoders.matching("resnet18"), KnownEncoder(name="broken", reason="broken gives no maps.")]
    assert list(encoders.lines(rows))[-1] == "1 more do not work: --all shows them with the reason"
    assert list(encoders.lines(rows, failing=True))[-1] == "broken  broken gives no maps."


def test_an_encoder_that_does_not_work_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = KnownEncoder(name="broken", reason="encoder broken gives no maps: choose another.")
    monkeypatch.setattr(encoders, "known", lambda: {"broken": broken})
    with pytest.raises(Unsupported, match="gives no maps: choose another"):
        check_encoder("broken")


def test_tags_are_those_of_timm() -> None:
    assert "a1_in1k" in encoder_tags()["resnet18"]
    check_encoder("resnet18.a1_in1k")
    with pytest.raises(BadInput, match="pretrained tag of resnet18"):
        check_encoder("resnet18.nothing")


def test_the_listing_is_instant() -> None:
    """A process of its own: 0.3 s are promised, and twice that allowed on a busy machine."""
    command = [sys.executable, "-m", "unetbench", "list", "encoders", "--max-params", "10M"]
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        taken.append(time.perf_counter() - begin)
    assert "resnet18" not in done.stdout.split(), "it has 11 M"
    assert "mobilenetv3_small_100" in done.stdout.split()
    assert min(taken) < 0.6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["encoders", "--max-params", "many"], "give it as 10M"),
        (["encoders", "--max-params", "0"], "give it as 10M"),
        (["encoders", "--max-params", "9" * 400], "give it as 10M"),
        (["encoders", "--pyramid", "deep"], "give flat"),
        (["decoders", "--pyramid", "flat"], "choose among encoders"),
        (["--all"], "choose among encoders"),
    ],
)
def test_bad_options(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
