"""The command line: one line for bad input, exit codes, nothing written, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.samples import case, machine, measurement
from unetbench import photos
from unetbench.cli import main
from unetbench.deploy import export
from unetbench.errors import BadInput
from unetbench.machine import machine as here
from unetbench.measuring import search, session
from unetbench.records import Failure, Result
from unetbench.store import writing

SUITE = 'encoders = ["resnet18"]\nsizes = ["64"]\n'


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, "one line"
    assert said.err.startswith("unetbench: ")
    return said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--encoder", "resnet81"], "did you mean resnet18"),
        (["--decoder", "unett"], "did you mean unet"),
        (["--network", "resnet18"], "encoder/decoder"),
        (["--recipe", "torch_eager"], "runtime/precision"),
        (["--recipe", "torch_eagle/fp32"], "did you mean torch_eager"),
        (["--recipe", "torch_eager/fp23"], "did you mean fp32"),
        (["--recipe", "torch_eager/fp32+fold"], "unknown rewrite 'fold'"),
        (["--size", "31"], "32"),
        (["--size", "big"], "480x640"),
        (["--batch", "0"], "1 or more"),
        (["--classes", "-1"], "1 or more"),
        (["--threads", "4096"], "CPUs"),
        (["--threads", "two"], "1 or more"),
        (["--preset", "quikc"], "did you mean quick"),
        (["--budget", "soon"], "20m"),
        (["--budget", "0m"], "20m"),
        (["--preset", "quick", "--budget", "20m"], "standard"),
        (["--images", "nowhere"], "cannot be read"),
        (["--images", "."], "holds no JPEG"),
        (["--nonsense"], "--help"),
    ],
)
def test_bad_options_of_run(
    suite: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(suite)
    assert said in _error(capsys, "run", str(suite), *arguments)
    assert [path.name for path in suite.iterdir()] == ["suite.toml"], "nothing is written"


def test_bad_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean run?" in _error(capsys, "rum")
    assert "required" in _error(capsys)
    assert "cannot be read" in _error(capsys, "run", str(tmp_path / "nowhere"))
    assert "measure first" in _error(capsys, "report", str(tmp_path))
    assert "did you mean decoders" in _error(capsys, "list", "decoder")
    assert "wider pattern" in _error(capsys, "list", "encoders", "nothing*")


def test_a_corrupt_image(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = suite / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert "a.png" in _error(capsys, "run", str(suite), "--images", str(images))


def test_a_store_that_is_none(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = suite / "mine.txt"
    other.write_text("my notes, of some length so that it is no header\n" * 30)
    before = other.read_bytes()
    assert "no SQLite database" in _error(capsys, "run", str(suite), "--store", str(other))
    assert "no SQLite database" in _error(capsys, "report", "--store", str(other))
    assert other.read_bytes() == before


def test_a_store_that_another_run_holds(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = suite / "held.sqlite"
    with writing(path):
        assert "is held by another run" in _error(capsys, "run", str(suite), "--store", str(path))


def test_a_dry_run_lists_the_cases_and_the_time(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(suite), "--dry-run", "--encoder", "lcnet_100", "--encoder", "resnet34"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["lcnet_100/unet torch_eager/fp32 64x64", "resnet34/unet torch_eager/fp32 64x64"]
    assert lines[2].startswith("2 cases, about")
    assert not (suite / "results").exists()


def test_a_dry_run_says_when_the_budget_leaves_no_time_for_blocks(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for budget, said in (
        ("10s", "which leaves no time for paired blocks"),
        ("1h", "then up to 20 paired blocks"),
    ):
        assert main(["run", str(suite), "--dry-run", "--encoder", "lcnet_100", "--budget", budget]) == 0
        assert said in capsys.readouterr().out


def test_what_was_asked_to_go_on_without_a_terminal_does(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
    try:
        assert main(["list", "runtimes"]) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert "unetbench" in capsys.readouterr().out


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "torch_compile" in capsys.readouterr().out
    assert main(["list", "encoders", "resnet1*"]) == 0
    assert "resnet18" in capsys.readouterr().out.split()
    assert main(["list", "rewrites"]) == 0
    assert "reparameterize" in capsys.readouterr().out


def _stored(path: Path, *, failure: bool) -> None:
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=False)
        store.append(session.identifier, case(), measurement())
        if failure:
            store.append(
                session.identifier, case("resnet34"), Failure(stage="run", kind="timeout", message="900 s")
            )


def test_a_report_shows_the_stored_rows_and_writes_files_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "results.sqlite"
    _stored(path, failure=True)
    assert main(["report", "--store", str(path)]) == 0
    out = capsys.readouterr().out
    assert "resnet18" in out
    assert "timeout" in out
    assert "no verdicts" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert main(["report", "--store", str(path), "--out", str(tmp_path / "out")]) == 0
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {"results.csv", "results.md", "throughput.png"}
    for name in ("pairs.csv", "limits.png", "mine.txt"):
        (tmp_path / "out" / name).write_text("of an earlier session")
    assert main(["report", "--store", str(path), "--out", str(tmp_path / "out")]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*written, "mine.txt"}
    assert main(["report", "--store", str(path), "--session", "9"]) == 2


def test_going_on_where_all_is_measured_reports_it_again(tmp_path: Path) -> None:
    """Exit code 1 tells that some rows failed, also when nothing is left to run."""
    from unetbench import photos
    from unetbench.machine import machine as this_machine

    (tmp_path / "suite.toml").write_text('encoders = ["resnet18"]\n')
    with writing(tmp_path / "results" / "results.sqlite") as store:
        session = store.open_session(
            this_machine(),
            preset="quick",
            images=photos.digest(photos.default_photos()),
            command=["run"],
            fresh=False,
        )
        failed = Failure(stage="run", kind="timeout", message="900 s")
        store.append(session.identifier, case(threads=1), failed)
    assert main(["run", str(tmp_path), "--threads", "1"]) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("encodrs = []", "did you mean encoders"),
        ("batch = '1'", "takes a whole number"),
        ("encoders = [", "is not TOML"),
        ("encoders = ['resnet81']", "did you mean resnet18"),
        ("encoders = ['resnet18']\nbatch = 0", "at least 1"),
        ("encoders = ['resnet18']\nclasses = -1", "at least 1 class"),
        ("encoders = ['resnet18']\nsizes = ['16']", "out of range"),
        ("", "names no network"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_bad_suites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str, dry: bool
) -> None:
    (tmp_path / "suite.toml").write_text(text)
    assert said in _error(capsys, "run", str(tmp_path), *(["--dry-run"] if dry else []))
    assert [path.name for path in tmp_path.iterdir()] == ["suite.toml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "torch_compile[freezng=1]/fp32"], "did you mean freezing"),
        (["--recipe", "torch_compile[freezing=7]/fp32"], "unknown value"),
        (["--network", "a/b/c"], "encoder/decoder"),
        (["--size", "512x31"], "out of range"),
        (["--timeout", "0"], "1 or more"),
        (["--encoder", "resnet18.a1_in2k"], "did you mean a1_in1k"),
    ],
)
def test_more_bad_options_of_run(
    suite: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in _error(capsys, "run", str(suite), *arguments)
    assert [path.name for path in suite.iterdir()] == ["suite.toml"]


def test_the_shipped_suite_runs_dry_with_125_cases(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[1] / "benchmarks" / "unet_decoder"
    assert main(["run", str(shipped), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 126
    assert lines[-1].startswith("125 cases, about 59 min")


def test_a_report_of_one_session_the_fastest_rows_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "results.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=False)
        store.append(session.identifier, case(), measurement(100))
        store.append(session.identifier, case(recipe="torch_compile/fp32"), measurement(50))
    assert main(["report", "--store", str(path), "--session", "1", "--fastest"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["resnet18"]]
    assert len(rows) == 1
    assert "torch_compile/fp32" in rows[0]
    assert "2.00" in rows[0]
    assert [file.name for file in tmp_path.iterdir() if file.suffix in (".csv", ".md", ".png")] == []


def test_files_that_cannot_be_written_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.sqlite"
    _stored(path, failure=False)
    (tmp_path / "file").write_text("mine")
    assert main(["report", "--store", str(path), "--out", str(tmp_path / "file")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("unetbench: ")
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments", [("run", ".", "--no\npe"), ("list", "encoders", "zz\nzz")], ids=["flag", "pattern"]
)
def test_a_line_break_in_what_is_given_breaks_no_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    _error(capsys, *arguments)


@pytest.mark.parametrize("dry", [True, False])
def test_weights_that_are_not_there_are_told_before_anything_is_written(
    suite: Path, capsys: pytest.CaptureFixture[str], dry: bool
) -> None:
    (suite / "suite.toml").write_text(SUITE + 'weights = "nowhere.pt"\n')
    assert "nowhere.pt" in _error(capsys, "run", str(suite), *(["--dry-run"] if dry else []))
    assert [path.name for path in suite.iterdir()] == ["suite.toml"]


def test_a_refused_store_leaves_nothing_beside_it(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "mine.txt").write_text("my notes, of some length so that it is no header\n" * 30)
    _error(capsys, "run", str(suite), "--store", str(suite / "mine.txt"))
    assert sorted(path.name for path in suite.iterdir()) == ["mine.txt", "suite.toml"]


def test_files_of_two_stores_in_one_folder_are_two(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tables of one run stand beside another's store."""

    def run(plan: session.Plan, observer: object) -> tuple[Result, ...]:
        with writing(plan.store) as store:
            one = store.open_session(here(), preset="quick", images="x", command=["run"], fresh=True)
            store.append(one.identifier, plan.cases[0], measurement(50))
            return store.results(one.identifier)

    monkeypatch.setattr(session, "run", run)
    for name in ("results.sqlite", "a.sqlite", "b"):
        assert main(["run", str(suite), "--store", str(suite / name)]) == 0
    folders = {path.parent.relative_to(suite).as_posix() for path in suite.rglob("results.csv")}
    assert folders == {".", "a.files", "b.files"}


