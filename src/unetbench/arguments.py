"""What the command line accepts: every command with its options, and values checked as they are read."""

from __future__ import annotations

import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any, NoReturn

from unetbench import __version__, amounts
from unetbench.errors import BadInput, unknown
from unetbench.records import RGB

_DESCRIPTION = """Measure segmentation networks on this machine, truthfully.

  unetbench run benchmarks/unet_decoder      measure a suite, show the table, write the files
  unetbench report benchmarks/unet_decoder   show what was measured
  unetbench tune resnet18                    find a network's fastest recipe
  unetbench advise --max-latency 60ms        choose a network and its recipe under constraints
  unetbench export resnet18 --recipe openvino/fp32 -o bundle   a folder that runs elsewhere
  unetbench verify bundle                    does it do the same on this machine?
  unetbench predict bundle photos -o masks   whole images through it
  unetbench doctor                           what this machine will allow
  unetbench list encoders 'mobilenet*'       what can be named
"""


class _Parser(ArgumentParser):
    """One line for what was wrong, with the next step."""

    def error(self, message: str) -> NoReturn:
        mistyped = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if mistyped:
            raise unknown(
                "command", mistyped[1], re.findall(r"\w+", mistyped[2]), f"`{self.prog} --help` tells more."
            )
        raise BadInput(f"{message}: `{self.prog} --help` shows what is accepted.")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """The same, but that what a command does not know is that command's error, with the nearest option."""
        read, rest = super().parse_known_args(args, namespace)
        if rest and self._subparsers is None:
            option = next((each for each in rest if each.startswith("-")), None)
            if option is None:
                self.error(f"unrecognized arguments: {' '.join(rest)}")
            options = [text for text in self._option_string_actions if text.startswith("--")]
            raise unknown("option", option.partition("=")[0], options, f"`{self.prog} --help` tells more.")
        return read, rest


def parser() -> ArgumentParser:
    """Return the parser of every command; `.command` is the name of the one that was given."""
    whole = _Parser(prog="unetbench", description=_DESCRIPTION, formatter_class=RawDescriptionHelpFormatter)
    whole.add_argument("--version", action="version", version=f"unetbench {__version__}")
    commands = whole.add_subparsers(required=True, dest="command", metavar="COMMAND", parser_class=_Parser)

    run = commands.add_parser("run", help="measure a suite, show the table, write the files")
    run.add_argument("suite", type=Path, help="a folder with a suite.toml, or such a file")
    for axis, what, replaced in (
        ("encoder", "a timm model", "the suite's encoders and networks"),
        ("decoder", "a decoder of the encoders", "the suite's"),
        ("network", "encoder/decoder, or a whole network as unet_2015 or smp.unet[resnet18]",
         "the suite's encoders and networks"),
        ("recipe", "runtime/precision+rewrite", "the suite's"),
        ("size", "N or HxW, in pixels", "the suite's"),
    ):  # fmt: skip
        run.add_argument(
            f"--{axis}", action="append", default=[], metavar=axis.upper(),
            help=f"{what}; repeatable, replaces {replaced}",
        )  # fmt: skip
    run.add_argument("--batch", type=amounts.positive, help="images a run")
    run.add_argument("--classes", type=amounts.positive, help="classes of the head")
    run.add_argument(
        "--channels", type=amounts.positive, help="of the image: 1 for grey (default: the suite's, 3)"
    )
    run.add_argument("--threads", type=amounts.positive, help="default: the cores that the machine grants")
    run.add_argument("--preset", metavar="NAME", help="quick (default), standard (verdicts), rigorous")
    run.add_argument(
        "--budget", metavar="TIME", help="standard within a time, as 20m: most where it tells most"
    )
    run.add_argument("--images", type=Path, metavar="DIR", help="your own photographs as input")
    run.add_argument(
        "--timeout", type=amounts.positive, metavar="S", help="seconds a case may take (default 900)"
    )
    run.add_argument("--fresh", action="store_true", help="start anew; earlier results stay in the store")
    run.add_argument("--force", action="store_true", help="measure bf16 even where it is emulated")
    run.add_argument("--dry-run", action="store_true", help="list the cases and estimate the time")

    tune = commands.add_parser("tune", help="find the fastest recipe of a network, exact or not")
    tune.set_defaults(out=None)
    tune.add_argument(
        "networks", nargs="+", metavar="NETWORK", help="an encoder, encoder/decoder, or a reference"
    )
    tune.add_argument("--size", default="512x512", help="N or HxW, in pixels (default 512x512)")
    _shape(tune)
    tune.add_argument("--weights", default="random", help="random, pretrained, or a checkpoint")
    tune.add_argument("--threads", type=amounts.positive, help="default: the cores that the machine grants")
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
    report.add_argument(
        "suite", type=Path, nargs="?", default=Path(), help="the suite that was run, or a file of results"
    )
    report.add_argument("--session", type=int, metavar="N", help="an earlier session (default: the latest)")
    forms = report.add_mutually_exclusive_group()
    forms.add_argument(
        "--fastest", action="store_true",
        help="the winners: each network's fastest recipe, and the fastest whose answer is more exact",
    )  # fmt: skip
    forms.add_argument("--case", metavar="NAME", help="everything about one case: its proof and its costs")
    forms.add_argument("--html", type=Path, metavar="FILE", help="one page to look at, of all stores named")
    forms.add_argument("--parquet", type=Path, metavar="FILE", help="the rows as Parquet, conditions within")
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
    compare.add_argument(
        "--fail-if-slower", type=amounts.share, metavar="3%", help="exit 1 where that is certain"
    )

    recover = commands.add_parser("recover", help="save what is whole in a damaged store")
    recover.add_argument("damaged", type=Path, help="the damaged store: it is only read")
    recover.add_argument("new", type=Path, help="a new file")

    merge = commands.add_parser("merge", help="bring stores together; machines stay apart")
    merge.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    merge.add_argument("-o", "--out", type=Path, required=True, metavar="NEW", help="a new file")

    _deploying(commands)
    for command in (run, tune):
        command.add_argument(
            "--breakdown", action="store_true", help="then show where the fastest recipes' time goes, and the machine's limits",
        )  # fmt: skip
    for command in (run, compare):
        command.add_argument("--store", metavar="FILE", help="default: results/results.sqlite in the suite")
    for command in (run, report):
        command.add_argument("--out", type=Path, metavar="DIR", help="where CSV, Markdown and chart go (default of run: beside results.sqlite; of NAME.sqlite NAME.files)",
        )  # fmt: skip

    listing = commands.add_parser("list", help="show encoders, decoders, references, rewrites, runtimes")
    listing.add_argument(
        "what", nargs="?", help="encoders, decoders, references, rewrites or runtimes (default: all)"
    )
    listing.add_argument("pattern", nargs="?", default="*", help="such as 'mobilenet*'")
    listing.add_argument(
        "--max-params", type=amounts.count, metavar="10M", help="encoders with no more parameters"
    )
    listing.add_argument(
        "--pyramid", metavar="LEVELS", help="encoders with these strides: 2,4,8,16,32 or 4…32, or flat"
    )
    listing.add_argument(
        "--all", action="store_true", help="encoders that do not work too, each with the reason"
    )

    commands.add_parser("doctor", help="what this machine will allow")
    return whole


