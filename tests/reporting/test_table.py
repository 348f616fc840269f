"""A table never passes its terminal's edge and never cuts a figure: columns leave instead, and are told."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console

from tests.samples import case, measurement, parity
from unetbench.records import REFERENCE, Failure, Network, Result
from unetbench.reporting.row import Row, shorter_encoders
from unetbench.reporting.rows import rows
from unetbench.reporting.table import (
    COLUMNS,
    milliseconds,
    overview,
    shown_columns,
    terminal_table,
)
from unetbench.suite import encoder_tags

FAST = "torch_compile[freezing=1]/bf16+reparameterize"
LONGEST = max(encoder_tags(), key=len)
IDENTITY = ("encoder", "recipe", "median ms")  # what a row is, which no terminal of 80 may lose


def _rows(*facts: tuple[str, str, float]) -> tuple[Row, ...]:
    return rows(
        Result(case=case(encoder, recipe), session=1, measurements=(measurement(run_ms),))
        for encoder, recipe, run_ms in facts
    )


def _text(table: tuple[Row, ...], width: int, title: str = "Title") -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(terminal_table(table, title=title, width=width))
    return console.export_text()


def _left_out(text: str) -> set[str]:
    said = re.search(r"not shown at this width: (.*)", " ".join(text.split()))
    return set(said[1].split(", ")) if said else set()


def _legend(text: str) -> dict[str, str]:
    return {recipe: letter for letter, recipe in re.findall(r"^([A-Z])  (\S+) *$", text, re.MULTILINE)}


def _assert_whole(table: tuple[Row, ...], width: int) -> None:
    text = _text(table, width)
    lines, left_out, legend = text.splitlines(), _left_out(text), _legend(text)
    assert max(map(len, lines)) <= width
    assert left_out <= {column.name for column in COLUMNS} - set(IDENTITY)
    short = shorter_encoders(table)
    for row in table:
        cells = {
            column.name: column.text(row)
            for column in shown_columns(table)
            if column.name not in left_out and column.name not in ("status", "recipe", "encoder")
        }
        names = {row.encoder, short[row.encoder]}, {row.recipe, legend.get(row.recipe, row.recipe)}
        assert any(
            {cell for cell in cells.values() if cell} <= set(line.split())
            and all(each & set(line.split()) for each in names)
            for line in lines
        ), f"{row} is not whole in\n{text}"


FACTS = st.lists(
    st.tuples(
        st.sampled_from(["resnet18", "mobilenetv4_conv_small.e2400_r224_in1k", LONGEST]),
        st.sampled_from([str(REFERENCE), FAST, "torch_eager/bf16"]),
        st.floats(0.001, 900_000),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda facts: facts[:2],
)


@settings(max_examples=60, deadline=None)
@given(FACTS, st.integers(80, 260))
def test_every_row_is_whole_at_every_width_from_80(facts: list[tuple[str, str, float]], width: int) -> None:
    _assert_whole(_rows(*facts), width)


@pytest.mark.parametrize("width", [80, 200])
def test_more_recipes_than_letters(width: int) -> None:
    table = _rows(
        *((("resnet18", f"torch_compile/fp32+rewrite_{index:02d}", 100.0 + index)) for index in range(30))
    )
    _assert_whole(table, width)


def test_at_200_columns_nothing_leaves_and_recipes_keep_their_names() -> None:
    table = _rows(("mobilenetv4_conv_medium.e500_r224_in1k", str(REFERENCE), 123.4), ("resnet18", FAST, 12.3))
    text = _text(table, 200)
    assert _left_out(text) == set()
    assert _legend(text) == {}
    assert FAST in text
    words = set(text.split())
    assert {word for column in shown_columns(table) for word in column.name.split()} <= words


def test_the_most_telling_columns_leave_last() -> None:
    table = _rows(("resnet18", str(REFERENCE), 123.4), ("resnet34", FAST, 12.3))
    seen: set[str] = set()
    for width in range(200, 50, -5):
        left_out = _left_out(_text(table, width))
        assert seen <= left_out, "a column that left comes back on a narrower terminal"
        seen = left_out
    assert not seen & set(IDENTITY)
    at_80 = _left_out(_text(table, 80))
    assert not at_80 & {*IDENTITY, "images/s", "speed-up", "error"}


def test_a_status_that_is_the_same_for_all_leaves_first_and_one_that_is_not_stays() -> None:
    table = _rows(("resnet18", str(REFERENCE), 123.4), ("mobilenetv4_conv_small", FAST, 12.3))
    assert "status" in _left_out(_text(table, 80))
    failure = Failure(stage="checking", kind="wrong output", message="agreement 98.7 %")
    failed = rows([Result(case=case("mobilenetv4_conv_small", FAST), session=1, failure=failure)])
    for width in range(70, 140):
        text = _text((*table[:1], *failed), width)
        assert max(map(len, text.splitlines())) <= width
        assert {"wrong", "output"} <= set(text.split()), f"cut at {width}:\n{text}"
        assert "end-to-end" in set(text.replace(",", " ").split()), f"cut at {width}:\n{text}"


def test_the_reference_is_letter_a() -> None:
    assert _legend(_text(_rows(("resnet18", "a/fp32", 1.0), ("resnet18", str(REFERENCE), 9.0)), 60)) == {
        str(REFERENCE): "A",
        "a/fp32": "B",
    }


def test_decoder_and_size_are_columns_only_where_they_differ() -> None:
    same = _rows(("resnet18", str(REFERENCE), 1.0), ("resnet34", str(REFERENCE), 2.0))
    assert not {"decoder", "size"} & {column.name for column in shown_columns(same)}
    other = rows([Result(case=case(height_px=256), session=1, measurements=(measurement(),))])
    assert "size" in {column.name for column in shown_columns((*same, *other))}


@pytest.mark.parametrize(("changes", "column"), [
    ({"batch": 4}, "batch"), ({"threads": 1}, "threads"), ({"network": Network("resnet18", classes=5)}, "classes"),
    ({"network": Network("resnet18", weights="mine.pt")}, "weights"),
])  # fmt: skip
def test_what_tells_two_rows_apart_is_a_column(changes: dict[str, Any], column: str) -> None:
    plain = case()
    other = replace(plain, **changes)
    table = rows(
        [
            Result(case=of, key=str(at), session=1, measurements=(measurement(),))
            for at, of in enumerate((plain, other))
        ]
    )
    assert column in {each.name for each in shown_columns(table)}
    assert column not in {each.name for each in shown_columns(table[:1])}
    assert column in _text(table, 80), "however narrow"


def test_a_failed_row_shows_its_status_and_no_figure() -> None:
    failure = Failure(stage="checking", kind="wrong output", message="agreement 98.7 %")
    table = rows([Result(case=case(), session=1, failure=failure)])
    for width in (80, 200):
        text = _text(table, width)
        assert "wrong output" in " ".join(text.split())
        assert "None" not in text
        assert "nan" not in text


def test_names_and_titles_are_text_not_markup() -> None:
    text = _text(_rows(("resnet18", FAST, 1.0)), 200)
    assert "torch_compile[freezing=1]/bf16" in text
    title = "decoder unet[upsampling=bilinear], 512x512"
    assert title in _text(_rows(("resnet18", FAST, 1.0)), 200, title)


@pytest.mark.parametrize(
    ("encoders", "shown"),
    [
        (["a.x", "b.y"], ["a", "b"]),
        (["a.x", "a.y", "b.y"], ["a.x", "a.y", "b"]),
        (["a", "a.x"], ["a", "a.x"]),
    ],
)
def test_a_pretrained_tag_leaves_where_it_tells_nothing_apart(encoders: list[str], shown: list[str]) -> None:
    table = _rows(*((name, str(REFERENCE), 1.0) for name in encoders))
    assert [shorter_encoders(table)[name] for name in encoders] == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.1234, "0.12"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (123456.7, "123457")],
)
def test_milliseconds_have_no_exponent(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


def test_the_error_is_that_of_the_row() -> None:
    off = measurement(parity=parity(relative_error=3e-4))
    table = rows([Result(case=case(), session=1, measurements=(off,))])
    assert "3e-04" in _text(table, 200)


@given(st.integers(50, 260))
@settings(deadline=None, max_examples=40)
def test_no_rank_is_shown_without_the_error_beside_it(width: int) -> None:
    table = tuple(
        structs.replace(row, rank=f"{place}–4", blocks=20, interval_low_ms=1.0, interval_high_ms=2.0, speedup_low=1.0,
                        speedup_high=2.0, verdict="faster")
        for place, row in enumerate(_rows(*((name, recipe, 99.0) for name in ("resnet18", "mobilenetv4_conv_small")
                                            for recipe in (str(REFERENCE), FAST, "openvino/int8"))))
    )  # fmt: skip
    left_out = _left_out(_text(table, width))
    assert "rank" in left_out or "error" not in left_out


def test_where_nearly_nothing_fits_the_encoder_and_its_time_stay() -> None:
    assert [column.name for column in sorted(COLUMNS, key=lambda column: column.leaves)][:3] == [
        "encoder",
        "network",  # stands in the other's place
        "median ms",
    ]


def test_the_winners_column_stands_where_several_recipes_compete() -> None:
    facts = [("resnet18", recipe, 100.0) for recipe in ("torch_eager/fp32", "openvino/fp32", "mnn/fp32")]
    assert "winner" not in {column.name for column in shown_columns(_rows(*facts[:2]))}
    assert "winner" in {column.name for column in shown_columns(_rows(*facts))}


def test_where_decoders_are_compared_their_share_is_a_column_and_the_decoder_stays() -> None:
    one = rows([Result(case=case(), session=1, measurements=(measurement(),))])
    assert not {"decoder", "dec. M", "dec. %"} & {column.name for column in shown_columns(one)}
    networks = [
        Network.parse(text) for text in ("resnet18/unet[upsampling=nearest]", "smp.unet[tu-resnet18]")
    ]
    several = rows(
        Result(case=replace(case(), network=network), session=1, measurements=(measurement(),))
        for network in networks
    )
    shown = {column.name: column.text(several[0]) for column in shown_columns(several)}
    assert (shown["dec. M"], shown["dec. %"]) == ("3.00", "75")
    assert "unet[upsampling=nearest]" in _text(several, 80)


def test_the_heading_over_whole_networks_is_network() -> None:
    def headings(*names: str) -> set[str]:
        table = rows(
            Result(
                case=replace(case(), network=Network.parse(name)), session=1, measurements=(measurement(),)
            )
            for name in names
        )
        return {"encoder", "network"} & {column.name for column in shown_columns(table)}

    assert headings("resnet18/unet", "resnet18/semantic_fpn") == {"encoder"}
    assert headings("resnet18/unet", "unet_2015") == {"network"}


def test_a_table_is_shown_whole_or_as_an_overview() -> None:
    table = _rows(*((f"e{number}", "torch_eager/fp32", 10.0 + number) for number in range(201)))
    assert overview(table[:200]) == table[:200]
    assert overview(table) == table[:50]
