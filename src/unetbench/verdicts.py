"""Paired blocks to intervals and verdicts (docs/measuring.md). Standard library only.

The unit is the block, never the run: runs of one process are far from independent. It reads blocks of
turns and knows nothing of where they came from: simulations drive it as reports do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

from unetbench import quiet, spread, student_t
from unetbench.records import ROUNDS
from unetbench.samples import LEAST_BLOCKS, Sample, Seen
from unetbench.spread import Logs, Noise

LOOKS = ((8, 0.001), (12, 0.001), (16, 0.001), (20, 0.007))  # blocks, and the α that looking there spends
LOOKS_OF = {
    "standard": LOOKS,
    "rigorous": ((20, 0.01),),
    "tune": ((8, 0.01),),
}  # by preset; quick looks at nothing
ALPHA = 0.01  # of all that is stated together
TARGET = 0.0125  # half-width, relative: then nothing more is gained by going on
DIFFERENT = 0.01  # faster or slower: the whole interval lies beyond it
EQUAL = 0.02  # the same: the whole interval lies within it
AGREEMENT = 0.01  # of the gated estimate and of the regression on the canaries
POWER = 0.8  # at which the smallest difference that would be found is stated
_NS_PER_MS = 1e6

Word = Literal["faster", "slower", "the same", "not decided"]
State = Literal["", "load-dependent", "precision not reached", "too few quiet blocks", "not quiet"]
Looks = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What blocks say of two cases: how many times as fast is the first? Ratios are second over first."""

    ratio: float | None = None  # of quiet times; None without a usable block
    low: float | None = None  # the interval at the look's confidence; None before the first look
    high: float | None = None
    ungated: float | None = None  # the same ratio with every run
    blocks: int = 0  # usable, at the last look
    alpha: float | None = None  # spent at that look, after division by the pairs stated
    verdict: Word = "not decided"  # of the first against the second
    detectable: float | None = None  # the relative difference that would be found 4 times in 5
    state: State = ""
    adjusted: bool = False  # not by the gate alone: louder turns too, brought to the quiet level by canaries

    @property
    def settled(self) -> bool:
        """Whether more blocks would add nothing that is asked for: a verdict, or the target width."""
        if self.low is None or self.high is None:
            return False
        return self.verdict != "not decided" or math.log(self.high / self.low) / 2 <= TARGET


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """One case's time on the quiet machine."""

    median_ms: float
    low_ms: float | None  # 99 % interval over blocks; None with too few
    high_ms: float | None
    blocks: int
    quiet_share: float
    dropped_turns: int  # leading turns of each block that were still warming up
    unsteady: bool
    adjusted: bool = False  # not by the gate alone: louder turns too, brought to the quiet level by canaries


def look_at(blocks: int, looks: Looks = LOOKS) -> tuple[int, float] | None:
    """Return the last look that so many blocks have reached, with its α; None before the first."""
    reached = [look for look in looks if look[0] <= blocks]
    return reached[-1] if reached else None