def _shape(command: ArgumentParser) -> None:
    """What a network takes and gives, where no suite says it."""
    command.add_argument(
        "--classes", type=amounts.positive, default=1, help="classes of the head (default 1)"
    )
    command.add_argument(
        "--channels", type=amounts.positive, default=RGB, help="of the image: 1 for grey (default 3)"
    )


def _advise(advise: ArgumentParser) -> None:
    advise.add_argument("--size", default="512x512", help="N or HxW, in pixels (default 512x512)")
    _shape(advise)
    advise.add_argument(
        "--max-latency", type=amounts.milliseconds, metavar="TIME", help="of a run, as 60ms or 0.1s"
    )
    advise.add_argument(
        "--percentile",
        type=amounts.percentile,
        default=50.0,
        metavar="N",
        help="at which that counts (default 50)",
    )
    advise.add_argument("--max-memory", type=amounts.megabytes, metavar="SIZE", help="of its process, as 1GB")
    advise.add_argument(
        "--max-size", type=amounts.megabytes, metavar="SIZE", help="of the files it loads, as 20MB"
    )
    advise.add_argument("--exact-only", action="store_true", help="only answers as exact as eager fp32's")
    advise.add_argument(
        "--encoder", action="append", default=[], metavar="PATTERN", help="such as 'mobilenet*'; repeatable"
    )
    advise.add_argument("--quality", type=Path, metavar="CSV", help="your own: lines of network,value")
    advise.add_argument(
        "--store", type=Path, action="append", metavar="FILE",
        help="results to choose among; repeatable (default: ./advised.sqlite)",
    )  # fmt: skip
    advise.add_argument("--budget", metavar="TIME", help="measure what is missing within it, as 15m")
    advise.add_argument(
        "--threads", type=amounts.positive, help="of what is measured; default: the cores granted"
    )
    advise.add_argument("--images", type=Path, metavar="DIR", help="your own photographs as input")


def _deploying(commands: Any) -> None:
    """The verbs of a network that leaves: export, verify, predict."""
    export = commands.add_parser("export", help="write a folder that runs on another machine")
    export.add_argument("network", help="an encoder, encoder/decoder, or a whole network")
    export.add_argument("--recipe", required=True, help="runtime/precision+rewrite, as `tune` found it")
    export.add_argument(
        "--weights", default="random", help="a checkpoint; random or pretrained (default random)"
    )
    export.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="a new folder")
    export.add_argument("--size", default="512x512", help="of a tile: N or HxW, in pixels (default 512x512)")
    _shape(export)
    export.add_argument("--threads", type=amounts.positive, help="default: the cores that the machine grants")
    export.add_argument("--images", type=Path, metavar="DIR", help="your own photographs for the test input")
    export.add_argument(
        "--store", type=Path, metavar="FILE", help="take the time from a run, not measured now"
    )
    export.add_argument("--onnx", action="store_true", help="plain ONNX too, for any other consumer")

    verify = commands.add_parser("verify", help="does a bundle do the same on this machine?")
    verify.add_argument("bundle", type=Path, help="a folder that `export` wrote")
    verify.add_argument(
        "--threads", type=amounts.positive, help="default: the bundle's, as far as there are cores"
    )
    verify.add_argument(
        "--fingerprint", metavar="HEX", help="refuse any other bundle than the one that was told"
    )

    predict = commands.add_parser("predict", help="segment whole images with a bundle")
    predict.add_argument("bundle", type=Path, help="a folder that `export` wrote")
    predict.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE", help="image files, or folders of them"
    )
    predict.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where masks go")
    predict.add_argument(
        "--overlap", type=amounts.share, metavar="50%", help="of neighbouring tiles (default: the bundle's)"
    )
    predict.add_argument(
        "--memory", type=amounts.byte_count, metavar="SIZE", help="for an image's buffers (default 1GB)"
    )
    predict.add_argument(
        "--format", metavar="png|tiff", help="of masks (default: PNG, TIFF for stacks and over 100 MP)"
    )
    predict.add_argument(
        "--threads", type=amounts.positive, help="default: the bundle's, as far as there are cores"
    )
