"""What this machine will allow, in sentences: cores, memory, instruction sets, bf16, runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from unetbench import machine, parts
from unetbench.measuring.session import probe_bf16

_GIB = 1 << 30


def findings() -> Iterator[str]:
    """Give the findings, one a line; the bf16 probe takes a few seconds."""
    facts = machine.machine()
    yield f"processor      {facts.cpu}{', ' + facts.virtualisation if facts.virtualisation else ''}"
    yield f"cores          {facts.cores} granted of {facts.logical_cpus} CPUs (affinity, quota and physical cores)"
    yield f"memory         {facts.memory_bytes / _GIB:.1f} GiB granted"
    yield f"instructions   {' '.join(facts.instruction_sets) or 'none of those known'}"
    yield f"governor       {facts.governor or 'not visible'}"
    yield f"versions       {', '.join(f'{name} {version}' for name, version in facts.versions)}"
    for name in parts.names("runtime"):
        part = parts.find("runtime", name)
        lacking = f"unavailable: {', '.join(part.missing)} is not installed" if part.missing else "there"
        yield f"runtime        {name}: {lacking}"
    with TemporaryDirectory(prefix="unetbench-") as scratch:
        finding = probe_bf16(Path(scratch))
    yield f"precision      {finding}"
    if not finding.go:
        yield "               bf16 recipes are measured in fp32 instead, unless --force is given"
