"""The worker that measures networks, for cases on images of different sizes in one block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from unetbench.measuring.worker import Turns, main
from unetbench.records import Case


class SizedTurns(Turns):
    """Turns whose reference lies in the folder of its network and size."""

    def load(self, case: Mapping[str, Any], folder: str, artifact: str | None) -> dict[str, Any]:
        own = Path(folder) / msgspec.convert(case, Case).network_key()
        return super().load(case, str(own), artifact)


if __name__ == "__main__":
    main(SizedTurns)
