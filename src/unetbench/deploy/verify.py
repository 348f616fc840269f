"""Does a bundle do here what it did where it was exported? Files, answer, time; one verdict.

The network is loaded and run in a process of its own, contained as every measurement is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from unetbench import machine
from unetbench.amounts import counted
from unetbench.deploy.bundle import Bundle, opened
from unetbench.deploy.manifest import NETWORK, Card
from unetbench.errors import BadInput, WorkerLost, one_line
from unetbench.measuring import artifacts, reference, single
from unetbench.measuring.parity import Floats
from unetbench.records import Case, Measurement, Parity
from unetbench.runtimes import Image
from unetbench.stats import disturbed, summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, as heading and text, and whether the bundle may be used here."""

    findings: tuple[tuple[str, str], ...]
    verdict: str
    passed: bool


def verified(
    folder: Path,
    *,
    threads: int | None = None,
    fingerprint: str | None = None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Check a bundle's files, its answer against the fp64 reference's, and its time against the card.

    Raises: BadInput where it is tampered with, damaged or not the one meant; MissingPackage.
    """
    bundle = opened(folder)
    if fingerprint is not None and bundle.fingerprint != fingerprint.strip().lower():
        raise BadInput(
            f"bundle {str(folder)!r} has the fingerprint {bundle.fingerprint}, another than the one given: "
            "its files agree with each other, but it is another bundle, or was changed."
        )
    threads = machine.threads_or_granted(threads or min(bundle.manifest.threads, machine.granted_cores()))
    findings = [*about(bundle)]
    try:
        measurement = measured(bundle, threads, on_phase)
    except WorkerLost as lost:
        wrong = "the answer is wrong" if lost.kind == "wrong output" else f"{lost.kind} while {lost.stage}"
        return Verdict(
            findings=tuple(findings),
            verdict=f"NOT VERIFIED: every file is whole, but {wrong}: {lost.message}",
            passed=False,
        )
    findings.append(("agreement", agreement(measurement.parity)))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    here = Card(measured_utc=now, machine=machine.machine(), measurement=measurement)
    findings += [("card", time_text(bundle.manifest.card)), ("here", time_text(here))]
    return Verdict(findings=tuple(findings), verdict=_verdict(bundle.manifest.card, here), passed=True)


def measured(bundle: Bundle, threads: int, on_phase: Callable[[str], None]) -> Measurement:
    """Measure a bundle as the quick preset measures a case, on its test input.

    Raises: WorkerLost where it does not run here, or answers wrongly.
    """
    certificate, card = bundle.manifest.certificate, bundle.manifest.card.measurement
    facts = {
        "parameters": certificate.parameters,
        "encoder_parameters": certificate.encoder_parameters,
        "flop": certificate.flop,
        "rewrites": msgspec.to_builtins(certificate.rewrites),
        "import_s": card.import_s,
        "build_s": card.build_s,
        "rewrite_s": card.rewrite_s,
        "prepare_s": card.prepare_s - (card.load_s or 0.0),
        "peak_build_bytes": card.peak_build_bytes,
    }
    trial = Trial(
        case=bundle.manifest.case(threads),
        network=bundle.folder / NETWORK,
        image=bundle.check_input(),
        expected=bundle.expected().astype("float64"),
        eager_relative_error=certificate.parity.eager_relative_error,
        facts=facts,
    )
    return trial.measured(on_phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a network that has travelled is run and checked with. Shapes: image and answer (1, …, H, W)."""

    case: Case
    network: Path  # the folder of what its runtime loads
    image: Image
    expected: Floats
    eager_relative_error: float
    facts: Mapping[str, Any]  # of its conversion

    def measured(self, on_phase: Callable[[str], None]) -> Measurement:
        """Measure it in a fresh process. Raises: WorkerLost."""
        with TemporaryDirectory(prefix="unetbench-") as scratch:
            known, made, place = (Path(scratch) / name for name in ("known", "made", "artifact"))
            try:
                known.mkdir()
                reference.write_answers(
                    known, self.image[None], self.expected[None], [self.eager_relative_error]
                )
                shutil.copytree(self.network, made)
                artifacts.seal(made, place, self.facts)
            except OSError as error:  # some have no errno and no file's name
                raise BadInput(
                    f"folder {str(Path(scratch).parent)!r} takes no copy of the network ({one_line(error)}): "
                    "make room, or give TMPDIR another."
                ) from error
            return single.measured(self.case, known, place, Path(scratch), on_phase)


def about(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Give heading and text of what a bundle is."""
    manifest = bundle.manifest
    case = manifest.case()
    versions = dict(manifest.versions)
    yield (
        "bundle",
        f"{case.network.name} {case.recipe}, {case.height_px}x{case.width_px}, "
        f"{counted(case.network.in_channels, 'channel')} to {counted(case.network.classes, 'class', 'classes')}",
    )
    yield "made", f"{manifest.made_utc} by unetbench {versions.get('unetbench', 'unknown')}"
    yield "files", f"{len(manifest.files)} whole, {bundle.size_bytes / 1e6:.1f} MB"
    yield "fingerprint", bundle.fingerprint


def agreement(parity: Parity) -> str:
    """Say how an answer compares with the fp64 reference's."""
    return (
        f"{parity.measured_class}: relative error {parity.relative_error:.1e} against fp64 "
        f"(eager fp32: {parity.eager_relative_error:.1e}), {parity.agreement:.4%} of the pixels in the same class"
    )


def time_text(card: Card) -> str:
    """Say a card's time with the conditions that it was measured under."""
    times = summary(card.measurement.run_ns)
    threads = card.measurement.in_force.get("threads", "?")
    noise = "not quiet" if disturbed(card.measurement.waiting_share) else "quiet"
    peak = card.measurement.peak_run_bytes / 1e6
    holding = " with what measuring held" if card.measurement.held_bytes is None else ""
    return (
        f"{times.median_ms:.2f} ms ({times.low_ms:.2f} to {times.high_ms:.2f}, {times.runs} runs of one process, "
        f"{noise}), {peak:.0f} MB{holding}; {counted(threads, 'thread')}, {card.machine.cpu}, {card.measured_utc}"
    )


def _verdict(card: Card, here: Card) -> str:
    """Say in one line what was found; of two processes on two days no verdict on speed is stated."""
    ratio = summary(here.measurement.run_ns).median_ms / summary(card.measurement.run_ns).median_ms
    differing = [*here.machine.differs_from(card.machine)]
    if here.measurement.in_force.get("threads") != card.measurement.in_force.get("threads"):
        differing.append("threads")
    where = f"where {', '.join(differing)} differ" if differing else "on the same kind of machine"
    noise = ", but this machine is busy" if disturbed(here.measurement.waiting_share) else ""
    return (
        f"VERIFIED: every file is whole, the answer is {here.measurement.parity.measured_class}; "
        f"{ratio:.2f} × the card's time {where}{noise}"
    )
