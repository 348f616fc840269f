"""Show a sweep while it runs: a live view in a terminal, plain lines elsewhere. Measures nothing.

It draws when something happens and once a second in long phases, never while a case is timed: on two
cores a display that redraws takes time from what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unetbench.records import ROUNDS, Case, Result
from unetbench.reporting.row import Row
from unetbench.reporting.rows import rows
from unetbench.reporting.table import milliseconds, terminal_table

_TITLE = "Fastest so far (no verdicts while it runs)"


def duration(seconds: float) -> str:
    """Write a time as people say it: 45 s, 12 min, 1 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _size_names(cases: Sequence[Case]) -> dict[Case, str]:
    """What a case's name lacks where a sweep has several sizes: the same network under the same recipe comes twice."""
    sizes = {case: f" at {case.height_px}x{case.width_px}" for case in cases}
    return sizes if len(set(sizes.values())) > 1 else dict.fromkeys(cases, "")


class PlainLines:
    """A line for each result, for logs and pipes."""

    def __init__(
        self, cases: Sequence[Case], known: Sequence[Result], write: Callable[[str], None], note: str
    ) -> None:
        self._total = len(cases)
        self._at = _size_names(cases)
        self._out = write
        self._told: set[tuple[str, str]] = set()  # of blocks: what stays so is told once
        if note:
            self._write(note)
        if known:
            self._write(f"{len(known)} of {self._total} cases have a result already: going on from there")

    def _write(self, text: str) -> None:
        """Write a line; who has nobody left to read it is interrupted, as by Ctrl-C."""
        try:
            self._out(text)
        except BrokenPipeError:
            raise KeyboardInterrupt from None

    def started(self, case: Case, left_s: float) -> None:
        pass

    def phase(self, name: str) -> None:
        pass

    def tick(self) -> None:
        pass

    def finished(self, result: Result, done: int, left_s: float) -> None:
        (row,) = rows([result])
        what = f"{milliseconds(row.median_ms)} ms" if row.status == "ok" else f"{row.status} ({row.reason})"
        left = f" (about {duration(left_s)} left)" if left_s else ""
        self._write(f"[{done}/{self._total}] {result.case.name}{self._at.get(result.case, '')}: {what}{left}")

    def block(self, results: Sequence[Result], number: int, left_s: float) -> None:
        case = results[0].case  # all are of one network at one size
        network = f"{case.network.name}{self._at.get(case, '')}"
        amiss = {
            (row.case, f"{row.recipe}: {row.status} ({row.reason})")
            for row in rows(results)
            if row.status != "ok"
        }
        new = "; ".join(what for _, what in sorted(amiss - self._told))
        self._told |= amiss
        self._write(
            f"block {number % ROUNDS} of {network}: {new or 'done'} (at most {duration(left_s)} left)"
        )

    def after(self, what: str, left_s: float) -> None:
        self._write(f"{what} (about {duration(left_s)} left)" if left_s else what)

    def close(self) -> None:
        pass


class LiveView:
    """Overall progress with an ETA, the case in hand and its phase, the table so far."""

    def __init__(self, cases: Sequence[Case], known: Sequence[Result], console: Console, note: str) -> None:
        self._console = console
        self._total = len(cases)
        self._at = _size_names(cases)
        self._results = {result.case: result for result in known}
        self._blocks = 0
        self._note = note
        self._now = ""
        self._phase = "starting"
        self._left_s = 0.0
        self._since = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def started(self, case: Case, left_s: float) -> None:
        self._now, self._left_s, self._since = (
            f"{case.name}{self._at.get(case, '')}",
            left_s,
            time.monotonic(),
        )
        self.phase("starting")

    def phase(self, name: str) -> None:
        self._phase = name
        self.tick()

    def tick(self) -> None:
        self._live.update(self._drawn(), refresh=True)

    def finished(self, result: Result, done: int, left_s: float) -> None:
        self._results[result.case] = result
        self.tick()

    def block(self, results: Sequence[Result], number: int, left_s: float) -> None:
        self._blocks += 1
        self._results |= {result.case: result for result in results}
        self.tick()

    def after(self, what: str, left_s: float) -> None:
        if not left_s:  # nothing is in hand: what is told stays when the view goes
            self._live.console.print(what, markup=False, highlight=False)
            return
        self._now, self._left_s, self._since = what, left_s, time.monotonic()
        self.phase("starting")

    def close(self) -> None:
        self._live.stop()

    def _drawn(self) -> Group:
        table = [row for row in rows(self._results.values()) if row.status != "not run"]
        # The headings depend on which columns fit, so they are counted, not assumed; the last line of
        # a terminal stays free.
        around = len(self._console.render_lines(self._view(table, 0))) + 1
        return self._view(table, max(0, self._console.height - around))

    def _view(self, table: Sequence[Row], room: int) -> Group:
        parts: list[Text | Table] = [Text(self._note, style="dim")] if self._note else []
        if table:
            parts.append(terminal_table(table, title=_TITLE, width=self._console.width, most=room))
        if len(table) > room:
            parts.append(Text(f"… and {len(table) - room} slower rows", style="dim"))
        now = Text(f"{self._phase}: {self._now}", no_wrap=True, overflow="ellipsis")
        return Group(*parts, self._progress(), now)

    def _progress(self) -> Table:
        left_s = max(0.0, self._left_s - (time.monotonic() - self._since))
        done = len(self._results)
        blocks = f", {self._blocks} blocks" if self._blocks else ""
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(total=self._total, completed=done, width=30),
            Text(f"{done} of {self._total} cases{blocks}, about {duration(left_s)} left"),
        )
        return line


def observer(
    cases: Sequence[Case],
    known: Sequence[Result],
    finding: object | None,
    *,
    console: Console,
    write: Callable[[str], None],
    title: str,
) -> LiveView | PlainLines:
    """Return the view that fits the output: live in a terminal, plain lines elsewhere.

    The suite's title stands above it, with what was found out about the machine, where there is such.
    """
    note = f"{title} · {finding}" if finding else title
    if console.is_terminal:
        return LiveView(cases, known, console, note)
    return PlainLines(cases, known, write, note)
