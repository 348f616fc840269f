"""The verb `advise`: its options to calls, lines and an exit code. It prints nothing itself."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unetbench.errors import BadInput

if TYPE_CHECKING:
    from unetbench.quality import Source

Write = Callable[[str], None]


def advise(options: Namespace, given: Sequence[str], write: Write) -> int:
    """Measure what a budget allows, then say what the results recommend; 1 where nothing meets the limits."""
    from unetbench import machine, quality
    from unetbench.reporting import advice

    if options.budget is None and (options.threads or options.images):
        raise BadInput(
            "--threads and --images are for what is measured: they go with --budget, such as --budget 15m."
        )
    known = quality.published if options.quality is None else quality.from_csv(options.quality)
    asked = advice.asked(
        options.size, options.classes, options.percentile, options.threads, channels=options.channels
    )
    limits = (options.max_latency, options.max_memory, options.max_size, options.exact_only, options.encoder)
    stores = options.store or [Path("advised.sqlite")]
    if options.budget is not None:
        _search(options, given, stores, known, write)
    found = advice.measured(stores, asked, known, machine.machine())
    told = advice.advised(found.candidates, limits, own_quality=options.quality is not None)
    for line in advice.lines(told, asked, found):
        write(line)
    return 0 if told.ranked else 1


def _search(
    options: Namespace, given: Sequence[str], stores: Sequence[Path], known: Source, write: Write
) -> None:
    from rich.console import Console

    from unetbench import candidates, machine, photos, suite
    from unetbench.measuring import preset as presets
    from unetbench.measuring import search, session
    from unetbench.reporting import live

    wish = search.Search(
        encoders=candidates.encoders(options.encoder, lambda name: known(f"{name}/unet") is not None),
        recipes=candidates.recipes(),
        axes=suite.Suite(sizes=(options.size,), classes=options.classes, in_channels=options.channels),
        threads=machine.threads_or_granted(options.threads),
        quality=known,
        max_latency_ms=options.max_latency,
        max_memory_mb=options.max_memory,
        max_size_mb=options.max_size,
        exact_only=options.exact_only,
    )
    images = photos.folder_photos(options.images)
    store = stores[-1]
    plan = session.Plan(cases=(), store=store, preset=search.ALONE, command=given, images=images)
    observer = partial(live.observer, console=Console(), write=write, title="Searching")
    store.parent.mkdir(parents=True, exist_ok=True)
    there = search.known_results(stores, machine.machine(), photos.digest(images or photos.default_photos()))
    search.search(wish, plan, observer, presets.budget_s(options.budget), there)
