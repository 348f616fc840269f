"""Rows to the columns of a page, with what its filters need: family, runtime, machine, and who is tied with whom."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unetbench.amounts import counted
from unetbench.records import Machine, Recipe
from unetbench.reporting.limits_page import LIMIT, WHOLE
from unetbench.reporting.page import Source
from unetbench.reporting.row import Row, apart, rewrite_lines
from unetbench.reporting.standing import Standings

_SIGNIFICANT = 5  # digits of a figure; a page shows three
_FIELDS = (
    "encoder", "decoder", "recipe", "size", "batch", "classes", "channels", "threads", "status", "reason", "rank", "verdict",
    "measured_class", "parameters_m", "encoder_parameters_m", "gflop", "median_ms", "low_ms", "high_ms",
    "interval_low_ms", "interval_high_ms", "end_to_end_ms", "images_per_s", "peak_mb", "artifact_mb",
    "speedup", "speedup_low", "speedup_high", "relative_error", "agreement", "blocks", "case",
)  # fmt: skip


def sources_data(sources: Sequence[Source]) -> dict[str, Any]:
    """Return the sessions with their conditions, the machines, and the rows by column."""
    names = machine_names([each.report.session.machine for each in sources])
    labels = _numbered([each.label for each in sources])  # folders of several suites may have one name
    machines = list(dict.fromkeys(names))
    shown = [(number, row) for number, each in enumerate(sources) for row in each.report.rows]
    columns: dict[str, list[Any]] = {
        name: [_plain(getattr(row, name)) for _, row in shown] for name in _FIELDS
    }
    columns["source"] = [number for number, _ in shown]
    columns["machine"] = [names[number] for number, _ in shown]
    columns["network"] = [row.short_network for _, row in shown]
    columns["apart"] = apart([row for _, row in shown], but=("decoder", "trained"))
    columns["trained"] = [row.trained or "random" for _, row in shown]
    columns["family"] = [family(row.encoder) for _, row in shown]
    columns["runtime"] = [runtime(row.recipe) for _, row in shown]
    return {
        "title": _title(sources),
        "machines": machines,
        "sources": [
            _source(each, name, label) for each, name, label in zip(sources, names, labels, strict=True)
        ],
        "columns": columns,
        "ties": _ties(sources, shown),
        "sections": _sections(sources, shown),
    }


def family(encoder: str) -> str:
    """Return the first word of an encoder's name without its size: only a filter's entries hang on it."""
    words = encoder.partition(".")[0].split("_")
    word = words[1] if words[0] in ("tf", "test", "legacy") and len(words) > 1 else words[0]
    return re.sub(r"(?<!v)\d+[a-z]?$", "", word) or word


def runtime(recipe: str) -> str:
    """Return the runtime that a recipe's colour stands for: both, where it takes two."""
    return ">".join(choice.name for choice in Recipe.parse(recipe).runtimes)


def machine_names(machines: Sequence[Machine]) -> list[str]:
    """Return a name for each machine, the same for those whose times may be compared."""
    distinct: list[Machine] = []
    places = []
    for machine in machines:
        same = [at for at, other in enumerate(distinct) if not machine.differs_from(other)]
        if not same:
            distinct.append(machine)
        places.append(same[0] if same else len(distinct) - 1)
    told = _numbered([_machine_name(machine) for machine in distinct])
    return [told[place] for place in places]


def _numbered(names: Sequence[str]) -> list[str]:
    """Return the names, each with its place where several are the same."""
    shared = Counter(names)
    return [f"{name} ({at + 1})" if shared[name] > 1 else name for at, name in enumerate(names)]


def _machine_name(machine: Machine) -> str:
    cpu = re.sub(r"\((?:R|TM)\)|\bCPU\b|\bProcessor\b|@.*", " ", machine.cpu)
    parts = [" ".join(cpu.split()) or machine.cpu, counted(machine.cores, "core"), machine.telling_set]
    return ", ".join(filter(None, parts))


def _title(sources: Sequence[Source]) -> str:
    if len(sources) == 1:
        return sources[0].report.title
    machines = len(set(machine_names([each.report.session.machine for each in sources])))
    return f"{len(sources)} sessions on {machines} machine{'s' if machines > 1 else ''}"


def _source(each: Source, machine: str, label: str) -> dict[str, Any]:
    session = each.report.session
    return {
        "label": label,
        "session": session.identifier,
        "machine": machine,
        "preset": session.preset,
        "verdicts": any(pair.low is not None for pair in each.report.said.pairs.values()),
        "started": session.started_utc,
        "title": each.report.title,
        "conditions": each.report.conditions(),
        "notes": [*each.report.notes(), *rewrite_lines(each.report.shown)],
    }


def _sections(sources: Sequence[Source], shown: Sequence[tuple[int, Row]]) -> list[dict[str, Any]]:
    """Return of each row that was cut its sections' times, in order, and what is marked beside them. Units: ms."""
    cut = [
        (at, sources[number].report.limits.attribution(row.case)) for at, (number, row) in enumerate(shown)
    ]
    return [
        {
            "at": at,
            "parts": [[name, _plain(ms)] for name, ms in found.bars],
            "marks": [[WHOLE, _plain(found.whole_ms)], [LIMIT, _plain(found.limit_ms)]],
        }
        for at, found in cut
        if found is not None
    ]


def _ties(sources: Sequence[Source], shown: Sequence[tuple[int, Row]]) -> dict[str, list[int]]:
    """Return by row those rows of its session that are not told apart from it, both having had a look."""
    place = {(number, row.case): at for at, (number, row) in enumerate(shown)}
    ties: dict[str, list[int]] = {}
    for number, each in enumerate(sources):
        for a, b in _tied(each.report.said):
            if (number, a) in place and (number, b) in place:
                first, second = place[number, a], place[number, b]
                ties.setdefault(str(first), []).append(second)
                ties.setdefault(str(second), []).append(first)
    return ties


def _tied(said: Standings) -> list[tuple[str, str]]:
    ranked: Mapping[str, bool] = {key: each.best_rank is not None for key, each in said.cases.items()}
    return [
        (a, b)
        for (a, b), pair in said.pairs.items()
        if ranked.get(a) and ranked.get(b) and pair.verdict not in ("faster", "slower")
    ]


def _plain(value: Any) -> Any:
    """A figure with the digits that mean something; what is no number is none."""
    if isinstance(value, float):
        return float(f"{value:.{_SIGNIFICANT}g}") if math.isfinite(value) else None
    return value
