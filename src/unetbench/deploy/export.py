"""A measured case becomes a bundle: converted in a worker as for a measurement, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np

from unetbench import machine, parts, photos
from unetbench.amounts import counted
from unetbench.deploy import readme, standalone
from unetbench.deploy.bundle import Bundle, digest, opened
from unetbench.deploy.manifest import (
    FORMAT,
    INPUT,
    LOGITS,
    NAME,
    NETWORK,
    OVERLAP,
    Card,
    Certificate,
    Manifest,
    encoded,
)
from unetbench.deploy.verify import Trial
from unetbench.errors import BadInput, Unsupported, one_line
from unetbench.measuring import artifacts, reference, single
from unetbench.records import Case, Choice, Measurement, Recipe
from unetbench.runtimes._chosen import HALVES
from unetbench.store import reading

_ONNX = "network.onnx"  # at the top of the bundle, where it is asked for and not the runtime's own
_PLAIN = Choice("onnxruntime")  # its fp32 artifact is plain ONNX


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to export and where to."""

    case: Case
    to: Path
    images: Sequence[Path] = ()  # photographs that the test input is cut from
    store: Path | None = None  # whose time goes on the card, where it has this case
    onnx: bool = False  # plain ONNX beside the runtime's own files


def export(order: Order, on_phase: Callable[[str], None] = lambda _: None) -> Bundle:
    """Write a bundle and return it.

    Raises: Unsupported where the runtime's files do not travel; BadInput where the folder is taken;
    WorkerLost where the network cannot be converted or answers wrongly.
    """
    case = order.case
    refuse_what_stays(case.recipe)
    if order.to.exists() and (not order.to.is_dir() or any(order.to.iterdir())):
        raise BadInput(f"{str(order.to)!r} is there already and not empty: give a new folder with -o.")
    if order.to.resolve() == Path.cwd():
        raise BadInput(f"{str(order.to)!r} is the folder that you are in: give a new folder with -o.")
    card = None if order.store is None else stored_card(order.store, case)
    images = order.images or photos.default_photos()
    with TemporaryDirectory(prefix="unetbench-") as scratch, _unfinished(order.to) as made:
        prepared = single.prepared(case, images, Path(scratch), on_phase)
        write_files(made, case, prepared)
        if order.onnx and not _plain_onnx(made, case):
            recipe = replace(case.recipe, runtime=_PLAIN, precision="fp32", decoder_runtime=None)
            plain_case = replace(case, recipe=recipe)
            plain = single.prepared(plain_case, images, Path(scratch), on_phase)
            shutil.copyfile(plain.artifact / _ONNX, made / _ONNX)
            on_phase("checking the plain ONNX file")
            replace(trial(made, plain_case, plain), network=made).measured(on_phase)
        on_phase("checking what was written")
        measurement = trial(made, case, prepared).measured(on_phase)
        write_manifest(made, case, prepared, measurement, card)
    return opened(order.to)


def refuse_what_stays(recipe: Recipe) -> None:
    """Raise Unsupported, with the nearest recipe that travels, for a runtime whose network stays where it was made."""
    staying = [c.name for c in recipe.runtimes if "TRAVELS" not in parts.find("runtime", c.name).constants]
    if not staying:
        return
    able = [
        name
        for name in parts.names("runtime")
        if "TRAVELS" in (constants := parts.find("runtime", name).constants)
        and recipe.precision in constants["PRECISIONS"]
    ]
    nearest = _PLAIN.name if _PLAIN.name in able else able[0]
    instead = replace(recipe, runtime=Choice(nearest), decoder_runtime=None)
    raise Unsupported(
        f"recipe {str(recipe)!r} does not travel: {staying[0]} keeps its network in memory or as machine code "
        f"for this CPU; give --recipe {instead} (or another of {', '.join(able)})."
    )


def stored_card(store: Path, case: Case) -> Card:
    """Return the card of a case from the latest session of a store that has measured it.

    Raises: BadInput where none has; StoreError.
    """
    with reading(store) as opened_store:
        for session in reversed(opened_store.sessions()):
            for result in opened_store.results(session.identifier):
                if result.key == case.key() and result.alone and not result.failure:
                    return Card(
                        measured_utc=session.started_utc,
                        machine=session.machine,
                        measurement=result.alone[-1],
                    )
    raise BadInput(
        f"store {str(store)!r} has no time of {case.name} at {case.height_px}x{case.width_px} with "
        f"{counted(case.network.classes, 'class', 'classes')}, {counted(case.network.in_channels, 'channel')}, these weights and {counted(case.threads, 'thread')}: leave --store out to measure it now."
    )


