"""Measure this folder's suite; the same as `unetbench run benchmarks/unet_decoder`."""

import sys
from pathlib import Path

from unetbench.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["run", str(Path(__file__).parent), *sys.argv[1:]]))
