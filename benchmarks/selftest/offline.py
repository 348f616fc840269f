"""Proof 15: nothing leaves the machine, and nothing tries to. Every runtime converts and runs a small network in
a namespace without a network, where the kernel counts each packet that finds no route; where strace is there,
it sees every process's connections, else that figure is missed. Both must see our own try.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Figure, publish

from unetbench import parts
from unetbench.results import load

_CUT = ["unshare", "--net", "--map-root-user"]  # a network of its own, with nothing in it
_RECIPES = (
    "torch_eager/fp32", "torch_compile/fp32+reparameterize", "torch_compile/int8", "onnxruntime/fp32", "onnxruntime/int8",
    "openvino/fp32", "openvino/int8", "ncnn/fp32", "mnn/fp32", "openvino>mnn/fp32",
)  # fmt: skip
_SEEN = "connect,sendto,sendmsg,sendmmsg"  # the system calls with which something leaves a process
_OUTWARD = re.compile(r"sa_family=AF_INET6?\b")


def main() -> None:
    """Run the sweep in the namespace and publish what was seen."""
    assert {name for recipe in _RECIPES for name in recipe.partition("/")[0].split(">")} == set(
        parts.names("runtime")
    ), "one is left out"
    with TemporaryDirectory(prefix="unetbench-") as name:
        suite = Path(name)
        recipes = ", ".join(f'"{recipe}"' for recipe in _RECIPES)
        (suite / "suite.toml").write_text(
            f'title = "offline"\nencoders = ["test_byobnet"]\nsizes = ["64x64"]\nrecipes = [{recipes}]\n',
            encoding="utf-8",
        )
        told = subprocess.run(
            [*_CUT, sys.executable, __file__, str(suite)],
            stdout=subprocess.PIPE, text=True, check=True,
            # A cache of its own: what was converted before would not be converted again.
            env=os.environ | {"XDG_CACHE_HOME": str(suite / "cache")},
        ).stdout  # fmt: skip
        seen = json.loads(told.splitlines()[-1])
        results = load(suite / "results" / "results.sqlite").results
    publish("15", "nothing leaves the machine", [_ran(results, seen), *_tries(seen)])


def _ran(results: tuple, seen: dict) -> Figure:  # type: ignore[type-arg]
    """A wrong output has run: that int8 disturbs a network with random weights is another matter."""
    failures = [each.failure for each in results if each.failure]
    lost = [f"{each.kind}: {each.message}"[:80] for each in failures if each.kind != "wrong output"]
    ran = len(results) - len(lost)
    note = "; ".join(lost) or f"{', '.join(_RECIPES)}; {len(failures)} of them not within int8's gate"
    return Figure(
        name="cases of every runtime converted and run without a network", value=f"{ran} of {len(_RECIPES)}",
        bar="all", met=ran == len(_RECIPES) and seen["cut"], note=note,
    )  # fmt: skip


def _tries(seen: dict) -> list[Figure]:  # type: ignore[type-arg]
    kernel, traced = seen["kernel"], seen["traced"]
    figures = [
        Figure(
            name="packets that found no route, counted by the kernel", value=str(kernel["sweep"]), bar="0",
            met=kernel["sweep"] == 0 and kernel["own"] > 0, note=f"our own three tries: {kernel['own']}",
        )
    ]  # fmt: skip
    name = "connections tried by any process, seen by strace"
    if traced is None:
        return [
            *figures,
            Figure(name=name, value="not looked for", bar="0", met=False, note="install strace"),
        ]
    note = f"our own three tries: {traced['own']}; {traced['first']}".rstrip("; ")
    met = traced["sweep"] == 0 and traced["own"] > 0
    return [*figures, Figure(name=name, value=str(traced["sweep"]), bar="0", met=met, note=note)]


def inside(suite: Path) -> None:
    """In the namespace: run the sweep, then try to connect; print what was counted of each."""
    sweep = [sys.executable, "-m", "unetbench", "run", str(suite)]
    tries = [sys.executable, "-c", "import offline; offline.try_to_leave()"]
    counted, traced = [_without_route()], []
    for number, command in enumerate((sweep, tries)):
        log = suite / f"{number}.strace"
        followed = (
            ["strace", "-f", "-qq", "-e", f"trace={_SEEN}", "-o", str(log)] if shutil.which("strace") else []
        )
        subprocess.run([*followed, *command], stdout=sys.stderr, cwd=Path(__file__).parent, check=False)
        counted.append(_without_route())
        traced.append(_outward(log) if followed else None)
    first, own = traced
    print(
        json.dumps(
            {
                "cut": not _reachable(),
                "kernel": {"sweep": counted[1] - counted[0], "own": counted[2] - counted[1]},
                "traced": None
                if first is None or own is None
                else {"sweep": len(first), "own": len(own), "first": first[0] if first else ""},
            }
        )
    )


def try_to_leave() -> None:
    """Try the ways out that libraries take: a connection, a datagram, a name."""
    with suppress(OSError):
        socket.create_connection(("1.1.1.1", 53), 2)
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"", ("1.1.1.1", 53))
    with suppress(OSError):
        socket.getaddrinfo("example.com", 443)


def _reachable() -> bool:
    try:
        socket.create_connection(("1.1.1.1", 53), 2)
    except OSError:
        return False
    return True


def _without_route() -> int:
    """The kernel's count of packets of this namespace that had nowhere to go, and of connections begun."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    found = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        kind, *columns = names.split()
        found |= {kind + name: int(value) for name, value in zip(columns, values.split()[1:], strict=True)}
    return (
        found["Ip:OutNoRoutes"]
        + found["Ip:OutRequests"]
        + found["Tcp:ActiveOpens"]
        + found["Udp:OutDatagrams"]
    )


def _outward(log: Path) -> list[str]:
    return [line[:120] for line in log.read_text(errors="replace").splitlines() if _OUTWARD.search(line)]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        inside(Path(sys.argv[1]))
    else:
        main()
