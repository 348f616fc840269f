"""Rows to a table: which columns, how a figure is written, which go first when a terminal is narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase as _LETTERS

from msgspec.structs import replace
from rich import box
from rich.table import Table
from rich.text import Text

from unetbench.records import REFERENCE
from unetbench.reporting.row import Row, shorter_encoders

_OF_BLOCKS = ("rank", "99 % ms", "speed-up interval", "verdict")  # columns that need paired blocks
_OF_REFERENCE = ("speed-up", "speed-up interval", "verdict")  # that need the reference's time
_OF_ONE_PROCESS = "25–75 % ms"  # stands in their place where there are none
_OF_SEVERAL = "winner"  # stands where several recipes compete with the reference
_EIGHTHS = "▏▎▍▌▋▊▉█"
_BAR = 14  # characters of the slowest row's bar, where the terminal has them to spare
_READ = 200  # rows in a terminal: nobody reads more there, and drawing thousands takes seconds
_OF_MORE = 50  # of a table that is cut anyway
# Columns that stand above the table where all rows agree.
_SAID_ONCE = ("decoder", "weights", "size", "batch", "classes", "channels", "threads")
_TELLS_NOTHING = 20  # leaves before all others
_OF_DECODERS = ("dec. M", "dec. %")  # columns of a table that compares decoders


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table; where the terminal is narrow the highest `leaves` goes first."""

    name: str
    text: Callable[[Row], str]
    leaves: int
    left: bool = False


def _figure(value: float | None, pattern: str) -> str:
    return "" if value is None else format(value, pattern)


def milliseconds(value: float | None) -> str:
    """Write a time with three significant digits and no exponent."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"


def _spread(row: Row) -> str:
    return "" if row.low_ms is None else f"{milliseconds(row.low_ms)}–{milliseconds(row.high_ms)}"


def _interval(row: Row) -> str:
    if row.interval_low_ms is None:
        return ""
    return f"{milliseconds(row.interval_low_ms)}–{milliseconds(row.interval_high_ms)}"


def _speedup_interval(row: Row) -> str:
    return "" if row.speedup_low is None else f"{row.speedup_low:.2f}–{row.speedup_high:.2f}"


COLUMNS = (
    # Before the error: never a rank without it.
    Column(name="rank", text=lambda row: row.rank, leaves=3, left=True),
    Column(name="encoder", text=lambda row: row.encoder, leaves=-2, left=True),
    Column(name="network", text=lambda row: row.encoder, leaves=-2, left=True),
    Column(name="decoder", text=lambda row: row.decoder, leaves=0, left=True),
    Column(name="weights", text=lambda row: row.trained or "random", leaves=0, left=True),
    Column(name="recipe", text=lambda row: row.recipe, leaves=0, left=True),
    Column(name="size", text=lambda row: row.size, leaves=13, left=True),
    Column(name="batch", text=lambda row: str(row.batch), leaves=0),
    Column(name="classes", text=lambda row: str(row.classes), leaves=0),
    Column(name="channels", text=lambda row: str(row.channels), leaves=0),
    Column(name="threads", text=lambda row: str(row.threads), leaves=0),
    Column(name="params M", text=lambda row: _figure(row.parameters_m, ".2f"), leaves=7),
    Column(name="enc. M", text=lambda row: _figure(row.encoder_parameters_m, ".2f"), leaves=9),
    Column(name="dec. M", text=lambda row: _figure(row.decoder_parameters_m, ".2f"), leaves=8),
    Column(name="dec. %", text=lambda row: _percent(row.decoder_share), leaves=10),
    Column(name="GFLOP", text=lambda row: _figure(row.gflop, ".1f"), leaves=8),
    Column(name="median ms", text=lambda row: milliseconds(row.median_ms), leaves=-1),
    Column(name="25–75 % ms", text=_spread, leaves=5),
    Column(name="99 % ms", text=_interval, leaves=5),
    Column(name="end-to-end ms", text=lambda row: milliseconds(row.end_to_end_ms), leaves=10),
    Column(name="images/s", text=lambda row: _figure(row.images_per_s, ".1f"), leaves=4),
    Column(name="peak MB", text=lambda row: _figure(row.peak_mb, ".0f"), leaves=6),
    Column(name="speed-up", text=lambda row: _figure(row.speedup, ".2f"), leaves=2),
    Column(name="speed-up interval", text=_speedup_interval, leaves=3),
    Column(name="verdict", text=lambda row: row.verdict, leaves=2, left=True),
    Column(name="winner", text=lambda row: row.winner, leaves=1, left=True),
    Column(name="img/s per M", text=lambda row: _figure(row.images_per_s_per_m, ".2f"), leaves=11),
    Column(name="error", text=lambda row: _figure(row.relative_error, ".0e"), leaves=3),
    Column(name="status", text=lambda row: row.status, leaves=1, left=True),
)


def shown_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the columns that say something: decoder, its share and size only where they differ between rows."""
    empty = {name for name in _OF_BLOCKS if not any(row.blocks for row in rows)}
    if not empty:
        empty = {_OF_ONE_PROCESS}
    if not any(row.speedup for row in rows):
        empty |= {*_OF_REFERENCE}
    if not several_recipes(rows):
        empty.add(_OF_SEVERAL)
    if len({row.decoder for row in rows}) < 2:
        empty |= {*_OF_DECODERS}
    empty.add("network" if all(row.decoder for row in rows) else "encoder")  # a whole network has none
    return tuple(
        column
        for column in COLUMNS
        if column.name not in empty
        and (column.name not in _SAID_ONCE or len({column.text(row) for row in rows}) > 1)
    )


