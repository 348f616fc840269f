"""What this machine will allow, in sentences: cores, memory, instruction sets, bf16, int8, noise, runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from unetbench import machine, parts
from unetbench.measuring.canary import Canary
from unetbench.measuring.forecast import listen
from unetbench.measuring.preflight import bf16, int8
from unetbench.measuring.session import probed

_GIB = 1 << 30
_HUGE_PAGES = {
    "always": "always: no recipe needs to ask for them",
    "madvise": "madvise: given where asked for, as by torch_compile[hugepages=1]",
    "never": "never: torch_compile[hugepages=1] changes nothing here",
}


def findings() -> Iterator[str]:
    """Give the findings, one a line; the probes take a few seconds, listening takes ten."""
    facts = machine.machine()
    yield f"processor      {facts.cpu}{', ' + facts.virtualisation if facts.virtualisation else ''}"
    yield f"cores          {facts.cores} granted of {facts.logical_cpus} CPUs (affinity, quota and physical cores)"
    yield f"memory         {facts.memory_bytes / _GIB:.1f} GiB granted"
    yield f"instructions   {' '.join(facts.instruction_sets) or 'none of those known'}"
    yield f"governor       {facts.governor or 'not visible'}"
    yield f"huge pages     {_HUGE_PAGES.get(facts.huge_pages or '', 'not visible')}"
    yield f"versions       {', '.join(f'{name} {version}' for name, version in facts.versions)}"
    for name in parts.names("runtime"):
        part = parts.find("runtime", name)
        lacking = f"unavailable: {', '.join(part.missing)} is not installed" if part.missing else "there"
        for precision in part.constants["PRECISIONS"] if not part.missing else ():
            if without := part.missing_for(precision):
                lacking += f", without {precision}: {', '.join(without)} is not installed"
        yield f"runtime        {name}: {lacking}"
    with TemporaryDirectory(prefix="unetbench-") as scratch:
        known = probed(Path(scratch))
    finding = bf16(machine.bf16_instructions(), known)
    yield f"precision      {finding}"
    if not finding.go:
        yield "               bf16 recipes are measured in fp32 instead, unless --force is given"
    yield f"precision      {int8(facts.instruction_sets, known)}"
    yield from _noise(facts.cores)


def _noise(threads: int) -> Iterator[str]:
    """Listen for ten seconds; nothing else runs meanwhile."""
    canary = Canary(threads)
    noise = listen(canary.read)
    canary.close()
    cache, memory = noise.quiet_ms
    yield (
        f"noise          {noise.quiet_share:.0%} of ten seconds were quiet, the loudest reading was "
        f"{noise.loudest:.2f} × the quiet one (canaries {cache:.2f} ms in cache, {memory:.2f} ms in memory)"
    )
    if noise.detectable is None:
        yield (
            "resolution     too noisy for a verdict by quiet runs within ten minutes: louder ones will count too, brought to the "
            "quiet level by their canaries, and tell differences of about 10 % and more"
        )
    else:
        yield (
            f"resolution     about {noise.detectable:.1%}: the smallest difference between two recipes of a "
            "100 ms network that ten minutes of --preset standard would find 4 times in 5"
        )
