"""What the command line accepts: every command with its options, and values checked as they are read."""

from __future__ import annotations

import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import NoReturn

from unetbench import __version__
from unetbench.errors import BadInput

_DESCRIPTION = """Measure segmentation networks on this machine, truthfully.

  unetbench run benchmarks/unet_decoder      measure a suite, show the table, write the files
  unetbench report benchmarks/unet_decoder   show what was measured
  unetbench tune resnet18                    find a network's fastest recipe
  unetbench doctor                           what this machine will allow
  unetbench list encoders 'mobilenet*'       what can be named
"""


class _Parser(ArgumentParser):
    """One line for what was wrong, with the next step."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}: `{self.prog} --help` shows what is accepted.")


def parser() -> ArgumentParser:
    """Return the parser of every command; `.command` is the name of the one that was given."""
    whole = _Parser(prog="unetbench", description=_DESCRIPTION, formatter_class=RawDescriptionHelpFormatter)
    whole.add_argument("--version", action="version", version=f"unetbench {__version__}")
    commands = whole.add_subparsers(required=True, dest="command", metavar="COMMAND", parser_class=_Parser)

    run = commands.add_parser("run", help="measure a suite, show the table, write the files")
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

    tune = commands.add_parser("tune", help="find the fastest recipe of a network, exact or not")
    tune.set_defaults(out=None)
    tune.add_argument("networks", nargs="+", metavar="NETWORK", help="an encoder, or encoder/decoder")
    tune.add_argument("--size", default="512x512", help="N or HxW, in pixels (default 512x512)")
    tune.add_argument("--classes", type=_positive, default=1, help="classes of the head (default 1)")
    tune.add_argument("--weights", default="random", help="random, pretrained, or a checkpoint")
    tune.add_argument("--threads", type=_positive, help="default: the cores that the machine grants")
    for name, what in (
        ("runtime", "search this runtime alone"),
        ("precision", "search this precision alone"),
    ):
        tune.add_argument(
            f"--{name}", action="append", default=[], metavar=name.upper(), help=f"{what}; repeatable"
        )
    tune.add_argument("--budget", metavar="TIME", help="end after this time, as 20m, with what is known then")
    tune.add_argument("--images", type=Path, metavar="DIR", help="your own photographs as input")
    tune.add_argument("--fresh", action="store_true", help="start anew; earlier results stay in the store")
    tune.add_argument("--dry-run", action="store_true", help="list the recipes to try")
    tune.add_argument(
        "--store", type=Path, default=Path("tuned.sqlite"), metavar="FILE", help="default: ./tuned.sqlite"
    )

    report = commands.add_parser("report", help="show what was measured")
    report.add_argument("suite", type=Path, nargs="?", default=Path(), help="the suite that was run")
    report.add_argument("--session", type=int, metavar="N", help="an earlier session (default: the latest)")
    report.add_argument("--fastest", action="store_true", help="one row a network: its fastest recipe")
    report.add_argument("--case", metavar="NAME", help="everything about one case: its proof and its costs")

    compare = commands.add_parser("compare", help="two stores, or two recipes within one: verdicts")
    compare.add_argument("first", help="a store, FILE or FILE@SESSION, or a recipe")
    compare.add_argument("second", help="the same: it is told whether this one is slower")
    compare.add_argument(
        "suite", type=Path, nargs="?", default=Path(), help="of two recipes: the suite that was run"
    )
    compare.add_argument("--fail-if-slower", type=_share, metavar="3%", help="exit 1 where that is certain")

    recover = commands.add_parser("recover", help="save what is whole in a damaged store")
    recover.add_argument("damaged", type=Path, help="the damaged store: it is only read")
    recover.add_argument("new", type=Path, help="a new file")

    merge = commands.add_parser("merge", help="bring stores together; machines stay apart")
    merge.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    merge.add_argument("-o", "--out", type=Path, required=True, metavar="NEW", help="a new file")

    for command in (run, report, compare):
        command.add_argument("--store", metavar="FILE", help="default: results/results.sqlite in the suite")
    for command in (run, report):
        command.add_argument("--out", type=Path, metavar="DIR", help="where CSV, Markdown and chart go")

    listing = commands.add_parser("list", help="show encoders, decoders, rewrites, runtimes")
    listing.add_argument(
        "what", nargs="?", help="encoders, decoders, rewrites or runtimes (default: all parts)"
    )
    listing.add_argument("pattern", nargs="?", default="*", help="such as 'mobilenet*'")
    listing.add_argument("--max-params", type=_count, metavar="10M", help="encoders with no more parameters")
    listing.add_argument(
        "--pyramid", metavar="LEVELS", help="encoders with these strides: 2,4,8,16,32 or 4…32, or flat"
    )
    listing.add_argument(
        "--all", action="store_true", help="encoders that do not work too, each with the reason"
    )

    commands.add_parser("doctor", help="what this machine will allow")
    return whole


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0.0 < share < 10.0:
        raise BadInput(f"{text!r} is no share: give it as 3%.")
    return share


def _count(text: str) -> int:
    units = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
    number, unit = re.fullmatch(r"([\d.]{0,12})(.*)", text.strip().lower()).groups()  # type: ignore[union-attr]
    try:
        count = int(float(number) * units[unit])
    except (ValueError, KeyError):
        count = 0
    if count < 1:
        raise BadInput(f"{text!r} is no number of parameters: give it as 10M, 500k or 25000000.")
    return count


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{text!r} is no positive whole number: give 1 or more.")
    return int(text)
