"""The command line: parse, call one function, print, exit code. Nothing is computed here.

Exit codes: 0 all ran, 1 some rows failed (compare: something is slower), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from unetbench import __version__
from unetbench.errors import BadInput, UnetbenchError

_INTERRUPTED = 130
_ROWS = 200  # of a table in a terminal: nobody reads more there, and drawing thousands takes seconds
_DESCRIPTION = """Measure segmentation networks on this machine, truthfully.

  unetbench run benchmarks/unet_decoder      measure a suite, show the table, write the files
  unetbench report benchmarks/unet_decoder   show what was measured
  unetbench doctor                           what this machine will allow
  unetbench list encoders 'mobilenet*'       what can be named
"""


class _Parser(ArgumentParser):
    """One line for what was wrong, with the next step."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}: `{self.prog} --help` shows what is accepted.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the second: the terminal was closed
        signal.signal(ending, _interrupt)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(given)
        command: Callable[[Namespace, list[str]], int] = options.command
        return command(options, given)
    except UnetbenchError as error:
        print(f"unetbench: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever was given
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: what was shown is stored; the same command goes on from there", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left, as `head` does
        return 0
    except OSError as error:  # a path that the system cannot even look at
        print(
            f"unetbench: {error.filename!r} cannot be used ({error.strerror}): give another.", file=sys.stderr
        )
        return BadInput.exit_code


def _run(options: Namespace, given: list[str]) -> int:
    from rich.console import Console

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
    images = photos.folder_photos(options.images) if options.images else ()
    if options.dry_run:
        for case in cases:
            print(f"{case.name} {case.height_px}x{case.width_px}")
        print(f"{len(cases)} cases, about {live.duration(sum(map(expected_s, cases)))} on two cores")
        return 0
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
    )
    results = session.run(plan, partial(live.observer, console=Console(), write=_line, title=suite.title))
    if not results:
        raise BadInput(f"--budget {options.budget} ended before a case could be measured: give more time.")
    _show(options)
    return 1 if any(result.failed for result in results) else 0


def _report(options: Namespace, given: list[str]) -> int:
    _show(options)
    return 0


def _show(options: Namespace) -> None:
    from rich.console import Console

    from unetbench.reporting import report as reports
    from unetbench.reporting.rows import fastest_per_network
    from unetbench.reporting.table import terminal_table
    from unetbench.store import reading

    path = _store(options)
    with reading(path) as store:
        report = reports.report(store, session=getattr(options, "session", None))
        if getattr(options, "case", None):
            for heading, text in reports.certificate(store, report, options.case):
                print(f"{heading:12} {text}".rstrip())
            return
    console = Console()
    rows = fastest_per_network(report.rows) if getattr(options, "fastest", False) else report.shown
    console.print(terminal_table(rows[:_ROWS], title=report.title, width=console.width))
    if len(rows) > _ROWS:
        console.print(f"… and {len(rows) - _ROWS} slower rows: --out DIR writes all of them to results.csv")
    for note in (report.conditions(), *report.notes()):
        console.print(note, style="dim", highlight=False, markup=False)
    if options.out is not None or options.command is _run:
        written = reports.write_files(report, options.out or path.parent)
        console.print(f"wrote {', '.join(map(str, written))}", highlight=False, markup=False, soft_wrap=True)


def _compare(options: Namespace, given: list[str]) -> int:
    from unetbench.reporting import comparison

    told = list(comparison.compared(options.first, options.second, _store(options)))
    for line in comparison.lines(told):
        print(line)
    if options.fail_if_slower is None:
        return 0
    slower = comparison.slower_than(told, options.fail_if_slower)
    for each in slower:
        print(f"slower by {options.fail_if_slower:.1%} or more: {each.name}")
    return 1 if slower else 0


def _recover(options: Namespace, given: list[str]) -> int:
    from unetbench.recovery import recover

    saved = recover(options.damaged, options.new)
    print(f"saved {saved.count} results to {options.new}; {saved.damaged} rows were damaged and left out")
    if saved.orphaned:
        print(f"{saved.orphaned} whole results are left out: their session or their case is lost")
    if saved.unsealed:
        print(
            f"{saved.unsealed} rows are of an older program without seals: they read well, no more is known"
        )
    return 0


def _merge(options: Namespace, given: list[str]) -> int:
    from unetbench.recovery import merge

    count = merge(options.stores, options.out)
    print(f"wrote {count} sessions to {options.out}: `unetbench report --store {options.out} --session N`")
    return 0


def _list(options: Namespace, given: list[str]) -> int:
    from unetbench import listing

    for line in listing.lines(options.what, options.pattern):
        print(line)
    return 0


