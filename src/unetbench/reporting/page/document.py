"""The parts of a page to one HTML file: everything escaped, and nothing that the file does not hold may be run.

The policy names each script and style by its hash: what else gets into the file stays dead text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from unetbench import __version__
from unetbench.reporting import limits_page
from unetbench.reporting.page import Source, cases, charts, table

_SCRIPTS = ("dom.js", "table.js", "charts.js", "case.js", "sections.js", "page.js")  # in order
# Only what the page calls: the default snippet would also make globals of all three libraries.
_LIBRARY = "window.drawVega = vegaEmbed;"
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def document(sources: Sequence[Source]) -> str:
    """Return the whole page of some sessions."""
    data = table.sources_data(sources) | {"version": __version__, "together": cases.TOGETHER}
    library, script = _scripts()
    style = _text("page.css")
    parts = {
        "policy": policy([library, script], [style]),
        "title": html.escape(f"unetbench: {data['title']}"),
        "style": style,
        "data": embedded(data),
        "charts": embedded(charts.specifications() | {"sections": _sections(data["sections"])}),
        "cases": embedded(cases.deflated(sources)),
        "library": library,
        "script": script,
    }
    page = _text("page.html")
    for name, part in parts.items():
        head, mark, tail = page.rpartition(f"@@{name}@@")  # from the end: what was put in is never searched
        assert mark, name
        page = f"{head}{part}{tail}"
    return page


def _sections(cut: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The specification for the sections that a page has; None where no case was cut."""
    order = limits_page.drawn_order(name for each in cut for name, _ in each["parts"])
    chart = limits_page.page_chart(order, charts.DATA) if order else None
    return chart and chart.to_dict(validate=False)


def embedded(value: Any) -> str:
    """Return a value as JSON that can end no script and begin no comment, whatever its texts say."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return text


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Return the content policy under which only those texts are run, and nothing is fetched."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


@cache
def _scripts() -> tuple[str, str]:
    """The charts' library and the page's own script, neither of which can end its element."""
    import vl_convert

    library = vl_convert.javascript_bundle(_LIBRARY)  # takes seconds
    own = '"use strict";\n(() => {\n' + "\n".join(map(_text, _SCRIPTS)) + "\n})();\n"
    return _closed(library), _closed(own)


def _closed(script: str) -> str:
    """A script in whose strings nothing reads as the end of its element."""
    script = script.replace("\r\n", "\n").replace("\r", "\n")
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return resources.files("unetbench.reporting.page").joinpath(name).read_text(encoding="utf-8")
