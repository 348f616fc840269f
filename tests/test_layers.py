"""The arrows of docs/architecture.md, executed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import unetbench

SOURCE = Path(unetbench.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TORCH = {"torch", "timm", "torchvision", "safetensors"}
IN_WORKERS = {f"measuring/{name}.py" for name in ("worker", "reference", "probe", "limits")}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ({node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)})


def _place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _ours(path: Path) -> set[str]:
    return {name.removeprefix("unetbench.") for name in _imported(path) if name.startswith("unetbench.")}


@pytest.mark.parametrize("path", FILES, ids=_place)
def test_torch_is_imported_by_networks_rewrites_runtimes_and_workers_alone(path: Path) -> None:
    allowed = _place(path).startswith(("networks/", "rewrites/", "runtimes/")) or _place(path) in IN_WORKERS
    found = {name.partition(".")[0] for name in _imported(path)} & TORCH
    assert allowed or not found, f"{_place(path)} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=_place)
def test_every_import_names_its_module_in_full(path: Path) -> None:
    """The checks here read names: a relative or computed import would pass them by."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{_place(path)}: {ast.unparse(node)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            assert _place(path) in ("__init__.py", "parts.py"), f"{_place(path)}: {ast.unparse(node)}"


def test_a_worker_starts_without_what_only_some_of_its_turns_need() -> None:
    heavy = ("PIL", "importlib.metadata", "torch", "scipy")
    code = f"import sys; import unetbench.measuring.worker; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        "records/__init__.py",
        "records/asked.py",
        "records/found.py",
        "records/limits.py",
        "keys.py",
        "errors.py",
    ],
)
def test_the_lowest_layer_imports_the_standard_library_alone(name: str) -> None:
    for imported in _imported(SOURCE / name):
        top = imported.partition(".")[0]
        # The last is Network.build, lazily.
        allowed = ("unetbench.errors", "unetbench.keys", "unetbench.records", "unetbench.networks")
        assert top in sys.stdlib_module_names or imported.startswith(allowed), imported


@pytest.mark.parametrize(
    ("folder", "refused"),
    [
        ("reporting", ("measuring", "networks", "rewrites", "runtimes", "deploy", "cli")),
        ("networks", ("measuring", "rewrites", "runtimes", "reporting", "store", "cli")),
        ("rewrites", ("measuring", "runtimes", "reporting", "networks", "store", "cli")),
        ("runtimes", ("measuring", "rewrites", "reporting", "networks", "store", "cli")),
        ("measuring", ("reporting", "advisor", "deploy", "cli")),
        ("deploy", ("networks", "rewrites", "listing", "doctor", "cli")),
        ("networks", ("deploy",)),
        ("rewrites", ("deploy",)),
        ("runtimes", ("deploy",)),
    ],
)
def test_imports_go_down_only(folder: str, refused: tuple[str, ...]) -> None:
    for path in sorted((SOURCE / folder).rglob("*.py")):
        upward = {name for name in _ours(path) if name.startswith(refused)}
        assert not upward, f"{_place(path)} imports {upward}"


# Whoever stands in a line imports from the lines above it alone; those that are named nowhere stand below all.
ABOVE = (
    "errors stats student_t sqlite_pages tails terminal",
    "keys amounts encoders photos plans quality spread",
    "records",
    "machine parts quiet schema store_file",
    "adjusting suite store",
    "candidates listing recovery samples",
    "verdicts",
    "levels",
)
WITHIN_MEASURING = (
    "artifacts canary denormals groups halving memory noise observer parity preflight preset processes timing",
    "forecast launch reference",
    "block conversion preparing race",
    "cutting limits paired probe",
    "schedule worker",
    "breakdown",
    "session",
    "search single",
)


@pytest.mark.parametrize(("lines", "folder"), [(ABOVE, ""), (WITHIN_MEASURING, "measuring/")])
def test_what_files_stand_on_is_above_them(lines: tuple[str, ...], folder: str) -> None:
    place = {name: number for number, line in enumerate(lines) for name in line.split()}
    for name, own in place.items():
        path = SOURCE / f"{folder}{name}.py"
        path = path if path.is_file() else SOURCE / f"{folder}{name}" / "__init__.py"
        prefix = folder.replace("/", ".")
        used = {
            each.removeprefix(prefix).partition(".")[0] for each in _ours(path) if each.startswith(prefix)
        }
        used -= {name, ""}
        # Folders have rules of their own, above.
        beyond = {
            each
            for each in used
            if place.get(each, len(lines)) >= own and (SOURCE / f"{folder}{each}.py").is_file()
        }
        assert not beyond, f"{name} imports {beyond}"


def test_a_choice_is_made_of_results_alone() -> None:
    """No process, no file, no network: constraints and rows in, a ranking out."""
    below = ("quality.", "reporting.row.", "reporting.standing.", "verdicts.", "records.", "errors.")
    for name in ("advisor.py", "tails.py"):
        assert all(f"{ours}.".startswith(below) for ours in _ours(SOURCE / name)), name


@pytest.mark.parametrize("path", FILES, ids=_place)
def test_printing_and_leaving_are_the_command_lines_alone(path: Path) -> None:
    if _place(path) == "cli.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("print", "sys.exit", "exit"), _place(path)


@pytest.mark.parametrize("path", FILES, ids=_place)
def test_files_stay_small_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{_place(path)} has no docstring"
    assert len(text.splitlines()) <= 320, f"{_place(path)} has outgrown a reader's five minutes"


def test_the_parent_and_the_reading_side_load_nothing_heavy() -> None:
    modules = "cli, listing, doctor, suite, store, reporting.report, reporting.table, reporting.live, reporting.charts, reporting.limits_page, "
    modules += "advisor, quality, tails, reporting.advice, reporting.page, reporting.page.table, reporting.page.cases"
    names = [f"unetbench.{name.strip()}" for name in modules.split(",")]
    names += ["unetbench.measuring.session", "unetbench.measuring.schedule", "unetbench.measuring.breakdown"]
    names += [
        f"unetbench.deploy.{name}" for name in ("commands", "export", "verify", "predict", "progress", "tiff")
    ]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {
        *TORCH,
        "scipy",
        "altair",
        "vl_convert",
        "matplotlib",
        "sklearn",
        "pandas",
        "safetensors",
        "pyarrow",
        "selenium",
    }
    assert not heavy & set(loaded.split())


@pytest.mark.parametrize("path", sorted((SOURCE / "deploy" / "standalone").glob("[!_]*.py")), ids=_place)
def test_what_a_bundle_takes_along_knows_nothing_of_us(path: Path) -> None:
    assert not any(name.startswith("unetbench") for name in _imported(path))


def test_the_public_names_resolve() -> None:
    for name in unetbench.__all__:
        assert getattr(unetbench, name) is not None
    with pytest.raises(AttributeError, match="it has Case, Network"):
        unetbench.nothing  # noqa: B018


def test_the_checks_above_can_fail(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "def f():\n    from torch import nn\n    import unetbench.measuring.block\n"
    )
    assert {name.partition(".")[0] for name in _imported(tmp_path / "a.py")} == {"torch", "unetbench"}
    assert _ours(tmp_path / "a.py") == {"measuring.block"}
    assert len(FILES) > 30
    for folder in ("reporting", "networks", "rewrites", "runtimes", "measuring", "deploy"):
        assert any(_place(path).startswith(f"{folder}/") for path in FILES)
