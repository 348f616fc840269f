"""A real worker process that misbehaves on demand: what containment is tested with."""

from __future__ import annotations

import gc
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unetbench.measuring.launch import ProcessWorker
from unetbench.measuring.worker import Turns, main


def zoo_worker(
    scratch: Path,
    *,
    limit_s: float,
    memory_bytes: int,
    environment: Mapping[str, str] | None = None,
    ends_at: float = math.inf,
) -> ProcessWorker:
    """Start such a process, as the parent starts workers."""
    return ProcessWorker(
        threads=1,
        memory_bytes=memory_bytes,
        limit_s=limit_s,
        ends_at=ends_at,
        scratch=scratch,
        online=False,
        environment=environment or {},
        module="tests.zoo_worker",
    )


class Zoo(Turns):
    """Turns that end badly, each in its own way."""

    def echo(self, value: Any) -> dict[str, Any]:
        return {"value": value, "threads": os.environ["OMP_NUM_THREADS"]}

    def load(self, count: int) -> dict[str, Any]:  # type: ignore[override]
        self.loaded = [[each] for each in range(count)]
        return {}

    def hold(self, count: int) -> dict[str, Any]:
        """Take inputs and expected answers, as a case with so many checked inputs has them."""
        self._images = [np.ones((1, 1, 1024, 1024), np.float32) for _ in range(count)]
        self._answers = np.ones((count, 1, 1, 1024, 1024))
        self._first_answers = {image: np.ones((1, 1, 1024, 1024), np.float32) for image in range(count)}
        return {}

    def looked_through(self) -> dict[str, Any]:
        """How many of the lists that were loaded a search for garbage would look at."""
        seen = {id(each) for each in gc.get_objects()}
        return {"value": sum(id(each) in seen for each in self.loaded)}

    def variable(self, name: str) -> dict[str, Any]:
        return {"value": os.environ.get(name)}

    def die_by(self, name: str) -> dict[str, Any]:
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(10)
        return {}

    def leave(self, code: int) -> dict[str, Any]:
        os._exit(code)

    def hang(self, deaf: bool) -> dict[str, Any]:
        if deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
        return {}

    def fill_memory(self) -> dict[str, Any]:
        held = []
        while True:
            held.append(bytearray(64 << 20))

    def touch(self, megabytes: int) -> dict[str, Any]:
        held = bytearray(megabytes << 20)
        for page in range(0, len(held), 4096):
            held[page] = 1
        return {}

    def fail(self, message: str) -> dict[str, Any]:
        raise RuntimeError(message)

    def chatter(self, megabytes: int) -> dict[str, Any]:
        for _ in range(megabytes):
            sys.stdout.write("x" * (1 << 20))
        sys.stdout.flush()
        return {}

    def have_grandchild(self, own_session: bool = False) -> dict[str, Any]:
        sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(sleeping, start_new_session=own_session)
        return {"pid": child.pid}

    def phases(self) -> dict[str, Any]:
        self._say({"phase": "building"})
        self._say({"phase": "compiling"})
        return {}


if __name__ == "__main__":
    main(Zoo)
