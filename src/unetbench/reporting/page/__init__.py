"""One file to look at, made from the sessions of one or several stores (docs/page.md).

Everything lies in the file: it asks nothing of any network. Figures come from `rows`, what is said of a case
from `certificate`: nothing is computed anew here, and no process is started.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unetbench.records import Result
from unetbench.reporting import files
from unetbench.reporting import report as reports
from unetbench.store import Store, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One session as a page shows it: its report, with the raw results behind it."""

    label: str
    report: reports.Report
    results: tuple[Result, ...]


def source(store: Store, *, session: int | None = None) -> Source:
    """Return a session of an open store, the latest where none is named.

    Raises: BadInput for a session that is not there.
    """
    report = reports.report(store, session=session)
    return Source(label=_label(store.path), report=report, results=store.results(report.session.identifier))


def write(stores: Iterable[Path], path: Path, *, session: int | None = None) -> int:
    """Write the page of some stores, whole or not at all, and return how many results it shows.

    Raises: StoreError where one cannot be read or the page cannot be written; BadInput as `source`.
    """
    from unetbench.reporting.page.document import document  # charts load lazily: they take a second

    sources = []
    for each in stores:
        with reading(each) as store:
            sources.append(source(store, session=session))
    files.write_text(path, document(sources))
    return sum(len(each.report.rows) for each in sources)


def _label(path: Path) -> str:
    """A store's name without the machine's folders: a page is passed on."""
    if path.name != "results.sqlite":
        return path.stem
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "results" else folder.name
