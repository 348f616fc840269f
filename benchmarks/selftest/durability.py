"""Proofs 7, 10 and 11: kill -9, damaged files, full and failing disks. Nothing that was acknowledged is lost."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from figures import Figure, publish, upper_bound
from rich.progress import Progress, track

from unetbench import recovery
from unetbench.errors import StoreError
from unetbench.measuring import processes
from unetbench.store import reading

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
# A run in small: each result is appended, and only then acknowledged on stdout.
_RUN = f"""
import sys, resource
sys.path.insert(0, {str(_ROOT)!r})
limit = int(sys.argv[3])
if limit:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from pathlib import Path
from tests.samples import case, machine, measurement
from unetbench.store import writing
with writing(Path(sys.argv[1])) as store:
    session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=False).identifier
    known = {{result.case.network.encoder for result in store.results(session)}}
    for number in range(int(sys.argv[2])):
        if f"e{{number}}" not in known:
            store.append(session, case(f"e{{number}}"), measurement(run_ns=tuple(range(2000))))
            print(number, flush=True)
"""


# A sweep of short cases by real worker processes, which the proof kills; each row is acknowledged once it is stored.
_SWEEP = f"""
import sys
sys.path.insert(0, {str(_ROOT)!r})
from pathlib import Path
from tests.samples import case, machine
from unetbench.measuring.launch import ProcessWorker
from unetbench.measuring.preset import Preset
from unetbench.measuring.schedule import Sweep
from unetbench.store import writing

class Acknowledging:
    def started(self, *_): pass
    def phase(self, *_): pass
    def tick(self): pass
    def finished(self, result, done, left_s):
        print(result.case.network.encoder, result.failure is None, flush=True)

folder = Path(sys.argv[1])
def start(case, limit_s):
    return ProcessWorker(threads=1, memory_bytes=4 << 30, limit_s=60.0, scratch=folder, online=False, module="spin_worker")

with writing(folder / "sweep.sqlite") as store:
    session = store.open_session(machine(), preset="quick", images="x", command=["run"], fresh=False)
    Sweep(
        cases=[case(f"e{{number}}", threads=1) for number in range(int(sys.argv[2]))], store=store, session=session,
        preset=Preset(name="quick", warmups=1, runs_at_least=3, runs_at_most=3, checked_inputs=1),
        images=(), work=folder / "work", cache=folder / "cache", start_worker=start, observer=Acknowledging(),
    ).run()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="of the run, and of its workers")
    parser.add_argument("--damages", type=int, default=1000)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="unetbench-") as name:
        folder = Path(name)
        kills = [_killed(folder, options.kills), *_workers_killed(folder, options.kills)]
        publish("7", "kill -9 of the run, and of its workers", kills, seeds="0")
        publish("10", "damaged stores", _damaged(folder, options.damages), seeds="0, 1, 2 …")
        publish("11", "a disk that is full, or fails", [_full(folder), _failing(folder)])


def _start(store: Path, count: int, limit: int = 0, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, str(store), str(count), str(limit)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | environment,
    )  # fmt: skip


def _names(store: Path) -> list[str]:
    with reading(store) as opened:
        results = [each for session in opened.sessions() for each in opened.results(session.identifier)]
    return [result.case.network.encoder for result in results]


