"""Results as the public API gives them: a session's, ready for a frame. It computes nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetbench.errors import MissingPackage, StoreError
from unetbench.records import Result, Session
from unetbench.reporting.standing import Standings, of_session
from unetbench.store import reading


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one session, as the public API gives them."""

    session: Session
    results: tuple[Result, ...]
    said: Standings

    def to_pandas(self) -> Any:
        """Return a pandas frame with one row a case: the columns of results.csv.

        Raises: MissingPackage where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackage(
                "to_pandas needs pandas: install it with `uv pip install unetbench[pandas]`."
            ) from error
        from unetbench.reporting.files import columns
        from unetbench.reporting.rows import rows

        return pandas.DataFrame([columns(row) for row in rows(self.results, self.said)])


def load(path: str | Path) -> Results:
    """Return the results of a store's latest session.

    Raises: StoreError where the file cannot be used or holds no session.
    """
    with reading(Path(path)) as store:
        sessions = store.sessions()
        if not sessions:
            raise StoreError(f"store {str(path)!r} holds no session yet: run the suite first.")
        results = store.results(sessions[-1].identifier)
        return Results(sessions[-1], results, of_session(store, sessions[-1], results)[0])