def several_recipes(rows: Sequence[Row]) -> bool:
    """Return whether there are more than the reference and one other to compare, or winners alone."""
    return len({row.recipe for row in rows}) > 2 or (bool(rows) and all(row.winner for row in rows))


def overview(rows: Sequence[Row]) -> Sequence[Row]:
    """Return what a terminal shows of rows, fastest first: all, or the first of more than anybody reads there."""
    return rows if len(rows) <= _READ else rows[:_OF_MORE]


def terminal_table(rows: Sequence[Row], *, title: str, width: int, most: int | None = None) -> Table:
    """Return the rows, or the first `most`, as a table for a terminal of that many characters.

    Where it is narrow, recipes become letters with a legend below, encoders lose a pretrained tag that
    tells nothing apart, and then columns leave, the least important first.
    """
    columns = list(shown_columns(rows))
    legend = {}
    if _table_width(columns, rows) > width:
        legend = {recipe: letter for letter, recipe in zip(_LETTERS, _recipes(rows), strict=False)}
        short = shorter_encoders(rows)
        rows = [
            replace(row, recipe=legend.get(row.recipe, row.recipe), encoder=short[row.encoder])
            for row in rows
        ]
    left_out = []
    leaves = {column.name: column.leaves for column in columns}
    if all(row.status == "ok" for row in rows):
        leaves["status"] = _TELLS_NOTHING
    while len(columns) > 2 and _table_width(columns, rows) > width:
        leaving = max(columns, key=lambda column: leaves[column.name])
        columns.remove(leaving)
        left_out.append(leaving.name)
    if not left_out and _table_width([*columns, bar := _bars(rows)], rows) <= width:
        columns.insert([column.name for column in columns].index("median ms") + 1, bar)
    caption = [f"{letter}  {recipe}" for recipe, letter in legend.items()]
    if left_out:
        caption.append(f"not shown at this width: {', '.join(reversed(left_out))}")
    return _table(columns, rows[:most], title=title, caption="\n".join(caption))


def _bars(rows: Sequence[Row]) -> Column:
    """A chart within the table: each time as a bar, the slowest the longest."""
    slowest = max((row.median_ms for row in rows if row.median_ms), default=1.0)

    def bar(row: Row) -> str:
        eighths = round(8 * _BAR * (row.median_ms or 0.0) / slowest)
        rest = _EIGHTHS[eighths % 8 - 1] if eighths % 8 else ""
        return "█" * (eighths // 8) + rest

    return Column(name="of the slowest", text=bar, leaves=14, left=True)


def _table(columns: Sequence[Column], rows: Sequence[Row], *, title: str, caption: str) -> Table:
    table = Table(
        title=Text(title, style="table.title"),  # brackets are options of a decoder, no markup
        caption=Text(caption),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        # Only a status may be broken: of others rich takes characters that it then cannot give back.
        table.add_column(
            column.name.replace(" ", "\n"),
            justify="left" if column.left else "right",
            min_width=_width(column, rows),
            no_wrap=column.name != "status",
            overflow="fold",
        )
    for row in rows:
        style = "" if row.status == "ok" else "red"
        table.add_row(*(Text(column.text(row)) for column in columns), style=style)
    return table


def _recipes(rows: Sequence[Row]) -> list[str]:
    return sorted({row.recipe for row in rows}, key=lambda recipe: (recipe != str(REFERENCE), recipe))


def _table_width(columns: Sequence[Column], rows: Sequence[Row]) -> int:
    return sum(_width(column, rows) for column in columns) + 2 * len(columns) + 2


def _width(column: Column, rows: Sequence[Row]) -> int:
    """The widest figure, or word of the heading or status, which break between words."""
    texts = [column.text(row) for row in rows]
    words = [word for text in texts for word in text.split()] if column.name == "status" else texts
    longest = max(map(len, words), default=0)
    return max(longest, *map(len, column.name.split()))