def pairs_stated(count: int) -> int:
    """Return how many pairs a table of that many rows states: each with each other."""
    return max(1, count * (count - 1) // 2)


def pair(first: Sample, second: Sample, *, pairs: int = 1, looks: Looks = LOOKS) -> Pair:
    """Compare two cases by the blocks that both have; of different groups, by the blocks of one round.

    `pairs` is how many are stated together: α is divided among them.
    """
    matched = _matched(first, second)
    look = look_at(len(matched), looks)
    used = matched[: look[0]] if look else matched
    a, b = _both(first, second, used)
    if a is None or b is None:
        return Pair()
    ungated = math.exp(fmean(_differences(a.every_log, b.every_log, used)))
    logs, moved = _logs(first, second, a, b, used)
    if look is None or len(logs.values) < LEAST_BLOCKS:
        why: State = "too few quiet blocks" if look else ""
        ratio = math.exp(fmean(logs.values)) if logs.values else None
        return Pair(ratio=ratio, ungated=ungated, blocks=len(logs.values), state=why)
    estimate = fmean(logs.values)
    alpha = look[1] / pairs
    noise = _noise(first, second, used)
    half = logs.half_width(alpha, noise)
    word = _word(estimate - half, estimate + half)
    state: State = ""
    other = fmean(moved) if len(moved) >= LEAST_BLOCKS else estimate
    if abs(other - estimate) > AGREEMENT and word != _word(other - half, other + half):
        word, state = "not decided", "load-dependent"
    if not state and word == "not decided" and look[0] == looks[-1][0]:
        state = "precision not reached"
    return Pair(
        ratio=math.exp(estimate),
        ungated=ungated,
        blocks=len(logs.values),
        low=math.exp(estimate - half),
        high=math.exp(estimate + half),
        alpha=alpha,
        verdict=word,
        detectable=_detectable(logs, noise, looks, pairs),
        state=state,
        adjusted=logs.moved is not None,
    )


def log_ratios(first: Sample, second: Sample, looks: Looks = LOOKS) -> Logs:
    """Return per block, up to the last look, the log of the second's quiet median over the first's."""
    matched = _matched(first, second)
    look = look_at(len(matched), looks)
    used = matched[: look[0]] if look else []
    a, b = _both(first, second, used)
    return _logs(first, second, a, b, used)[0] if a and b else Logs(())


def quiet_logs(sample: Sample, looks: Looks = LOOKS) -> Logs:
    """Return the log of each block's time on the quiet machine, up to the last look; none before the first."""
    numbers = tuple(sample.by_round().values())
    look = look_at(len(numbers), looks)
    if not look:
        return Logs(())
    numbers = numbers[: look[0]]
    seen = sample.seen(numbers)
    return _quiet_logs(sample, numbers, seen) if seen else Logs(())


def unpaired(first: Logs, second: Logs, *, alpha: float) -> Pair:
    """Compare two samples of logs that were made apart, each with its own spread (Welch) and doubt."""
    squares = [logs.error**2 for logs in (first, second)]
    counts = len(first.values), len(second.values)
    df = sum(squares) ** 2 / sum(e**2 / (n - 1) for e, n in zip(squares, counts, strict=True))
    estimate = fmean(second.values) - fmean(first.values)
    half = student_t.quantile(alpha, df) * math.sqrt(sum(squares)) + first.doubt + second.doubt
    return Pair(
        ratio=math.exp(estimate),
        low=math.exp(estimate - half),
        high=math.exp(estimate + half),
        blocks=min(counts),
        alpha=alpha,
        verdict=_word(estimate - half, estimate + half),
        adjusted=first.moved is not None or second.moved is not None,
    )


def steady(sample: Sample, looks: Looks = LOOKS) -> Steady | None:
    """Return a case's time over its blocks up to the last look; None where none has enough quiet runs."""
    numbers = tuple(sample.by_round().values())
    look = look_at(len(numbers), looks)
    numbers = numbers[: look[0]] if look else numbers
    seen = sample.seen(numbers)
    logs = _quiet_logs(sample, numbers, seen) if seen else Logs(())
    if seen is None or not logs.values:
        return None
    middle = fmean(logs.values)
    low = high = None
    if look is not None and len(logs.values) >= LEAST_BLOCKS:
        # Looking spends α here too: the interval is that of its look, of 99 % over all of them.
        half = logs.half_width(look[1])
        low, high = math.exp(middle - half) / _NS_PER_MS, math.exp(middle + half) / _NS_PER_MS
    turns = [turn for number in seen.every_log for turn in sample.blocks[number][seen.dropped :]]
    return Steady(
        median_ms=math.exp(middle) / _NS_PER_MS,
        low_ms=low,
        high_ms=high,
        blocks=len(logs.values),
        quiet_share=quiet.quiet_share(turns, seen.level),
        dropped_turns=seen.dropped,
        unsteady=seen.unsteady,
        adjusted=logs.moved is not None,
    )


def _quiet_logs(sample: Sample, numbers: tuple[int, ...], seen: Seen) -> Logs:
    """The medians of quiet runs, or, where too few blocks have them, of louder turns too, brought to the quiet level.

    Those of a session above the record are as quiet as it was, which is not enough: it has the latter only.
    """
    quiet_runs = Logs(tuple(seen.quiet_log.values()))
    if not any(sample.above) and len(quiet_runs.values) >= _gate_needs(len(numbers)):
        return quiet_runs
    adjusted = sample.adjusted(numbers, seen)
    values = tuple(adjusted.values.values()) if adjusted.known else ()
    if len(values) < LEAST_BLOCKS and not any(sample.above):
        return quiet_runs
    moved = fmean(values) - fmean(seen.every_log.values()) if values else None
    return Logs(values, moved, cache=sample.above[0], unlike=adjusted.unlike)


def _gate_needs(blocks: int) -> float:
    """How many blocks must have quiet runs enough: with fewer, louder turns tell more than they cost."""
    return max(LEAST_BLOCKS, blocks / 2)


def _matched(first: Sample, second: Sample) -> list[tuple[int, int]]:
    """The blocks that may be paired, in order: the same block, or the same round of two groups."""
    same = sorted(first.blocks.keys() & second.blocks.keys())
    if same:
        return [(number, number) for number in same]
    a, b = first.by_round(), second.by_round()
    return [(a[number], b[number]) for number in sorted(a.keys() & b.keys())]


def _both(first: Sample, second: Sample, used: list[tuple[int, int]]) -> tuple[Seen | None, Seen | None]:
    """What both say of the blocks used, the same leading turns dropped."""
    if not used:
        return None, None
    numbers = tuple(a for a, _ in used), tuple(b for _, b in used)
    a, b = first.seen(numbers[0]), second.seen(numbers[1])
    if a is None or b is None or a.dropped == b.dropped:
        return a, b
    shortest = min(
        len(each.blocks[number])
        for each, used_ in zip((first, second), numbers, strict=True)
        for number in used_
    )
    dropped = min(max(a.dropped, b.dropped), shortest // 2)
    return first.seen(numbers[0], dropped), second.seen(numbers[1], dropped)


def _differences(
    first: Mapping[int, float], second: Mapping[int, float], used: list[tuple[int, int]]
) -> list[float]:
    return [second[b] - first[a] for a, b in used if a in first and b in second]


def _word(low: float, high: float) -> Word:
    """The verdict of an interval of log ratios, second over first."""
    margin = math.log1p(DIFFERENT)
    if low > margin:
        return "faster"
    if high < -margin:
        return "slower"
    same = math.log1p(EQUAL)
    return "the same" if -same < low and high < same else "not decided"


def _noise(first: Sample, second: Sample, used: list[tuple[int, int]]) -> Noise:
    """What all pairs that were measured with this one, of its kind, say of its noise in the same rounds.

    Later rounds change nothing. Pairs within a network and those across two have noise of their own: the blocks of the
    latter are minutes apart.
    """
    beside = first.beside
    if beside is None or beside is not second.beside:
        return spread.NOTHING
    rounds, across = frozenset(number % ROUNDS for number, _ in used), _is_across(used)
    return beside.noise((rounds, across), lambda: _noise_of(beside.samples, rounds, across))


def _noise_of(samples: Sequence[Sample], rounds: frozenset[int], across: bool) -> Noise:
    found: list[Sequence[float]] = []
    cases, groups = set(), set()
    for (a, first), (b, second) in combinations(enumerate(samples), 2):
        used = [both for both in _matched(first, second) if both[0] % ROUNDS in rounds]
        seen = _both(first, second, used) if used and _is_across(used) == across else (None, None)
        values = _logs(first, second, seen[0], seen[1], used)[0].values if seen[0] and seen[1] else ()
        if len(values) >= LEAST_BLOCKS:  # who left at an earlier look has fewer of the rounds
            found.append(values)
            cases |= {a, b}
            groups |= {number // ROUNDS for both in used for number in both}
    # What blocks of one network have in common cancels within them and is all the same to pairs across them.
    return spread.of_all(found, len(groups) if across else len(cases) - len(groups) + 1)


def _is_across(used: list[tuple[int, int]]) -> bool:
    return used[0][0] != used[0][1]


def _detectable(logs: Logs, noise: Noise, looks: Looks, pairs: int) -> float:
    """The smallest true difference that blocks as noisy as these would find at the last look."""
    blocks, alpha = looks[-1]
    half = logs.half_width_of(blocks, noise, alpha / pairs, 2 * (1 - POWER))
    return math.expm1(math.log1p(DIFFERENT) + half)


def _logs(
    first: Sample, second: Sample, a: Seen, b: Seen, used: list[tuple[int, int]]
) -> tuple[Logs, list[float]]:
    """The log ratios of blocks, and those brought to the quiet level.

    The first are the second where too few blocks have quiet runs enough, as where neighbours never rest, and
    in a session above the record.
    """
    numbers = tuple(n for n, _ in used), tuple(n for _, n in used)
    gated = _differences(a.quiet_log, b.quiet_log, used)
    at_level = first.adjusted(numbers[0], a), second.adjusted(numbers[1], b)
    moved = _differences(at_level[0].values, at_level[1].values, used)
    known = bool(moved) and all(each.known for each in at_level)
    too_few = len(gated) < _gate_needs(len(used)) and len(moved) >= LEAST_BLOCKS
    if known and (too_few or any(first.above)):
        every = fmean(_differences(a.every_log, b.every_log, used))
        unlike = math.hypot(*(each.unlike for each in at_level))
        return Logs(moved, fmean(moved) - every, cache=first.above[0], unlike=unlike), moved
    return Logs(() if any(first.above) else gated), moved
