"""Ten seconds of canaries: how noisy is this machine, and what difference could be told in ten minutes?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import stdev

from unetbench import quiet, student_t
from unetbench.measuring.preset import Turns
from unetbench.records import Turn
from unetbench.verdicts import DIFFERENT, LOOKS, POWER

_LISTEN_S = 10.0
_PAUSE_S = 0.1  # between readings: neighbours come and go in tenths of a second
_RUN_S, _CASES = 0.1, 2  # what is forecast: two recipes of a 100 ms network
_START_S = 12.0  # of a block, a compiled recipe with a warm cache included
_WITHIN_S = 600.0
_PROCESS = 0.012  # spread from process to process that ten 512×512 networks showed
_RUN = 0.03  # from run to run


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What the canaries said."""

    quiet_ms: tuple[float, float]  # in cache, in memory
    quiet_share: float  # of the readings within the gate
    loudest: float  # of the readings, over the quiet level
    detectable: float | None  # relative; None where ten minutes do not reach a look


def listen(
    read: Callable[[], tuple[int, int]],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Noise:
    """Read the canaries for ten seconds and say what they mean for two recipes of a 100 ms network."""
    end = clock() + _LISTEN_S
    turns: list[Turn] = []
    while clock() < end or len(turns) < 2:
        reading = read()
        sleep(_PAUSE_S)
        turns.append(Turn(order=len(turns), before_ns=reading, after_ns=read()))
    level = quiet.level(turns)
    assert level is not None
    return Noise(
        quiet_ms=(level[0] / 1e6, level[1] / 1e6),
        quiet_share=quiet.quiet_share(turns, level),
        loudest=max(quiet.loudness(turn, level) for turn in turns),
        detectable=_detectable(turns, level),
    )


def _detectable(turns: Sequence[Turn], level: quiet.Level) -> float | None:
    share = quiet.quiet_share(turns, level)
    loud = [math.log(quiet.loudness(turn, level)) for turn in turns if quiet.is_quiet(turn, level)]
    shape = Turns()
    wanted = max(shape.at_least, math.ceil(shape.quiet_runs / shape.runs / max(share, 0.05)))
    wanted = min(wanted, shape.at_most)
    block_s = _START_S + _CASES * wanted * (shape.runs + 1) * _RUN_S
    reached = [look for look in LOOKS if look[0] * block_s <= _WITHIN_S]
    if not reached or len(loud) < 2:
        return None
    blocks, alpha = reached[-1]
    turn = math.hypot(_RUN / math.sqrt(shape.runs), stdev(loud))
    pair = math.sqrt(2) * math.hypot(_PROCESS, turn / math.sqrt(wanted * share))
    t = student_t.quantile(alpha, blocks - 1) + student_t.quantile(2 * (1 - POWER), blocks - 1)
    return math.expm1(math.log1p(DIFFERENT) + t * pair / math.sqrt(blocks))
