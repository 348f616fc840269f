"""Runtimes do what they are asked and no more: no torch to load, no network, nothing on stdout, no logger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unetbench import parts

OTHERS = [
    name
    for name in parts.names("runtime")
    if not parts.find("runtime", name).missing
    and "torch" not in parts.find("runtime", name).constants["REQUIRES"]
]
# A socket that is opened, or a process that is started, ends the script; pnnx is a program of its own, and
# ctypes asks ldconfig where a library is.
_GUARD = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"opened a connection: {event} {arguments}")
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn") and not any(
        known in str(arguments) for known in ("pnnx", "ldconfig")
    ):
        raise SystemExit(f"started a process: {arguments}")
sys.addaudithook(watch)
"""
_CONVERT = """
import numpy as np, torch
from torch import nn
from pathlib import Path
from unetbench import parts
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
module = parts.find("runtime", sys.argv[1]).module()
image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
for precision in sys.argv[3:]:
    folder = Path(sys.argv[2]) / precision
    module.convert(model, (image,), precision=precision, options={}, threads=1, folder=folder, calibration=((image,),))
"""
_LOAD = """
import numpy as np
from pathlib import Path
from unetbench import parts
from unetbench.runtimes import Artifact
module = parts.find("runtime", sys.argv[1]).module()
session = module.load(Artifact(precision=sys.argv[3], folder=Path(sys.argv[2])), threads=1)
session.bind(np.ones((1, 3, 32, 32), np.float32))
session.run()
assert session.read().shape == (1, 2, 32, 32)
heavy = {"torch", "timm", "onnx", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
_LAST = """
refused = [name for name in sys.modules if name.startswith(("MNN.tools", "openvino_telemetry"))
           and sys.modules[name] is not None]
assert not refused, refused
"""


def _ran(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _GUARD + code + _LAST, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


@pytest.mark.parametrize("name", OTHERS)
def test_converting_and_loading_stay_on_this_machine_and_loading_needs_no_torch(
    name: str, tmp_path: Path
) -> None:
    # bf16 is a hint of the same session, refused where the CPU has none.
    precisions = [each for each in parts.find("runtime", name).constants["PRECISIONS"] if each != "bf16"]
    for precision in precisions:
        (tmp_path / precision).mkdir()
    _ran(_CONVERT, name, str(tmp_path), *precisions)
    for precision in precisions:
        folder = tmp_path / precision
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 0
        assert _ran(_LOAD, name, str(folder), precision) == "", "stdout is the caller's"


def test_the_guard_can_fail() -> None:
    with pytest.raises(AssertionError, match="opened a connection"):
        _ran("import socket; socket.getaddrinfo('localhost', 1)")
    with pytest.raises(AssertionError, match="started a process"):
        _ran("import subprocess; subprocess.run(['true'])")