def test_channels_reach_every_verb_that_builds_a_network(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    monkeypatch.setattr(session, "run", lambda plan, observer: plans.append(plan) or ())
    grey = ["--channels", "1"]
    for command in (["run", str(suite)], ["tune", "resnet18", "--store", str(suite / "tuned.sqlite")]):
        main([*command, *grey])
    assert {case.network.in_channels for plan in plans for case in plan.cases} == {1}
    asked: list[int] = []

    def search_(wish: search.Search, *_: object) -> None:
        asked.append(wish.axes.in_channels)
        raise BadInput("enough")

    def export_(order: export.Order) -> None:
        asked.append(order.case.network.in_channels)
        raise BadInput("enough")

    monkeypatch.setattr(search, "search", search_)
    monkeypatch.setattr(export, "export", export_)
    assert main(["advise", "--budget", "1m", "--store", str(suite / "a.sqlite"), *grey]) == 2
    assert main(["export", "resnet18", "--recipe", "mnn/fp32", "-o", str(suite / "b"), *grey]) == 2
    assert asked == [1, 1]


@pytest.mark.parametrize(("command", "code"), [("run", 130), ("report", 0)])
def test_who_listens_no_more_ends_what_is_measured_and_it_is_no_success(
    suite: Path, command: str, code: int
) -> None:
    """As `| head -1` does: a run that was cut off there has not run all."""
    script = (
        "import sys\n"
        "from unetbench import cli\n"
        "from unetbench.measuring import session\n"
        "from unetbench.reporting.live import PlainLines\n"
        "def run(plan, observer):\n"
        "    for number in range(100_000):\n"
        "        watcher = observer(plan.cases, (), None)\n"
        "    return ()\n"
        "session.run = run\n"
        "cli._COMMANDS['report'] = lambda options, given: cli._said('unread' for _ in range(100_000))\n"
        "sys.exit(cli.main())"
    )
    for errors in (subprocess.PIPE, subprocess.STDOUT):
        with subprocess.Popen(
            [sys.executable, "-c", script, command, str(suite)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read() if process.stderr else ""
        assert process.returncode == code
        if errors is subprocess.PIPE:
            assert ("goes on from there" in said) == (command == "run")
        assert "Traceback" not in said


def test_a_pattern_chooses_among_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "runtimes", "torch_c*"]) == 0
    out = capsys.readouterr().out
    assert "torch_compile" in out
    assert "torch_eager" not in out


@pytest.mark.parametrize("asked", [True, False])
def test_a_breakdown_is_made_where_it_is_asked_for(
    suite: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    plans = []
    monkeypatch.setattr(session, "run", lambda plan, observer: plans.append(plan) or ())
    for command in (["run", str(suite)], ["tune", "resnet18", "--store", str(suite / "tuned.sqlite")]):
        main([*command, *(["--breakdown"] if asked else [])])
    assert [plan.breakdown for plan in plans] == [asked, asked]


def test_advise_answers_from_a_store_and_says_by_its_exit_code_whether_it_could(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "known.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case(), measurement(50))
    assert main(["advise", "--store", str(path), "--max-latency", "60ms"]) == 0
    assert "Best: resnet18/unet torch_eager/fp32" in capsys.readouterr().out
    assert main(["advise", "--store", str(path), "--max-latency", "0.01s", "--max-memory", "1GiB"]) == 1
    assert "5.00 × the limit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-latency", "60"], "60ms"),
        (["--max-latency", "fast"], "60ms"),
        (["--max-memory", "1TB"], "1GB"),
        (["--max-size", "0MB"], "20MB"),
        (["--percentile", "100"], "50 to 99.9"),
        (["--percentile", "often"], "95"),
        (["--size", "big"], "480x640"),
        (["--quality", "none.csv"], "cannot be read"),
        (["--budget", "soon"], "20m"),
        (["--encoder", "no_such*", "--budget", "1m"], "list encoders"),
        ([], "no store"),
    ],
)
def test_bad_options_of_advise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in _error(capsys, "advise", *arguments)
    assert not list(tmp_path.iterdir())


