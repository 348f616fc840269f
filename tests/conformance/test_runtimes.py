"""Every runtime that discovery finds keeps the session's contract in each of its precisions."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from unetbench import machine, parts, prepare
from unetbench.errors import BadInput, MissingPackage
from unetbench.measuring.parity import EXACT_ERROR, compare, fault, relative_error
from unetbench.records import Choice
from unetbench.runtimes import Artifact, Session

Floats = NDArray[np.floating]

CASES = [
    (name, precision)
    for name in parts.names("runtime")
    for precision in parts.find("runtime", name).constants["PRECISIONS"]
]
OPTIONS = [
    (name, key, value)
    for name in parts.names("runtime")
    for key, values in parts.find("runtime", name).constants.get("OPTIONS", {}).items()
    for value in values
]
IMAGES = np.random.default_rng(0).normal(size=(2, 2, 3, 40, 33)).astype(np.float32)  # two of a batch of two

runtimes = pytest.mark.parametrize("name", parts.names("runtime"))
cases = pytest.mark.parametrize(("name", "precision"), CASES)


@pytest.fixture(autouse=True)
def _torch_is_left_as_it_was() -> Iterator[None]:
    """The torch runtimes flush denormals and set the threads of this process; other tests count on them."""
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def _the_same_is_compiled_once() -> Iterator[None]:
    """Inductor takes ten seconds a package; what it is given says which are the same."""
    compile_, made = torch._inductor.aoti_compile_and_package, {}

    def compiled(program: Any, *, package_path: str, inductor_configs: dict[str, object]) -> str:
        weights = [(name, each.numpy().tobytes()) for name, each in program.state_dict.items()]
        key = (str(program), *weights, str(inductor_configs), torch.get_num_threads())
        if key in made:
            Path(package_path).write_bytes(made[key])
            return package_path
        compile_(program, package_path=package_path, inductor_configs=inductor_configs)
        made[key] = Path(package_path).read_bytes()
        return package_path

    torch._inductor.aoti_compile_and_package = compiled  # type: ignore[assignment]
    yield
    torch._inductor.aoti_compile_and_package = compile_


@cache
def _model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 2, 1)
        )
        model(torch.randn(4, 3, 32, 32))  # statistics of its own
    return model.eval()


@cache
def _exact(index: int) -> Floats:
    """What fp64 eager answers to an image. Shapes: (B, classes, H, W)."""
    model = deepcopy(_model()).double()
    with torch.inference_mode():
        answer: Floats = model(torch.from_numpy(IMAGES[index]).double()).numpy()
    return answer


def _session(name: str, precision: str = "fp32", *, options: str = "", threads: int = 1) -> Session:
    """A fresh session on what was converted once."""
    part = parts.find("runtime", name)
    if part.missing:
        pytest.skip(f"{', '.join(part.missing)} is not installed")
    if precision == "bf16" and not machine.bf16_instructions():
        pytest.skip("bf16 is emulated on this machine: it has none of " + ", ".join(machine.BF16_SETS))
    artifact = _converted(name, precision, options, threads)
    session: Session = part.module().load(artifact, threads=threads)
    session.bind(IMAGES[0])
    return session


@cache
def _converted(name: str, precision: str, options: str, threads: int) -> Artifact:
    module = parts.find("runtime", name).module()
    artifact: Artifact = module.convert(
        _model(),
        (IMAGES[0],),
        precision=precision,
        options=dict(Choice.parse(name + options).options),
        threads=threads,
        folder=None if module.IN_PROCESS else Path(mkdtemp(prefix="unetbench-test-")),
        calibration=tuple((image,) for image in IMAGES),
    )
    return artifact


def _answer(session: Session) -> NDArray[np.float32]:
    session.run()
    return session.read()


@cases
def test_a_session_binds_runs_and_reads(name: str, precision: str) -> None:
    session = _session(name, precision)  # the first image is bound already
    for index in (0, 1, 0):
        assert session.run() is None  # type: ignore[func-returns-value]
        answer = session.read()
        assert (type(answer), answer.dtype, answer.shape) == (np.ndarray, np.float32, (2, 2, 40, 33))
        found = compare(_exact(index), answer, eager_relative_error=1e-7)
        assert fault(_exact(index), answer, found, precision) is None
        if precision == "fp32":
            assert found.relative_error <= EXACT_ERROR
        else:
            assert found.relative_error > EXACT_ERROR, "the precision is what it says"
        session.bind(IMAGES[1 - index])
    assert relative_error(_exact(0), _exact(1)) > 0.1, "else a session could keep its first answer"


@cases
def test_counters_tell_the_time_of_modules(name: str, precision: str) -> None:
    """Of a runtime that has some: what is no module's own is the network's, and nothing is counted twice."""
    _session(name, precision)  # skipped where it cannot run here
    module = parts.find("runtime", name).module()
    if not hasattr(module, "profiled"):
        pytest.skip(f"{name} has no counters")
    artifact = _converted(name, precision, "", 1)
    found = module.profiled(artifact, threads=1, inputs=(IMAGES[0],), warmups=1, runs=3)
    assert len(found) == 3
    known = {"", *(of for of, _ in _model().named_modules())}
    for spent in found:
        assert set(spent) <= known
        first, last = (sum(spent.get(name, 0) for name in names) for names in (("0", "1", "2"), ("3", "")))
        assert min(first, last) > 0, "with what was fused into them, both convolutions took time"
        assert first + last < 1e9


@cases
def test_an_answer_that_was_read_is_the_readers_own(name: str, precision: str) -> None:
    session = _session(name, precision)
    first = _answer(session)
    kept = first.copy()
    session.bind(IMAGES[1])
    other = _answer(session)
    assert np.array_equal(first, kept), "a later run does not reach it"
    other[:] = 0.0
    assert session.read().any(), "nor does the reader reach the session's"


@cases
def test_what_was_bound_stays_bound(name: str, precision: str) -> None:
    session = _session(name, precision)
    first = _answer(session)
    image = IMAGES[0].copy()
    session.bind(image)
    image[:] = 0.0
    assert np.array_equal(_answer(session), first)
    assert np.array_equal(_answer(session), first), "and a run uses nothing up"


@cases
def test_threads_and_denormals_are_read_back_as_asked(name: str, precision: str) -> None:
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for threads in sorted({1, min(2, most)}):
        session = _session(name, precision, threads=threads)
        session.run()
        assert session.in_force()["threads"] == str(threads)
        assert session.in_force()["denormals"] == "flushed"


@runtimes
def test_threads_not_asked_are_the_cores_granted_and_no_file_stays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _session(name)  # skips where it cannot run
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    session = prepare(_model(), IMAGES[0], runtime=name)
    assert session.in_force()["threads"] == str(machine.granted_cores())
    files = not parts.find("runtime", name).constants["IN_PROCESS"]
    assert bool(list(tmp_path.glob("unetbench-*"))) == files, "as long as it lives"
    del session
    gc.collect()
    assert not list(tmp_path.glob("unetbench-*")), "the converted network goes with its session"


@pytest.mark.parametrize(("name", "key", "value"), OPTIONS)
def test_an_option_leaves_the_answer_exact(name: str, key: str, value: str) -> None:
    options = f"[{key}={value}]"
    environment = parts.environment(Choice.parse(name + options))
    if environment:  # as workers start with it
        answer = _answer_of_a_fresh_process(name, options, environment)
    else:
        answer = _answer(_session(name, options=options))
    assert relative_error(_exact(0), answer) <= EXACT_ERROR


TELLING = [each for each in OPTIONS if each[0] in ("ncnn", "onnxruntime")]  # who reads options back


@pytest.mark.parametrize(("name", "key", "value"), TELLING)
def test_an_option_arrives_in_the_runtime(name: str, key: str, value: str) -> None:
    usual = parts.find("runtime", name).constants["OPTIONS"][key][0]
    asked = _session(name, options=f"[{key}={value}]").in_force()[key]
    assert (asked != _session(name).in_force()[key]) == (value != usual)


def test_mnn_computes_otherwise_by_its_winograd_level_and_on_as_many_threads_as_are_asked_for() -> None:
    """It tells neither; what it does can be seen."""
    _session("mnn")  # skips where it cannot run
    code = (
        "import os, sys, hashlib, numpy as np, torch; from pathlib import Path; from tempfile import mkdtemp\n"
        "from unetbench import parts\n"
        "torch.manual_seed(0); torch.set_num_threads(1)\n"
        "model = torch.nn.Conv2d(64, 64, 3, padding=1).eval()\n"
        "image = np.random.default_rng(0).random((1, 64, 96, 96), np.float32)\n"
        "module = parts.find('runtime', 'mnn').module()\n"
        "options = {'winograd': sys.argv[1]}\n"
        "made = module.convert(model, (image,), precision='fp32', options=options, threads=1, folder=Path(mkdtemp()), calibration=())\n"
        "before = set(os.listdir('/proc/self/task'))\n"
        "session = module.load(made, threads=int(sys.argv[2])); session.bind(image); session.run()\n"
        "print(len(set(os.listdir('/proc/self/task')) - before), hashlib.sha256(session.read().tobytes()).hexdigest())"
    )

    def said(winograd: int, threads: int) -> list[str]:
        command = [sys.executable, "-c", code, str(winograd), str(threads)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]

    direct, tiled, two = said(0, 1), said(3, 1), said(3, 2)
    assert direct[1] != tiled[1]
    assert int(two[0]) - int(tiled[0]) == 1


def _answer_of_a_fresh_process(name: str, options: str, environment: Mapping[str, str]) -> Floats:
    code = (
        "import sys; from tests.conformance import test_runtimes as here;"
        "sys.stdout.buffer.write(here._answer(here._session(sys.argv[1], options=sys.argv[2])).tobytes())"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, name, options],
        env={**os.environ, **environment, "PYTHONPATH": root}, capture_output=True, check=True,
    )  # fmt: skip
    shape = _exact(0).shape
    return np.frombuffer(done.stdout[-4 * int(np.prod(shape)) :], np.float32).reshape(shape)


@pytest.mark.parametrize("name", ["torch_eager", "torch_compile"])
def test_huge_pages_must_be_asked_for_before_torch_starts(name: str) -> None:
    _session(name)
    with pytest.raises(BadInput, match="started with THP_MEM_ALLOC_ENABLE=1"):
        asked = replace(_converted(name, "fp32", "", 1), options={"hugepages": "1"})
        parts.find("runtime", name).module().load(asked, threads=1)


def test_freezing_reaches_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(program: object, *, package_path: str, inductor_configs: dict[str, object]) -> None:
        asked.append(inductor_configs)
        raise RuntimeError("asked")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", refuse)
    for options in ("", "[freezing=0]", "[freezing=1]"):
        with pytest.raises(RuntimeError, match="asked"):
            prepare(_model(), IMAGES[0], runtime=f"torch_compile{options}", threads=1)
    assert asked == [{"freezing": False}, {"freezing": False}, {"freezing": True}]


@pytest.mark.parametrize(
    ("name", "package"), [("torch_compile", "torchao.quantization.pt2e"), ("openvino", "nncf")]
)
def test_int8_without_its_package_names_what_to_install(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _session(name)  # skips where it cannot run
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    extra = package.partition(".")[0]
    with pytest.raises(MissingPackage, match=rf"needs {extra} for int8: install it with .*\[{extra}\]"):
        prepare(_model(), IMAGES[0], runtime=name, precision="int8", threads=1)


@cases
def test_weights_are_untouched(name: str, precision: str) -> None:
    before = {key: value.clone() for key, value in _model().state_dict().items()}
    _answer(_session(name, precision))
    after = _model().state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@runtimes
def test_a_model_in_training_is_run_as_for_inference(name: str) -> None:
    expected = _answer(_session(name))  # skips where it cannot run
    model = deepcopy(_model()).train()
    session = prepare(model, IMAGES[0], runtime=name, threads=1)
    assert relative_error(expected, _answer(session)) <= EXACT_ERROR
    assert all(each.training for each in model.modules()), "it goes on training"


@runtimes
def test_bad_input_is_refused(name: str) -> None:
    image = np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises(BadInput, match=r"unknown precision 'fp7'.*fp32"):
        prepare(_model(), image, runtime=name, precision="fp7")
    for wrong in (image[0], image.astype(np.float64), image[..., :31], image[..., :31, :]):
        with pytest.raises(BadInput, match="is not accepted"):
            prepare(_model(), wrong, runtime=name)
    with pytest.raises(BadInput, match="no_such_option"):
        prepare(_model(), image, runtime=f"{name}[no_such_option=1]")
    for threads in (0, 100_000):
        with pytest.raises(BadInput, match=f"threads {threads} is not possible"):
            prepare(_model(), image, runtime=name, threads=threads)


def test_an_unknown_runtime_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match=r"unknown runtime 'torch_eagre'.*torch_eager"):
        prepare(_model(), IMAGES[0], runtime="torch_eagre")


@runtimes
def test_the_file_gives_what_the_contract_names(name: str) -> None:
    part = parts.find("runtime", name)
    assert part.summary.endswith(".")
    assert part.constants["PRECISIONS"][0] == "fp32"
    assert isinstance(part.constants["IN_PROCESS"], bool)
    for option, value in part.constants.get("DIRECT", {}).items():
        assert value in part.constants["OPTIONS"][option]
    if not part.missing:
        module = part.module()
        assert {"precision", "options", "folder"} <= inspect.signature(module.convert).parameters.keys()
        assert "threads" in inspect.signature(module.load).parameters
