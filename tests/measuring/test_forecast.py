"""What ten seconds of canaries mean, with a clock that moves only when told."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from unetbench.measuring.forecast import Noise, listen


def _noise(spread: float, loud_share: float = 0.0) -> Noise:
    now = [0.0]
    random = Random(1)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def read() -> tuple[int, int]:
        factor = random.gauss(1.0, spread) * (2.0 if random.random() < loud_share else 1.0)
        return round(1e6 * factor), round(6e5 * factor)

    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    return listen(read, clock=clock, sleep=sleep)


def test_a_quiet_machine_resolves_a_few_percent() -> None:
    noise = _noise(0.01)
    assert noise.quiet_share > 0.9
    assert noise.detectable is not None
    assert 0.01 < noise.detectable < 0.05
    assert 0.9 < noise.quiet_ms[0] < 1.0


def test_a_noisy_machine_resolves_less() -> None:
    quiet, noisy = _noise(0.01), _noise(0.02, loud_share=0.3)
    assert noisy.quiet_share < 0.7
    assert noisy.loudest > 1.9
    assert noisy.detectable is None or quiet.detectable is None or noisy.detectable > quiet.detectable


def test_a_machine_that_is_hardly_ever_quiet_resolves_nothing_in_ten_minutes() -> None:
    assert _noise(0.3).detectable is None
