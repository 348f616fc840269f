"""Proof 12: malformed and hostile input gives one line and exit code 2, changes nothing and escapes nowhere."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from figures import Figure, publish

from unetbench.cli import main as command

_SUITE = 'title = "x"\nencoders = ["test_resnet"]\nsizes = ["64x64"]\nrecipes = ["torch_eager/fp32"]\n'
_WORDS = (
    "",
    "0",
    "-1",
    "nan",
    "1e9",
    "../..",
    "a/b/c",
    "[",
    "]",
    "=",
    "\x00",
    "é" * 300,
    "None",
    "{}",
    "'",
    '"',
)


def main() -> None:
    with TemporaryDirectory(prefix="unetbench-") as name:
        folder = Path(name)
        malformed = [_told(folder, arguments) for arguments in _malformed(folder)]
        hostile = [_told(folder, arguments) for arguments in _hostile(folder)]
        escaped = list(folder.parent.glob("unetbench-escaped*"))
    figures = []
    for what, told in (("malformed", malformed), ("hostile", hostile)):
        right = sum(not fault for fault in told)
        figures.append(
            Figure(
                name=f"{what} inputs told in one line with exit code 2", value=f"{right} of {len(told)}",
                bar="all", met=right == len(told), note="; ".join(sorted({fault for fault in told if fault})[:5]),
            )
        )  # fmt: skip
    figures.append(Figure(name="files outside the folder", value=str(len(escaped)), bar="0", met=not escaped))
    publish("12", "bad input", figures, seeds="0")


def _told(folder: Path, arguments: list[str]) -> str:
    """Return what was wrong with how a command ended; nothing where it was right."""
    before = sorted(folder.rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    except Exception as error:  # noqa: BLE001 - a traceback is what is looked for
        return f"{type(error).__name__} from {arguments!r}"[:160]
    lines = err.getvalue().splitlines()
    if code != 2 or len(lines) != 1 or "Traceback" in err.getvalue():
        return f"exit {code}, {len(lines)} lines from {arguments!r}"[:160]
    return "" if sorted(folder.rglob("*")) == before else f"files were made by {arguments!r}"[:160]


def _suite(folder: Path, text: str | bytes) -> str:
    path = folder / f"suite{len(list(folder.iterdir()))}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def _malformed(folder: Path) -> Iterator[list[str]]:
    random = Random(0)
    good = _suite(folder, _SUITE)
    # No `=` or quote may stay as it was: each of these must be refused.
    for key in ("encoders", "sizes", "recipes", "decoders", "batch", "classes", "title", "networks"):
        for value in ("[[1]]", "{}", "3.5", '[""]', "[{}]", "nan", '["\\u0000"]', "[[]]"):
            if key == "title" and value.startswith('"'):
                continue
            lines = [line for line in _SUITE.splitlines() if not line.startswith(key)]
            yield ["run", _suite(folder, "\n".join([*lines, f"{key} = {value}"])), "--dry-run"]
    for option in ("--encoder", "--decoder", "--network", "--recipe", "--size", "--batch", "--classes", "--threads",
                   "--preset", "--budget", "--timeout"):  # fmt: skip
        for word in _WORDS[:11]:
            if (option, word) == ("--budget", "1e9"):
                continue  # a time, if a long one
            yield ["run", good, "--dry-run", option, word if word else " "]
    while True:
        cut = random.randrange(1, len(_SUITE) - 2)
        text = _SUITE[:cut] + random.choice("[]{}=\"'\\\x01") + _SUITE[cut:]
        try:
            import tomllib

            tomllib.loads(text)
        except ValueError:
            yield ["run", _suite(folder, text), "--dry-run"]
        if len(list(folder.iterdir())) > 90:
            return


def _hostile(folder: Path) -> Iterator[list[str]]:
    good = _suite(folder, _SUITE)

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.system, (f"touch {folder.parent}/unetbench-escaped",))

    bomb = folder / "bomb.pt"
    bomb.write_bytes(pickle.dumps(Bomb()))
    for store in (
        bomb,
        folder,
        Path("/dev/null"),
        Path("/proc/self/mem"),
        folder / "a" / ".." / ".." / "x\x00",
    ):
        yield ["report", "--store", str(store)]
        yield ["recover", str(store), str(folder / "new.sqlite")]
        yield ["compare", f"{store}", f"{store}@1"]
    for name in ("../../etc/passwd", "</script>", "$(id)", "`id`", "; rm -rf /", "%s%s", "\u202eevil", "a" * 10_000,
                 "os.system", "__import__", "hf-hub:evil/model", "local-dir:/etc", "\ud800"):  # fmt: skip
        yield ["run", good, "--dry-run", "--encoder", name]
        yield ["list", name]
    yield ["export", "test_resnet", "--recipe", "onnxruntime/fp32", "--size", "64", "--weights", str(bomb),
           "-o", str(folder / "bundle")]  # fmt: skip
    yield ["run", good, "--dry-run", "--images", "/dev"]
    yield ["run", _suite(folder, b"\xff\xfe\x00"), "--dry-run"]
    yield ["run", _suite(folder, _SUITE + "x = " + "[" * 5000), "--dry-run"]


if __name__ == "__main__":
    main()