def test_advise_measures_within_a_budget_and_then_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The session is a fake that takes no time: what is asked of it, and that the answer is from its store."""
    asked: list[session.Plan] = []

    def run(plan: session.Plan, observer: object) -> tuple[Result, ...]:
        asked.append(plan)
        with writing(plan.store) as store:
            one = store.open_session(
                here(), preset=plan.preset.name, images=photos.digest(photos.default_photos()),
                command=list(plan.command), fresh=False,
            )  # fmt: skip
            known = {result.key for result in store.results(one.identifier)}
            for each in plan.cases:
                if each.key() not in known:
                    store.append(one.identifier, each, measurement(50))
            wanted = {each.key() for each in plan.cases}
            return tuple(result for result in store.results(one.identifier) if result.key in wanted)

    monkeypatch.setattr(session, "run", run)
    path = tmp_path / "new" / "advised.sqlite"
    arguments = [
        "advise",
        "--size",
        "64",
        "--classes",
        "5",
        "--threads",
        "1",
        "--encoder",
        "test_*net",
        "--max-latency",
        "60ms",
    ]
    assert main([*arguments, "--store", str(path), "--budget", "1m"]) == 0
    assert [(plan.preset.name, plan.halving) for plan in asked] == [
        ("tune", False),
        ("tune", False),
        ("tune", True),
    ]
    networks = {
        (each.network.encoder, each.network.classes, each.height_px, each.threads) for each in asked[0].cases
    }
    assert networks == {(f"test_{name}", 5, 64, 1) for name in ("byobnet", "efficientnet", "nfnet", "resnet")}
    assert all(plan.budget_s is not None and 0 < plan.budget_s <= 60 for plan in asked)
    assert "Best: test_nfnet/unet" in capsys.readouterr().out
    asked.clear()
    other = tmp_path / "other.sqlite"
    assert main([*arguments, "--store", str(path), "--store", str(other), "--budget", "1m"]) == 0
    assert [(plan.store, plan.halving) for plan in asked] == [(other, True)], (
        "what is known is not measured again"
    )


def test_a_page_and_a_parquet_file_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas

    path = tmp_path / "known.sqlite"
    with writing(path) as store:
        session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=True)
        store.append(session.identifier, case(), measurement(50))
        store.append(session.identifier, case("vgg16"), Failure(stage="a", kind="crashed", message="b"))
    known = ["report", "--store", str(path)]
    assert main([*known, "--html", str(tmp_path / "page.html")]) == 0
    assert "2 results" in capsys.readouterr().out
    assert main([*known, "--parquet", str(tmp_path / "rows.parquet")]) == 0
    capsys.readouterr()
    frame = pandas.read_parquet(tmp_path / "rows.parquet")
    assert list(frame["encoder"]) == ["resnet18", "vgg16"]
    assert frame["median_ms"][0] == pytest.approx(50)
    assert "add --html FILE" in _error(capsys, *known, "--store", str(path))
    assert "add --html FILE" in _error(capsys, "report", str(path), "--store", str(path)), (
        "neither is left out"
    )
    for form in ("--html", "--parquet", "--case"):
        said = _error(capsys, *known, form, str(tmp_path / "a"), "--out", str(tmp_path / "out"))
        assert f"leave it out where {form} is given" in said
    assert not (tmp_path / "out").exists()


def test_the_doctor_says_what_the_machine_will_allow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The probes are fakes: what is said of them, line by line."""
    from unetbench import doctor
    from unetbench.measuring.forecast import Noise

    class Canary:
        read = None

        def __init__(self, threads: int) -> None:
            assert threads >= 1

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    found = [
        Noise(quiet_share=0.4, loudest=1.5, quiet_ms=(1.0, 0.5), detectable=each) for each in (0.03, None)
    ]
    monkeypatch.setattr(doctor, "Canary", Canary)
    monkeypatch.setattr(doctor, "listen", lambda read: found[len(closed)])
    monkeypatch.setattr(doctor, "probed", lambda scratch: {"fp32_ms": 1.0, "bf16_ms": 70.0})
    monkeypatch.setattr(doctor.machine, "bf16_instructions", lambda: ())
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    headings = [line[:15].strip() for line in said.splitlines()]
    for heading in (
        "processor",
        "cores",
        "memory",
        "instructions",
        "runtime",
        "precision",
        "noise",
        "resolution",
    ):
        assert heading in headings
    assert "bf16 no-go" in said
    assert "measured in fp32 instead, unless --force" in said
    assert "about 3.0%: the smallest difference" in said
    assert main(["doctor"]) == 0
    assert "too noisy for a verdict by quiet runs" in capsys.readouterr().out
    assert len(closed) == 2


