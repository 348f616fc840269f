"""Measure this folder's suite; the same as `unetbench run benchmarks/smp_unet`."""

import os
import sys

from unetbench.cli import main

if __name__ == "__main__":
    # Relative, since the command is stored with the results.
    suite = os.path.relpath(os.path.dirname(__file__))  # noqa: PTH120
    raise SystemExit(main(["run", suite, *sys.argv[1:]]))
