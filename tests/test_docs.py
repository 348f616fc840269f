"""The documentation is true: its example runs, its tables are those of the published stores."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from scipy import stats

from unetbench import photos
from unetbench.cli import main
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
    monkeypatch.setattr(figures, "DOCS", tmp_path)
    figures.write_page()
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_what_one_machine_missed_stays_beside_what_another_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "selftest"))
    figures = import_module("figures")
    (tmp_path / "reliability.md").write_text(f"{figures._BEGIN}\n{figures._END}\n", encoding="utf-8")
    monkeypatch.setattr(figures, "DOCS", tmp_path)
    monkeypatch.setattr(figures, "_RESULTS", tmp_path)

    def publish(number: str, machine: str, value: str) -> None:
        figure = figures.Figure(name="found", value=value, bar="all", met=value == "all")
        figures.publish(number, "a proof", [figure], machines=[machine])

    publish("2r", "Loud(R) CPU, 2 cores", "none")
    publish("2r", "Quiet CPU, 2 cores", "some")
    publish("2r", "Quiet CPU, 2 cores", "all")  # again there: in the place of the figure before
    publish("10", "Quiet CPU, 2 cores", "all")
    text = (tmp_path / "reliability.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith(("| 2r", "| 10"))] == [
        "| 2r Loud(R) CPU, 2 cores | found | none | all | **missed** |  |",
        "| 2r Quiet CPU, 2 cores | found | all | all | met |  |",
        "| 10 | found | all | all | met |  |",
    ]


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


EXAMPLES = [
    (page.name, command.strip(), said)
    for page in (ROOT / "docs" / "advise.md", ROOT / "docs" / "page.md")
    for command, said in re.findall(
        r"```console\n\$ ((?:[^\n]*\\\n)*[^\n]*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    )
]


@pytest.mark.parametrize(("page", "command", "said"), EXAMPLES, ids=lambda text: text[:40])
def test_the_examples_say_what_the_pages_show(
    page: str,
    command: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command.replace("\\\n", " ").replace("/tmp/", f"{tmp_path}/"))
    assert words[0] == "unetbench"
    code = main(words[1:])
    # The published store may be of the machine that the tests run on.
    shown = capsys.readouterr().out.replace("; NOT this machine", "").replace(f"{tmp_path}/", "/tmp/")
    shown = shown.replace("--budget 15m measures it further", "--store NEW.sqlite --budget 15m measures here")
    assert shown == said.replace("; NOT this machine", "")
    assert code == ("Nothing that was measured" in said)


def test_there_are_examples() -> None:
    assert {page for page, _, _ in EXAMPLES} == {"advise.md", "page.md"}


def test_the_examples_of_export_verify_and_predict_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand on their pages, one after the other, in a folder that holds a photograph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    shutil.copy(photos.default_photos()[0], tmp_path / "photos" / "china.jpg")
    pages = [(ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("export", "predict")]
    blocks = [block for page in pages for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)]
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [command[:2] for command in commands] == [
        ["unetbench", verb] for verb in ("export", "verify", "predict")
    ]
    for _, *arguments in commands:
        assert main(arguments) == 0, arguments
    said = capsys.readouterr().out
    assert "VERIFIED: every file is whole, the answer is exact" in said
    assert "cost of the whole image, ms per megapixel" in said
    assert (tmp_path / "masks" / "china.mask.png").is_file()
    listed = re.findall(r"^\| `([^|]*)` \|", pages[0], re.MULTILINE)
    files = {name for line in listed for name in line.replace("`", "").split(", ")}
    found = {f"{path.name}/" if path.is_dir() else path.name for path in (tmp_path / "bundle").iterdir()}
    assert found == files
    assert "fold_head: " in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "cache", "masks", "photos"]
