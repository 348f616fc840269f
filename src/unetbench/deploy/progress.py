"""What is seen while images are segmented: a bar in a terminal, a line for each image elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unetbench.amounts import counted
from unetbench.deploy.costs import Costs
from unetbench.deploy.predict import Summary

_PER_SECOND = 4  # redraws: the network needs the cores


class Lines:
    """A line for each image, for logs and pipes."""

    def __init__(self, write: Callable[[str], None], complain: Callable[[str], None]) -> None:
        self._write, self._complain = write, complain
        self._at = ""

    def started(self, image: Path, number: int, count: int) -> None:
        self._at = f"[{number}/{count}] "

    def tiles(self, count: int) -> None:
        pass

    def tile(self) -> None:
        pass

    def finished(self, image: Path, mask: Path, costs: Costs) -> None:
        seconds = sum(costs.spent_ns.values()) / 1e9
        self._write(f"{self._at}{image}: {mask} ({costs.pixels / 1e6:.1f} MP in {seconds:.1f} s)")

    def skipped(self, image: Path, mask: Path) -> None:
        self._write(f"{image}: {mask} is there already")

    def failed(self, image: Path, reason: str) -> None:
        told = reason if str(image) in reason else f"image {str(image)!r}: {reason}"
        self._complain(f"{self._at}{' '.join(told.split())}")

    def close(self) -> None:
        pass


class Bar(Lines):
    """A bar of the tiles of the image in hand below those lines."""

    def __init__(self, console: Console, complain: Callable[[str], None]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tiles"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=_PER_SECOND,
        )
        super().__init__(self._above, complain)
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def started(self, image: Path, number: int, count: int) -> None:
        super().started(image, number, count)
        self._progress.reset(self._task, total=None, description=f"{self._at}{image.name}")

    def tiles(self, count: int) -> None:
        self._progress.update(self._task, total=count)

    def tile(self) -> None:
        self._progress.advance(self._task)

    def failed(self, image: Path, reason: str) -> None:
        self._progress.stop()  # the complaint may go to the same terminal, past the bar
        super().failed(image, reason)
        self._progress.start()

    def close(self) -> None:
        self._progress.stop()

    def _above(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def lines(summary: Summary) -> Iterator[str]:
    """Say what became of the images and what a whole image costs, with the conditions."""
    counts = {"done": summary.done, "there already": summary.skipped, "failed": summary.failed}
    yield "images: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if not summary.done:
        return
    costs = summary.costs.ms_per_megapixel()
    yield f"cost of the whole image, ms per megapixel, over {summary.costs.pixels / 1e6:.1f} MP, {counted(summary.threads, 'thread')}:"
    yield "  " + ", ".join(f"{part} {ms:.2f}" for part, ms in costs.items())
    yield (
        f"peak memory: {summary.peak_bytes / 1e6:.0f} MB, of which {summary.loaded_bytes / 1e6:.0f} MB "
        "before the first image"
    )


def observer(console: Console, write: Callable[[str], None], complain: Callable[[str], None]) -> Lines:
    """Return what fits the output."""
    return Bar(console, complain) if console.is_terminal else Lines(write, complain)
