"""A proof's figures: printed, kept as JSON beside the scripts, and written into docs/reliability.md."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unetbench.machine import machine
from unetbench.reporting.files import write_text

_HERE = Path(__file__).parent
_RESULTS = _HERE / "published"
DOCS = _HERE.parents[1] / "docs"
_WORDS = {True: "met", False: "MISSED", None: "–"}
_BEGIN, _END = "<!-- figures: begin (benchmarks/selftest) -->", "<!-- figures: end -->"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a proof, with the bar it was to reach."""

    name: str
    value: str
    bar: str
    met: bool | None  # None where there is no bar
    note: str = ""


def upper_bound(count: int, trials: int, confidence: float = 0.95) -> float:
    """Return the upper confidence bound of a rate, exact (Clopper and Pearson), by bisection."""
    low, high = count / trials, 1.0
    if count >= trials:
        return 1.0
    for _ in range(100):
        middle = (low + high) / 2
        tail = sum(
            math.exp(
                math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
                + (k * math.log(middle) if k else 0.0) + (trials - k) * math.log1p(-middle)
            )
            for k in range(count + 1)
        )  # fmt: skip
        low, high = (middle, high) if tail > 1 - confidence else (low, middle)
    return high


def publish(
    number: str, title: str, figures: list[Figure], *, seeds: str = "none", machines: Sequence[str] = ()
) -> None:
    """Print a proof's figures, keep them, and write the page anew from all that are kept.

    machines: where its trials were made; this one where none is named. Figures of another machine stay beside them, so
    that a bar which is missed somewhere is not hidden by one that is met elsewhere.
    """
    record = {
        "number": number,
        "title": title,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": " and ".join(dict.fromkeys(machines)) or machine_named(),
        "seeds": seeds,
        "figures": [asdict(figure) for figure in figures],
    }
    for figure in figures:
        print(f"{_WORDS[figure.met]:6} {figure.name}: {figure.value} ({figure.bar}) {figure.note}")
    write_text(_RESULTS / _file_name(record), json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    write_page()


def _file_name(record: Mapping[str, Any]) -> str:
    words = re.findall("[a-z0-9]+", _machine(record).lower().replace("(r)", ""))
    return "-".join([record["number"], *words]) + ".json"


def _machine(record: Mapping[str, Any]) -> str:
    return str(record["machine"].replace(", virtual machine", ""))


def machine_named() -> str:
    """Return this machine as a line under a table names it, with what is loaded before its libraries: they may see another CPU."""
    facts = machine()
    preloaded = dict(facts.environment or ()).get("LD_PRELOAD")
    parts = (f"{facts.cores} cores", facts.virtualisation, preloaded and f"LD_PRELOAD={preloaded}")
    return ", ".join(filter(None, (facts.cpu, *parts)))


def write_page() -> None:
    """Write the table of docs/reliability.md from the figures that are kept."""
    records = sorted(
        (json.loads(path.read_text(encoding="utf-8")) for path in _RESULTS.glob("*.json")),
        key=lambda record: (
            int("".join(filter(str.isdigit, record["number"]))),
            record["number"],
            record["machine"],
        ),
    )
    machines = Counter(record["number"] for record in records)
    judged = Counter(figure["met"] for record in records for figure in record["figures"])
    lines = [
        f"{judged.total()} figures: {judged[True]} meet their bar, {judged[False]} miss it (**missed**), {judged[None]} have none (–).",
        "",
    ]
    lines += ["| # | figure | reached | asked | | more |", "|---|---|---|---|---|---|"]
    for record in records:
        where = f" {_machine(record)}" if machines[record["number"]] > 1 else ""
        for figure in record["figures"]:
            cells = (
                record["number"] + where, figure["name"], figure["value"], figure["bar"],
                "**missed**" if figure["met"] is False else _WORDS[figure["met"]], figure["note"],
            )  # fmt: skip
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines.append("")
    lines += [
        f"{record['number']}: {record['title']}; {record['date']}, {record['machine']}, seeds {record['seeds']}.  "
        for record in records
    ]
    write_between(DOCS / "reliability.md", _BEGIN, _END, lines)


def write_between(page: Path, begin: str, end: str, lines: list[str]) -> None:
    """Put lines between two markers of a page, in place of those that are there."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    write_text(page, "\n".join([before + begin, "", *lines, "", end]) + after)
