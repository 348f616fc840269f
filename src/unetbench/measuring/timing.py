"""A session and a clock to raw nanoseconds. Decides nothing, keeps no mean, prints nothing."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from unetbench.runtimes import Image, Logits, Session

Clock = Callable[[], int]
Check = Callable[[int, Logits], None]


@dataclass(slots=True)
class Samples:
    """What was timed, one entry a run. Units: nanoseconds."""

    bind_ns: list[int] = field(default_factory=list)
    run_ns: list[int] = field(default_factory=list)
    read_ns: list[int] = field(default_factory=list)
    cpu_ns: int = 0  # CPU time of all threads, over the runs alone


def timed_runs(
    session: Session,
    images: Sequence[Image],
    *,
    at_least: int,
    at_most: int,
    limit_ns: int,
    first: int = 0,
    check: Check | None = None,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
) -> Samples:
    """Run the images in turn: `at_most` runs, fewer where `limit_ns` of running is reached, but `at_least`.

    Call it within `no_garbage_collection`. It begins at image number `first`; `check` is given the number and the answer after each run, untimed.
    Binding and reading are timed apart from the run, since a user pays for them too.
    """
    samples = Samples()
    while len(samples.run_ns) < at_most:
        if len(samples.run_ns) >= at_least and sum(samples.run_ns) >= limit_ns:
            break
        number = (first + len(samples.run_ns)) % len(images)
        start = clock()
        session.bind(images[number])
        cpu_start = cpu_clock()
        bound = clock()
        session.run()
        ran = clock()
        samples.cpu_ns += cpu_clock() - cpu_start
        reading = clock()
        answer = session.read()
        samples.read_ns.append(clock() - reading)
        samples.bind_ns.append(bound - start)
        samples.run_ns.append(ran - bound)
        if check is not None:
            check(number, answer)
    return samples


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not meanwhile: a collection takes longer than many a run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