def _killed(folder: Path, kills: int) -> Figure:
    lost = doubled = 0
    random = Random(0)
    store = folder / "killed.sqlite"
    acknowledged: set[str] = set()
    for number in track(range(kills), "kills of the run"):
        process = _start(store, 100_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        first = max((int(name[1:]) for name in acknowledged), default=-1) + 1
        acknowledged |= {f"e{first}"} | {f"e{line}" for line in out.split()}
        names = _names(store)
        lost += len(acknowledged - set(names))
        doubled += len(names) - len(set(names))
        acknowledged |= set(names)
        if number % 20 == 19:  # a new store now and then: reading a large one takes longer than its kill
            store.unlink()
            acknowledged.clear()
            store = folder / f"killed{number}.sqlite"
    return Figure(
        name="the run killed: finished cases lost or doubled", value=f"{lost} and {doubled} in {kills} kills", bar="0 and 0",
        met=lost == doubled == 0, note=f"95 % bound {upper_bound(lost + doubled, kills):.2%} a kill",
    )  # fmt: skip


def _workers_killed(folder: Path, kills: int) -> list[Figure]:
    """Kill workers at random moments: their cases fail, the run goes on, what was stored stays as it was."""
    random = Random(0)
    made = 0
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", _SWEEP, str(folder), str(2 * kills)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    reading_on = threading.Thread(target=lambda: said.extend(process.stdout))  # type: ignore[arg-type]
    reading_on.start()
    with Progress(transient=True) as shown:
        bar = shown.add_task("kills of workers", total=kills)
        while process.poll() is None and made < kills:
            time.sleep(random.random() * 0.4)
            workers = processes.descendants(process.pid)
            if workers:
                with suppress(ProcessLookupError):
                    os.kill(workers[0], signal.SIGKILL)
                    made += 1
                    shown.update(bar, completed=made)
    process.wait()
    reading_on.join()
    acknowledged = [tuple(line.split()) for line in said]
    with reading(folder / "sweep.sqlite") as store:
        stored = [(r.case.network.encoder, str(r.failure is None)) for r in store.results(1)]
    lost = len(set(acknowledged) - set(stored))
    doubled = len(stored) - len({name for name, _ in stored})
    failed = sum(whole == "False" for _, whole in stored)
    return [
        Figure(
            name="a worker killed: finished cases lost or doubled", value=f"{lost} and {doubled} in {made} kills",
            bar="0 and 0", met=lost == doubled == 0 and made == kills and len(acknowledged) == 2 * kills,
            note=f"95 % bound {upper_bound(lost + doubled, made):.2%} a kill",
        ),
        Figure(
            name="a worker killed: cases that failed for it", value=f"{failed} of {2 * kills}", bar="at most one a kill",
            met=process.returncode == 0 and 0 < failed <= made, note="the others have their times",
        ),
    ]  # fmt: skip


def _damaged(folder: Path, damages: int) -> list[Figure]:
    whole = folder / "whole.sqlite"
    process = _start(whole, 60)
    process.communicate()
    content = whole.read_bytes()
    with reading(whole) as store:
        truth = {result.key: result for result in store.results(1)}
    changed = saved_rows = refused = 0
    for seed in track(range(damages), "damages"):
        random = Random(seed)
        path, new = folder / "damaged.sqlite", folder / "saved.sqlite"
        path.write_bytes(_harmed(bytearray(content), random))
        new.unlink(missing_ok=True)
        for read in (path, new):
            try:
                if read == new:
                    recovery.recover(path, new)
                with reading(read) as store:
                    found = {
                        result.key: result
                        for session in store.sessions()
                        for result in store.results(session.identifier)
                    }
            except StoreError:
                refused += read == path
                continue
            changed += sum(truth.get(key) != result for key, result in found.items())
            changed += len(truth) - len(found) if read == path else 0  # read as if it were whole
            saved_rows += len(found) if read == new else 0
    return [
        Figure(name="rows that changed silently", value=f"{changed} in {damages} damages", bar="0", met=changed == 0),
        Figure(
            name="rows saved from damaged files", value=f"{saved_rows / damages / len(truth):.1%} on average",
            bar="≥ 75 %", met=saved_rows >= 0.75 * damages * len(truth),  # half of a file is cut off as often as not
            note=f"{refused} of the files were refused by plain reading; bit flips, zeroed pages, truncation",
        ),
    ]  # fmt: skip


def _harmed(content: bytearray, random: Random) -> bytes:
    place = random.randrange(len(content))
    kind = random.randrange(3)
    if kind == 0:
        for _ in range(random.randrange(1, 9)):
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    elif kind == 1:
        content[place : place + 4096] = bytes(len(content[place : place + 4096]))
    else:
        del content[place:]
    return bytes(content)


def _full(folder: Path) -> Figure:
    kept = written = 0
    for number in range(20):
        store = folder / f"full{number}.sqlite"
        process = _start(store, 500, limit=(number + 2) * 40_000)
        out, _ = process.communicate()
        acknowledged = {f"e{line}" for line in out.split()}
        try:
            names = set(_names(store))
        except StoreError:
            names = set()
        kept += acknowledged <= names and len(acknowledged) < 500
        written += bool(acknowledged)
    return Figure(
        name="a full disk: acknowledged only what is on it", value=f"{kept} of 20", bar="20 of 20", met=kept == 20 and written >= 10,
        note=f"RLIMIT_FSIZE from 80 kB up; {written} of them wrote something first",
    )  # fmt: skip


def _failing(folder: Path) -> Figure:
    """A disk that fails in the middle of a run, and after it a run on a sound one, which goes on from there."""
    shim = folder / "failing_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, _HERE / "failing_disk.c", "-ldl"], check=True)
    kept = written = 0
    for number in range(20):
        store = folder / f"failing{number}.sqlite"
        error = (errno.EIO, errno.EROFS)[number % 2]
        # A store's own tables take some twenty writes, each result a few more.
        broken = {"LD_PRELOAD": str(shim), "FAILS_AFTER": str(5 + 17 * number), "FAILS_WITH": str(error)}
        process = _start(store, 100, **broken)
        out, _ = process.communicate()
        acknowledged = {f"e{line}" for line in out.split()}
        written += bool(acknowledged)
        after, _ = _start(store, 100).communicate()
        names = _names(store)
        once = len(names) == len(set(names)) == 100 and not acknowledged & {
            f"e{line}" for line in after.split()
        }
        kept += once and process.returncode != 0 and len(acknowledged) < 100
    return Figure(
        name="a disk that fails: acknowledged only what is on it, and the next run goes on", value=f"{kept} of 20",
        bar="20 of 20", met=kept == 20 and written >= 10,
        note=f"EIO and EROFS from the sixth to the 329th write or sync on; {written} of them wrote something first",
    )  # fmt: skip


if __name__ == "__main__":
    main()
