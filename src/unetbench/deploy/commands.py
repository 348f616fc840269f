"""The verbs of a bundle: options of the command line to one call, lines and an exit code. Prints nothing itself."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial

from unetbench import machine, photos, suite
from unetbench.deploy.manifest import MOST_OVERLAP
from unetbench.errors import BadInput

Write = Callable[[str], None]


def export(options: Namespace, write: Write, complain: Write) -> int:
    """Write a bundle and say what is in it."""
    from unetbench.deploy import export as exporting
    from unetbench.deploy import verify as verifying

    asked = suite.Suite(
        networks=(suite.network_text(options.network),),
        recipes=(options.recipe,),
        sizes=(options.size,),
        classes=options.classes,
        in_channels=options.channels,
        weights=options.weights,
    )
    (case,) = asked.cases(machine.threads_or_granted(options.threads))
    order = exporting.Order(
        case=case,
        to=options.out,
        images=photos.folder_photos(options.images),
        store=options.store,
        onnx=options.onnx,
    )
    manifest = (bundle := exporting.export(order)).manifest
    agreement = verifying.agreement(manifest.certificate.parity)
    card = verifying.time_text(manifest.card)
    for heading, said in (*verifying.about(bundle), ("agreement", agreement), ("card", card)):
        write(f"{heading:12} {said}")
    write(f"wrote {options.out}: `unetbench verify {options.out}` on the machine where it is to run")
    return 0


def verify(options: Namespace, write: Write, complain: Write) -> int:
    """Check a bundle here and say what was found."""
    from unetbench.deploy.verify import verified

    found = verified(options.bundle, threads=options.threads, fingerprint=options.fingerprint)
    for heading, said in found.findings:
        write(f"{heading:12} {said}")
    write(found.verdict)
    return 0 if found.passed else 1


def predict(options: Namespace, write: Write, complain: Write) -> int:
    """Segment images and say what became of them and what a whole image costs."""
    from rich.console import Console

    from unetbench.deploy import predict as predicting
    from unetbench.deploy import progress
    from unetbench.deploy.segment import MEMORY_BYTES

    if options.overlap is not None and options.overlap > MOST_OVERLAP:
        raise BadInput(f"--overlap {options.overlap:.0%} is too much: give up to {MOST_OVERLAP:.0%}.")
    order = predicting.Order(
        bundle=options.bundle,
        images=options.images,
        out=options.out,
        overlap=options.overlap,
        threads=options.threads,
        memory_bytes=options.memory or MEMORY_BYTES,
        format=options.format,
    )
    summary = predicting.predict(order, partial(progress.observer, Console(), write, complain))
    for line in progress.lines(summary):
        write(line)
    return 1 if summary.failed else 0


COMMANDS: Mapping[str, Callable[[Namespace, Write, Write], int]] = {
    "export": export,
    "verify": verify,
    "predict": predict,
}
