"""Proof 15: nothing leaves the machine. A whole small sweep runs with the network cut off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Figure, publish

_CUT = ["unshare", "--net", "--map-root-user"]  # a network of its own, with nothing in it


def main() -> None:
    probe = "import socket; socket.create_connection(('1.1.1.1', 53), 2)"
    cut = subprocess.run([*_CUT, sys.executable, "-c", probe], capture_output=True).returncode != 0
    with TemporaryDirectory(prefix="unetbench-") as name:
        suite = Path(name)
        (suite / "suite.toml").write_text(
            'title = "offline"\nencoders = ["test_resnet", "test_byobnet"]\nsizes = ["64x64"]\n'
            'recipes = ["torch_eager/fp32", "torch_compile/fp32+reparameterize"]\n',
            encoding="utf-8",
        )
        ran = subprocess.run(
            [*_CUT, sys.executable, "-m", "unetbench.cli", "run", str(suite)], capture_output=True, text=True
        )
    figure = Figure(
        name="a sweep of 4 cases without a network", value=f"exit {ran.returncode}", bar="exit 0",
        met=ran.returncode == 0 and cut, note=("" if cut else "the network was not cut: this says nothing; ") + ran.stderr[-200:],
    )  # fmt: skip
    publish("15", "nothing leaves the machine", [figure])


if __name__ == "__main__":
    main()