def _doctor(options: Namespace, given: list[str]) -> int:
    from unetbench.doctor import findings

    for line in findings():
        print(line)
    return 0


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
        },
    )
    return chosen, chosen.cases(machine.threads_or_granted(options.threads))


def _store(options: Namespace) -> Path:
    if options.store is not None:
        return Path(options.store)
    suite: Path = options.suite
    return (suite if suite.is_dir() else suite.parent) / "results" / "results.sqlite"


def _line(text: str) -> None:
    print(text, flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> ArgumentParser:
    parser = _Parser(prog="unetbench", description=_DESCRIPTION, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"unetbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    run = commands.add_parser("run", help="measure a suite, show the table, write the files")
    run.set_defaults(command=_run)
    run.add_argument("suite", type=Path, help="a folder with a suite.toml, or such a file")
    for axis, what in (
        ("encoder", "a timm model"),
        ("decoder", "a decoder"),
        ("network", "a whole network, as encoder/decoder"),
        ("recipe", "runtime/precision+rewrite"),
        ("size", "N or HxW, in pixels"),
    ):
        run.add_argument(
            f"--{axis}", action="append", default=[], metavar=axis.upper(),
            help=f"{what}; repeatable, replaces the suite's",
        )  # fmt: skip
    run.add_argument("--batch", type=_positive, help="images a run")
    run.add_argument("--classes", type=_positive, help="classes of the head")
    run.add_argument("--threads", type=_positive, help="default: the cores that the machine grants")
    run.add_argument("--preset", metavar="NAME", help="quick (default), standard (verdicts), rigorous")
    run.add_argument(
        "--budget", metavar="TIME", help="standard within a time, as 20m: most where it tells most"
    )
    run.add_argument("--images", type=Path, metavar="DIR", help="your own photographs as input")
    run.add_argument("--timeout", type=_positive, metavar="S", help="seconds a case may take (default 900)")
    run.add_argument("--fresh", action="store_true", help="start anew; earlier results stay in the store")
    run.add_argument("--force", action="store_true", help="measure bf16 even where it is emulated")
    run.add_argument("--dry-run", action="store_true", help="list the cases and estimate the time")

    report = commands.add_parser("report", help="show what was measured")
    report.set_defaults(command=_report)
    report.add_argument("suite", type=Path, nargs="?", default=Path(), help="the suite that was run")
    report.add_argument("--session", type=int, metavar="N", help="an earlier session (default: the latest)")
    report.add_argument("--fastest", action="store_true", help="one row a network: its fastest recipe")
    report.add_argument("--case", metavar="NAME", help="everything about one case: its proof and its costs")

    compare = commands.add_parser("compare", help="two stores, or two recipes within one: verdicts")
    compare.set_defaults(command=_compare)
    compare.add_argument("first", help="a store, FILE or FILE@SESSION, or a recipe")
    compare.add_argument("second", help="the same: it is told whether this one is slower")
    compare.add_argument(
        "suite", type=Path, nargs="?", default=Path(), help="of two recipes: the suite that was run"
    )
    compare.add_argument("--fail-if-slower", type=_share, metavar="3%", help="exit 1 where that is certain")

    recover = commands.add_parser("recover", help="save what is whole in a damaged store")
    recover.set_defaults(command=_recover)
    recover.add_argument("damaged", type=Path, help="the damaged store: it is only read")
    recover.add_argument("new", type=Path, help="a new file")

    merge = commands.add_parser("merge", help="bring stores together; machines stay apart")
    merge.set_defaults(command=_merge)
    merge.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    merge.add_argument("-o", "--out", type=Path, required=True, metavar="NEW", help="a new file")

    for command in (run, report, compare):
        command.add_argument("--store", metavar="FILE", help="default: results/results.sqlite in the suite")
    for command in (run, report):
        command.add_argument("--out", type=Path, metavar="DIR", help="where CSV, Markdown and chart go")

    listing = commands.add_parser("list", help="show encoders, decoders, rewrites, runtimes")
    listing.set_defaults(command=_list)
    listing.add_argument(
        "what", nargs="?", help="encoders, decoders, rewrites or runtimes (default: all parts)"
    )
    listing.add_argument("pattern", nargs="?", default="*", help="such as 'mobilenet*'")

    doctor = commands.add_parser("doctor", help="what this machine will allow")
    doctor.set_defaults(command=_doctor)
    return parser


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0.0 < share < 10.0:
        raise BadInput(f"{text!r} is no share: give it as 3%.")
    return share


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{text!r} is no positive whole number: give 1 or more.")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
