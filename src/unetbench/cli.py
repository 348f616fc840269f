"""The command line: parse, call one function, print, exit code. Nothing is computed here.

Exit codes: 0 all ran, 1 some rows or images failed (tune: all; compare: something is slower; advise: nothing fits; verify: not the same here), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import gc
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from unetbench import arguments as accepted
from unetbench.errors import BadInput, UnetbenchError, one_line
from unetbench.terminal import folded, hush, interrupted

if TYPE_CHECKING:
    from unetbench.measuring import session
    from unetbench.records import Result

_RESULTS = "results.sqlite"
_INTERRUPTED = 130
_FEW = 6  # lines of what rewrites did: many push the table away
_OBJECTS = 100_000  # made before garbage is looked for: reports are many objects and hardly a cycle, a tenth of their time


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    gc.set_threshold(_OBJECTS)
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the second: the terminal was closed
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as under nohup, which asks us to go on
            signal.signal(ending, _interrupt)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = accepted.parser().parse_args(given)
        return _COMMANDS[options.command](options, given)
    except UnetbenchError as error:
        print(f"unetbench: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever was given
        return error.exit_code
    except KeyboardInterrupt:
        hush(sys.stdout)
        with suppress(OSError):  # that reader may have left, too
            print(interrupted(given), file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        hush(sys.stdout)
        return 0
    except OSError as error:  # a path that the system cannot even look at
        what = f"{error.filename!r} cannot be used" if error.filename else "this machine cannot go on"
        print(f"unetbench: {what} ({error.strerror or one_line(error)}): give another.", file=sys.stderr)
        return BadInput.exit_code


def _run(options: Namespace, given: list[str]) -> int:
    from unetbench import photos
    from unetbench.measuring import preset as presets
    from unetbench.measuring import session
    from unetbench.measuring.schedule import expected_s
    from unetbench.reporting import live

    suite, cases = _cases(options)
    preset = presets.preset(options.preset or ("standard" if options.budget else "quick"))
    budget_s = None if options.budget is None else presets.budget_s(options.budget)
    if budget_s and not preset.looks:
        raise BadInput("--budget goes with --preset standard or rigorous: quick measures each case once.")
    images = photos.folder_photos(options.images)
    if options.dry_run:
        for case in cases:
            print(f"{case.name} {case.height_px}x{case.width_px}")
        alone_s = sum(map(expected_s, cases))
        alone = f"{len(cases)} cases, about {live.duration(alone_s)} on two cores"
        return _said([f"{alone}{preset.then(len(cases), budget_s, alone_s)}"])
    plan = session.Plan(
        cases=cases,
        store=_store(options),
        preset=preset,
        command=given,
        images=images,
        fresh=options.fresh,
        force=options.force,
        limit_s=options.timeout,
        budget_s=budget_s,
        breakdown=options.breakdown,
    )
    results = _measured(plan, options, suite.title)
    _show(options)
    return 1 if any(result.failed for result in results) else 0


def _tune(options: Namespace, given: list[str]) -> int:
    from unetbench import candidates, machine, photos, suite
    from unetbench.measuring import preset as presets
    from unetbench.measuring import session
    from unetbench.reporting import report as reports
    from unetbench.reporting import tuned
    from unetbench.store import reading

    recipes = tuple(map(str, candidates.recipes(options.runtime, options.precision)))
    networks = tuple(map(suite.network_text, options.networks))
    asked = suite.Suite(
        networks=networks,
        recipes=recipes,
        sizes=(options.size,),
        classes=options.classes,
        in_channels=options.channels,
        weights=options.weights,
    )
    cases = asked.cases(machine.threads_or_granted(options.threads))
    if options.dry_run:
        return _said(recipes)
    options.store.parent.mkdir(parents=True, exist_ok=True)
    plan = session.Plan(
        cases=cases,
        store=options.store,
        preset=presets.TUNE,
        command=given,
        images=photos.folder_photos(options.images),
        fresh=options.fresh,
        budget_s=None if options.budget is None else presets.budget_s(options.budget),
        halving=True,
        breakdown=options.breakdown,
    )
    results = _measured(plan, options, f"{len(recipes)} recipes")
    _show(options)
    with reading(options.store) as store:
        _said(tuned.lines(reports.report(store), {result.key for result in results}))
    return 0 if any(not result.failed for result in results) else 1


def _measured(plan: session.Plan, options: Namespace, title: str) -> tuple[Result, ...]:
    """Measure; whoever ends it early has its table all the same, since what is stored is true at any moment."""
    from rich.console import Console

    from unetbench.measuring import session
    from unetbench.reporting import live

    try:
        results = session.run(plan, partial(live.observer, console=Console(), write=_line, title=title))
    except KeyboardInterrupt:
        with suppress(UnetbenchError, OSError):  # nothing is stored yet, or nobody reads any more
            _show(options, write=False)
        raise
    if not results:
        raise BadInput(f"--budget {options.budget} ended before a case could be measured: give more time.")
    return results


def _report(options: Namespace, given: list[str]) -> int:
    other = next((form for form in ("html", "parquet", "case") if getattr(options, form)), None)
    if options.out is not None and other:
        raise BadInput(f"--out DIR is for CSV, Markdown and charts: leave it out where --{other} is given.")
    if options.store and options.suite.is_file() and options.suite.suffix != ".toml":
        options.store.insert(0, options.suite)  # a store itself, named like a suite
    if options.html is None and len(options.store or ()) > 1:
        raise BadInput("several stores go on one page: add --html FILE, or bring them together by `merge`.")
    if options.html is None:
        _show(options)
        return 0
    from unetbench.reporting import page

    count = page.write(map(Path, options.store or [_store(options)]), options.html, session=options.session)
    print(f"wrote {options.html}: {count} results")
    return 0


def _show(options: Namespace, *, write: bool = True) -> None:
    from rich.console import Console

    from unetbench.reporting import report as reports
    from unetbench.reporting.row import rewrite_lines
    from unetbench.reporting.rows import winners
    from unetbench.reporting.table import overview, terminal_table
    from unetbench.store import reading

    path = _store(options)
    with reading(path) as store:
        report = reports.report(store, session=getattr(options, "session", None))
        if getattr(options, "case", None):
            for heading, text in reports.certificate(store, report, options.case):
                print(folded(f"{heading:12} {text}".rstrip(), sys.stdout, hang=0 if not heading else 13))
            return
    if getattr(options, "parquet", None):
        reports.write_parquet(report, options.parquet)
        print(f"wrote {options.parquet}")
        return
    if not (write or report.shown):
        return  # interrupted before the first row
    console = Console()
    rows = winners(report.rows) if getattr(options, "fastest", False) else report.shown
    shown = overview(rows)
    console.print(terminal_table(shown, title=report.title, width=console.width))
    if hidden := len(rows) - len(shown):
        console.print(f"… and {hidden} slower rows: --out DIR writes all of them to results.csv")
    for note in (report.conditions(), *report.notes(), *rewrite_lines(report.shown, most=_FEW)):
        console.print(note, style="dim", highlight=False, markup=False)
    if write and (options.out is not None or options.command == "run"):
        # Those of other stores in a folder would overwrite each other.
        own = path.parent if path.name == _RESULTS else path.with_name(f"{path.stem}.files")
        written = reports.write_files(report, options.out or own)
        console.print(f"wrote {', '.join(map(str, written))}", highlight=False, markup=False, soft_wrap=True)


def _advise(options: Namespace, given: list[str]) -> int:
    from unetbench import advising

    return advising.advise(options, given, _line)


def _compare(options: Namespace, given: list[str]) -> int:
    from unetbench.reporting import comparison

    told, conditions = comparison.compared(options.first, options.second, _store(options))
    _said([*comparison.lines(told), *conditions])
    if options.fail_if_slower is None:
        return 0
    worse = comparison.worse(told, options.fail_if_slower)
    _said([*worse, *comparison.undecided(told, options.fail_if_slower)])
    return 1 if worse else 0


def _recover(options: Namespace, given: list[str]) -> int:
    from unetbench.recovery import recover

    return _said(recover(options.damaged, options.new).lines(options.new))


def _merge(options: Namespace, given: list[str]) -> int:
    from unetbench.recovery import merge

    count = merge(options.stores, options.out)
    print(f"wrote {count} sessions to {options.out}: `unetbench report --store {options.out} --session N`")
    return 0


def _list(options: Namespace, given: list[str]) -> int:
    from unetbench import listing

    wanted = {"most_parameters": options.max_params, "levels": options.pyramid, "failing": options.all}
    return _said(listing.lines(options.what, options.pattern, **wanted))


def _doctor(options: Namespace, given: list[str]) -> int:
    from unetbench.doctor import findings

    return _said(findings())


def _deploy(options: Namespace, given: list[str]) -> int:
    from unetbench.deploy import commands

    return commands.COMMANDS[options.command](options, _line, partial(_line, file=sys.stderr))


def _cases(options: Namespace):  # type: ignore[no-untyped-def]
    from unetbench import machine, suite

    chosen = suite.overridden(
        suite.read_suite(options.suite),
        {
            "encoders": tuple(options.encoder),
            "decoders": tuple(options.decoder),
            "networks": tuple(options.network),
            "recipes": tuple(options.recipe),
            "sizes": tuple(options.size),
            "batch": options.batch,
            "classes": options.classes,
            "in_channels": options.channels,
        },
    )
    return chosen, chosen.cases(machine.threads_or_granted(options.threads))


def _store(options: Namespace) -> Path:
    if options.store:
        return Path(options.store[0] if isinstance(options.store, list) else options.store)
    suite: Path = options.suite
    if suite.is_file() and suite.suffix != ".toml":
        return suite  # a store itself
    if not suite.exists():
        raise BadInput(
            f"{str(suite)!r} is no suite and no store: give a folder that was run, such as benchmarks/unet_decoder, "
            "or a file of results."
        )
    return (suite if suite.is_dir() else suite.parent) / "results" / _RESULTS


def _said(lines: Iterable[str]) -> int:
    for line in lines:
        _line(line)
    return 0


def _line(text: str, file: TextIO | None = None) -> None:
    print(folded(text, file or sys.stdout), file=file, flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


_COMMANDS: dict[str, Callable[[Namespace, list[str]], int]] = {
    "run": _run,
    "tune": _tune,
    "report": _report,
    "advise": _advise,
    "compare": _compare,
    "recover": _recover,
    "merge": _merge,
    "export": _deploy,
    "verify": _deploy,
    "predict": _deploy,
    "list": _list,
    "doctor": _doctor,
}
