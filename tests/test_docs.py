"""The documentation is true: its example runs, its tables are those of the published stores."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from scipy import stats

from unetbench.reporting import report as reports
from unetbench.store import reading

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted(ROOT.glob("benchmarks/*/published/*/results.sqlite"))


def _block(page: Path) -> str:
    return (
        page.read_text(encoding="utf-8")
        .partition("(scripts/publish) -->")[2]
        .partition("<!-- results: end")[0]
    )


def test_there_is_a_published_store() -> None:
    assert PUBLISHED


@pytest.mark.parametrize("store", PUBLISHED, ids=lambda path: path.parent.name)
def test_a_suites_page_shows_its_published_table(store: Path) -> None:
    with reading(store) as opened:
        table = reports.markdown(reports.report(opened))
    assert table in _block(store.parents[2] / "README.md")
    assert (store.parent / "results.md").read_text(encoding="utf-8") == table


def test_the_front_page_shows_a_published_table() -> None:
    tables = []
    for path in PUBLISHED:
        with reading(path) as opened:
            tables.append(reports.markdown(reports.report(opened), fastest=True))
    assert any(table in _block(ROOT / "README.md") for table in tables)


def test_the_front_pages_example_is_the_one_that_runs() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    example = ROOT / "examples" / "quickstart.py"
    assert shown in example.read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 1, 256, 256)\n"


@pytest.mark.parametrize("page", sorted(ROOT.glob("**/*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    if ".venv" in page.parts or "results" in page.parts:
        pytest.skip("not the project's own page")
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_of_proofs_is_what_the_proofs_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "selftest"))
    figures = import_module("figures")
    page = ROOT / "docs" / "reliability.md"
    copy = tmp_path / "reliability.md"
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(figures, "_PAGE", copy)
    figures.write_page()
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_the_page_of_networks_shows_what_is_counted() -> None:
    loader = SourceFileLoader("describe_networks", str(ROOT / "scripts" / "describe_networks"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    text = script.PAGE.read_text(encoding="utf-8")
    assert "| `semantic_fpn` | 0.42 |" in text
    assert script.page(text) == text


def test_an_upper_bound_is_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "selftest"))
    bound = import_module("figures").upper_bound
    assert bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300), rel=1e-6)
    assert bound(3, 50) == pytest.approx(stats.beta.ppf(0.95, 4, 47), rel=1e-6)
    assert bound(5, 5) == 1.0