def test_stores_are_merged_and_recovered_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = [tmp_path / f"{name}.sqlite" for name in ("a", "b")]
    for path, cpu in zip(stores, ("A CPU", "Another"), strict=True):
        with writing(path) as store:
            session = store.open_session(
                machine(cpu=cpu), preset="quick", images="x", command=["run"], fresh=True
            )
            store.append(session.identifier, case(), measurement(50))
    merged = tmp_path / "c.sqlite"
    assert main(["merge", *map(str, stores), "-o", str(merged)]) == 0
    assert "wrote 2 sessions" in capsys.readouterr().out
    assert main(["report", "--store", str(merged), "--session", "2"]) == 0
    assert "Another" in capsys.readouterr().out
    assert "is there already" in _error(capsys, "merge", *map(str, stores), "-o", str(merged))
    assert main(["recover", str(stores[0]), str(tmp_path / "d.sqlite")]) == 0
    said = capsys.readouterr().out
    assert "saved 1 results to" in said
    assert "pages that cannot be read" in said


def test_a_run_that_is_interrupted_shows_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.sqlite"

    def run(plan: session.Plan, observer: object) -> tuple[Result, ...]:
        with writing(plan.store) as store:
            one = store.open_session(here(), preset="quick", images="x", command=["run"], fresh=True)
            if stored:
                store.append(one.identifier, case(), measurement(50))
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "run", run)
    for stored in (False, True):
        assert main(["run", "benchmarks/unet_decoder", "--store", str(path)]) == 130
        said = capsys.readouterr()
        assert "the same command goes on from there" in said.err
        assert ("50.0" in said.out) == bool(said.out) == stored, "no headings over nothing"
    assert main(["run", "benchmarks/unet_decoder", "--store", str(path), "--fresh"]) == 130
    assert "the same command without --fresh goes on from there" in capsys.readouterr().err
    assert [each.name for each in tmp_path.glob("*.md")] == []