def write_files(folder: Path, case: Case, prepared: single.Prepared) -> None:
    """Write what a bundle runs and is checked with."""
    network = folder / NETWORK
    for half, choice in _parts(case.recipe):
        (network / half).mkdir(parents=True)
        for name in parts.find("runtime", choice.name).constants["TRAVELS"]:
            shutil.copyfile(prepared.artifact / half / name, network / half / name)
    np.save(folder / INPUT, reference.images(prepared.reference)[0])
    np.save(folder / LOGITS, reference.answers(prepared.reference)[0][0].astype(np.float32))
    folders = [f"{NETWORK}/{half}".rstrip("/") for half, _ in _parts(case.recipe)]
    (folder / "predict.py").write_text(standalone.script(case.recipe, folders), encoding="utf-8")


def trial(folder: Path, case: Case, prepared: single.Prepared) -> Trial:
    """Return what a bundle's files are checked with before its manifest is there."""
    facts = artifacts.facts(prepared.artifact)
    assert facts is not None, "it has just been prepared"
    (expected, *_), (eager, *_) = reference.answers(prepared.reference)
    return Trial(
        case=case,
        network=folder / NETWORK,
        image=np.load(folder / INPUT, allow_pickle=False),
        expected=expected,
        eager_relative_error=eager,
        facts=facts,
    )


def write_manifest(
    folder: Path, case: Case, prepared: single.Prepared, measurement: Measurement, card: Card | None = None
) -> None:
    """Write the page about a bundle for people, then the one that holds the digest of every file."""
    here = machine.machine()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    mean, std, stride = reference.intake_facts(prepared.reference)
    manifest = Manifest(
        format=FORMAT,
        made_utc=now,
        versions=here.versions,
        network=case.network.canonical(),
        recipe=str(case.recipe),
        height_px=case.height_px,
        width_px=case.width_px,
        threads=case.threads,
        mean=mean,
        std=std,
        overlap=OVERLAP,
        unit_px=stride,
        certificate=Certificate(
            rewrites=measurement.rewrites,
            parity=measurement.parity,
            parameters=measurement.parameters,
            encoder_parameters=measurement.encoder_parameters,
            flop=measurement.flop,
        ),
        card=card or Card(measured_utc=now, machine=here, measurement=measurement),
        files={},
        onnx=_plain_onnx(folder, case),
    )
    (folder / "README.md").write_text(readme.text(manifest), encoding="utf-8")
    files = {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / NAME).write_bytes(encoded(replace(manifest, files=files)))


def _plain_onnx(folder: Path, case: Case) -> str | None:
    """Return where a bundle has the network as plain ONNX: what its runtime takes in int8 is none."""
    if (folder / _ONNX).is_file():
        return _ONNX
    own = f"{NETWORK}/{_ONNX}"
    return own if case.recipe.precision == "fp32" and (folder / own).is_file() else None


def _parts(recipe: Recipe) -> Iterator[tuple[str, Choice]]:
    """Give each runtime with its folder within the network's: none where it is the only one."""
    yield from zip(HALVES if len(recipe.runtimes) > 1 else ("",), recipe.runtimes, strict=True)


@contextmanager
def _unfinished(to: Path) -> Iterator[Path]:
    """Give an empty folder beside the one to write; it takes its place at the end, or leaves nothing.

    Raises: BadInput where it cannot be written.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    except OSError as error:
        raise BadInput(
            f"folder {str(to)!r} cannot be written ({error.strerror}): give another with -o."
        ) from error
    try:
        yield made
        made.chmod(0o755)
        made.replace(to)
    except OSError as error:
        if not str(error.filename2 or error.filename or made).startswith(
            str(made)
        ):  # another file, met on the way
            raise
        raise BadInput(
            f"folder {str(to)!r} cannot be written ({error.strerror or one_line(error)}): make room, or give another with -o."
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
