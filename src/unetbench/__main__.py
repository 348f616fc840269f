"""`python -m unetbench`: the same command where `unetbench` is not on the path."""

from unetbench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
