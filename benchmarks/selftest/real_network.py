"""Proof 2 on a real network: is 3 % more work found within ten minutes?

The same network on an image that is 3 % wider: more work of the same kind, no sleep. Each try is a race of
fresh processes with the turns, the looks and the stopping of `--preset standard`. Tries are kept: the same
command goes on from them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import kept
from figures import Figure, publish
from kept import Trial
from trials import from_here

from unetbench import machine, photos
from unetbench.measuring import artifacts
from unetbench.measuring.canary import Canary
from unetbench.measuring.launch import ProcessWorker
from unetbench.measuring.paired import PairedBlock
from unetbench.measuring.preparing import Preparing
from unetbench.measuring.preset import STANDARD
from unetbench.records import Case, Measurement, Network, Recipe, Turn
from unetbench.samples import together
from unetbench.verdicts import LOOKS, Pair, pair

_MINUTES = 10.0  # of one try
_HEIGHT_PX, _WIDTH_PX, _WIDER_PX = 256, 1024, 1056  # multiples of 32: 3.1 % more pixels, nothing is padded
_Turned = Mapping[Case, dict[int, tuple[Turn, ...]]]


class Tries:
    """A network on two sizes, prepared once; each try makes blocks of its own."""

    def __init__(self, network: str, recipe: str, folder: Path) -> None:
        self._folder = folder
        plain = Case(
            network=Network(network), recipe=Recipe.parse(recipe), height_px=_HEIGHT_PX, width_px=_WIDTH_PX,
            threads=machine.granted_cores(),
        )  # fmt: skip
        self.cases = (plain, replace(plain, width_px=_WIDER_PX))
        self._canary = Canary(plain.threads)
        preparing = Preparing(
            work=folder, cache=artifacts.cache_folder(), images=photos.default_photos(), checked_inputs=1,
            start_worker=self._start, on_phase=lambda _: None, on_tick=lambda: None,
        )  # fmt: skip
        for case in self.cases:
            # Where its worker looks for it.
            (folder / case.network_key()).symlink_to(preparing.reference(case))
        self._artifacts = {case: preparing.artifact(case) for case in self.cases}

    def once(self, of: str, seed: int) -> Trial:
        """Return what a race says."""
        turned: _Turned = {case: {} for case in self.cases}
        began = time.monotonic()
        said = Pair()
        for number in range(1, LOOKS[-1][0] + 1):
            self._block(turned, number, seed)
            if number in dict(LOOKS):
                said = pair(*together(turned).values())
            spent = (time.monotonic() - began) / 60
            if said.settled or spent * (number + 1) / number > _MINUTES:
                break
        return Trial.told(of, seed, said, blocks=number, minutes=spent)

    def _block(self, turned: _Turned, number: int, seed: int) -> None:
        _, outcomes = PairedBlock(
            cases=self.cases, group="3 % more work", number=number, seed=seed * 1000 + number,
            folder=self._folder, artifacts=self._artifacts,
            start_worker=lambda case: self._start(case, None), canary=self._canary, turns=STANDARD.turns,
            earlier={case: [turn for turns in turned[case].values() for turn in turns] for case in self.cases},
            on_phase=lambda _: None, on_tick=lambda: None,
        ).run()  # fmt: skip
        for case, outcome in outcomes.items():
            if not isinstance(outcome, Measurement):
                raise RuntimeError(f"{case.name}: {outcome}")
            turned[case][number] = outcome.turns

    def _start(self, case: Case, limit_s: float | None) -> ProcessWorker:
        return ProcessWorker(
            threads=case.threads, memory_bytes=machine.granted_memory_bytes(), limit_s=limit_s or 600.0,
            scratch=self._folder, online=False, module="sized_worker",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument(
        "--network",
        default="mobilenetv4_conv_small",
        help="one of 100 ms on the machine where it was written",
    )
    parser.add_argument("--recipe", default="openvino/fp32+reparameterize+fold_head")
    options = parser.parse_args()
    from_here()
    with TemporaryDirectory(prefix="unetbench-") as folder:
        tries = Tries(options.network, options.recipe, Path(folder))
        name = f"{options.network}/unet {options.recipe}, 3.1 % wider"
        for made in kept.each(name, options.tries, lambda seed: tries.once(name, seed), over=lambda: False):
            if made:  # after each: it may be ended after any
                told(f"{options.network}/unet {options.recipe}", made)


def told(case: str, made: Sequence[Trial]) -> None:
    """Publish what the tries until now have found."""
    found = sum(each.verdict == "faster" for each in made)
    wrong = sum(each.verdict in ("slower", "the same") for each in made)
    ratios = ", ".join(f"{each.ratio:.3f}" for each in made if each.ratio)
    blocks = [each.blocks for each in made]
    publish(
        "2r",
        f"3 % more pixels for {case}",
        [
            Figure(
                name="a real network on an image 3.1 % wider: found within 10 minutes", value=f"{found} of {len(made)}",
                bar="3 of 4", met=found >= 0.75 * len(made) and wrong == 0,
                note=f"wrong verdicts {wrong}; ratios {ratios}; longest {max(each.minutes for each in made):.1f} min, "
                f"blocks {min(blocks)} to {max(blocks)}",
            )
        ],
        seeds="0, 1, 2 …",
        machines=[each.machine for each in made],
    )  # fmt: skip


if __name__ == "__main__":
    main()
