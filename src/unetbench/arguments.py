"""What the command line accepts: every command with its options, and values checked as they are read."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from unetbench import __version__
from unetbench.errors import BadInput

_DESCRIPTION = """Measure segmentation networks on this machine, truthfully.

  unetbench run benchmarks/unet_decoder      measure a suite, show the table, write the files
  unetbench report benchmarks/unet_decoder   show what was measured
  unetbench tune resnet18                    find a network's fastest recipe
  unetbench advise --max-latency 60ms        choose a network and its recipe under constraints
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
        ("network", "encoder/decoder, or a whole network as unet_2015 or smp.unet[resnet18]"),
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
    tune.add_argument(
        "networks", nargs="+", metavar="NETWORK", help="an encoder, encoder/decoder, or a reference"
    )
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
    report.add_argument("--html", type=Path, metavar="FILE", help="one page to look at, of all stores named")
    report.add_argument("--parquet", type=Path, metavar="FILE", help="the rows as Parquet, conditions within")
    report.add_argument(
        "--store", action="append", metavar="FILE",
        help="default: results/results.sqlite in the suite; several with --html",
    )  # fmt: skip

    _advise(commands.add_parser("advise", help="constraints in, a ranked choice out"))

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

    for command in (run, tune):
        command.add_argument(
            "--breakdown", action="store_true", help="then show where the fastest recipes' time goes, and the machine's limits",
        )  # fmt: skip
    for command in (run, compare):
        command.add_argument("--store", metavar="FILE", help="default: results/results.sqlite in the suite")
    for command in (run, report):
        command.add_argument("--out", type=Path, metavar="DIR", help="where CSV, Markdown and chart go")

    listing = commands.add_parser("list", help="show encoders, decoders, references, rewrites, runtimes")
    listing.add_argument(
        "what", nargs="?", help="encoders, decoders, references, rewrites or runtimes (default: all)"
    )
    listing.add_argument("pattern", nargs="?", default="*", help="such as 'mobilenet*'")

    commands.add_parser("doctor", help="what this machine will allow")
    return whole


def _advise(advise: ArgumentParser) -> None:
    advise.add_argument("--size", default="512x512", help="N or HxW, in pixels (default 512x512)")
    advise.add_argument("--classes", type=_positive, default=1, help="classes of the head (default 1)")
    advise.add_argument("--max-latency", type=_milliseconds, metavar="TIME", help="of a run, as 60ms or 0.1s")
    advise.add_argument(
        "--percentile", type=_percentile, default=50.0, metavar="N", help="at which that counts (default 50)"
    )
    advise.add_argument("--max-memory", type=_megabytes, metavar="SIZE", help="of its process, as 1GB")
    advise.add_argument("--max-size", type=_megabytes, metavar="SIZE", help="of the files it loads, as 20MB")
    advise.add_argument("--exact-only", action="store_true", help="only answers as exact as eager fp32's")
    advise.add_argument("--encoder", metavar="PATTERN", help="such as 'mobilenet*'")
    advise.add_argument("--quality", type=Path, metavar="CSV", help="your own: lines of network,value")
    advise.add_argument(
        "--store", type=Path, action="append", metavar="FILE",
        help="results to choose among; repeatable (default: ./advised.sqlite)",
    )  # fmt: skip
    advise.add_argument("--budget", metavar="TIME", help="measure what is missing within it, as 15m")
    advise.add_argument("--threads", type=_positive, help="of what is measured; default: the cores granted")
    advise.add_argument("--images", type=Path, metavar="DIR", help="your own photographs as input")


def _milliseconds(text: str) -> float:
    return _amount(text, {"ms": 1.0, "s": 1000.0, "us": 0.001}, "time: give it as 60ms or 0.1s")


def _megabytes(text: str) -> float:
    units = {"KB": 1e-3, "MB": 1.0, "GB": 1e3, "KIB": 2**10 / 1e6, "MIB": 2**20 / 1e6, "GIB": 2**30 / 1e6}
    return _amount(text.upper(), units, "size: give it as 20MB or 1GB")


def _percentile(text: str) -> float:
    percentile = _amount(text.removeprefix("p") + "%", {"%": 1.0}, "percentile: give it as 95")
    if not 50.0 <= percentile <= 99.9:
        raise BadInput(f"percentile {text!r} is out of range: it takes 50 to 99.9.")
    return percentile


def _amount(text: str, units: Mapping[str, float], what: str) -> float:
    number = text.strip().rstrip("".join(units))
    unit = text.strip()[len(number) :]
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError):
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise BadInput(f"{text!r} is no {what}.")
    return value


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
