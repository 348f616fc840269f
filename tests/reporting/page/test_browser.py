"""The page in a real browser: sorted, filtered, selected and read by keyboard; silent, and asking nothing of anybody."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests import browser
from tests.reporting.page.test_document import HOSTILE, store
from tests.reporting.test_attribution import write_cut
from tests.samples import case, machine, measurement
from unetbench.records import Result, Session
from unetbench.reporting import page
from unetbench.reporting.page.document import document
from unetbench.reporting.report import Report
from unetbench.reporting.rows import rows
from unetbench.suite import encoder_tags

_SUITES = Path(__file__).parents[3] / "benchmarks"
# By name: what is published later changes no count, and up to 400 points are drawn as SVG, which can be looked into.
PUBLISHED = [
    _SUITES / suite / "published" / name / "results.sqlite"
    for suite, name in (
        ("decoders", "epyc-avx512-2-cores"),
        ("fpn_decoder", "epyc-avx512-2-cores"),
        ("recipes", "xeon-avx512-2-cores"),
        ("unet_decoder", "epyc-avx512-2-cores-standard"),
        ("unet_decoder", "xeon-amx-2-cores"),
        ("unet_decoder", "xeon-amx-2-cores-standard"),
    )
]
OPENS_WITHIN_S = 6.0  # 2 s on a quiet machine (docs/tool-speed.md); the tests' machine has other work

pytestmark = pytest.mark.skipif(
    not (browser.BINARY and browser.DRIVER) and not browser.MUST_BE_THERE,
    reason="no chromium and chromedriver here: `apt-get install chromium chromium-driver`",
)


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    page.write(PUBLISHED, path)
    return path


@pytest.fixture
def opened(driver: Any, published: Path) -> Iterator[Any]:
    browser.requests(driver)
    browser.console(driver)
    driver.set_window_size(1280, 900)
    browser.open_page(driver, published)
    assert driver.find_element("id", "filter-machine").get_attribute("value")  # one machine at first
    driver.find_element("id", "clear").click()
    yield driver
    assert browser.console(driver) == []
    assert set(browser.requests(driver)) == {published.as_uri()}


def _column(driver: Any, name: str) -> list[str]:
    """The texts of a column, as shown."""
    return driver.execute_script(  # type: ignore[no-any-return]
        """const table = document.getElementById("table");
        const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === arguments[0]);
        return [...table.tBodies[0].querySelectorAll("tr.row")].map((row) => row.cells[at].textContent);""",
        name,
    )


def _choose(driver: Any, select: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("id", select)).select_by_visible_text(text)


def _click(driver: Any, css: str, text: str = "") -> None:
    every = driver.find_elements("css selector", css)
    element = next(each for each in every if text in each.text)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def _until(driver: Any, script: str, *arguments: Any) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 10, poll_frequency=0.05).until(
        lambda each: each.execute_script(script, *arguments)
    )


def test_a_column_sorts_both_ways_and_says_so(opened: Any) -> None:
    def times() -> list[float]:
        return [float(text) for text in _column(opened, "median ms") if text]

    assert times() == sorted(times())
    heading = "#table thead th[aria-sort=ascending] button"
    assert opened.find_element("css selector", heading).text == "median ms"
    _click(opened, heading)
    assert times() == sorted(times(), reverse=True)
    assert len(opened.find_elements("css selector", "#table th[aria-sort=descending]")) == 1
    _choose(opened, "order", "encoder ↑")
    names = _column(opened, "encoder")
    assert names[0].startswith("edgenext")


def test_filters_and_search_leave_what_they_say(opened: Any) -> None:
    _choose(opened, "filter-family", "resnet")
    assert {name[:6] for name in _column(opened, "encoder")} == {"resnet"}
    _choose(opened, "filter-measured_class", "approximate")
    assert set(_column(opened, "answer")) == {"approximate"}
    shown = opened.find_element("id", "count").text
    assert shown.startswith(f"{len(_column(opened, 'encoder'))} results")
    opened.find_element("id", "clear").click()
    opened.find_element("id", "search").send_keys("mobileone_s0 openvino fold_head")
    _until(opened, "return document.getElementById('count').textContent.startsWith('4 results')")
    assert all("openvino" in recipe for recipe in _column(opened, "recipe"))


@pytest.mark.parametrize("field", ["decoder", "recipe", "machine"])
def test_every_filter_leaves_what_it_says(opened: Any, field: str) -> None:
    assert len(set(_column(opened, field))) > 1
    *_, last = opened.find_elements("css selector", f"#filter-{field} option")
    value = last.get_attribute("value")
    _choose(opened, f"filter-{field}", value)
    assert set(_column(opened, field)) == {value}


def test_a_click_on_a_point_selects_its_row_and_those_tied_with_it(opened: Any) -> None:
    _choose(opened, "filter-preset", "standard")
    symbol = "#front-chart .mark-symbol.role-mark path"
    shown = sum(bool(text) for text in _column(opened, "median ms"))
    _until(opened, f"return document.querySelectorAll('{symbol}').length === {shown}")  # all are drawn anew
    _click(opened, "#front-list button", "regnetx_002")
    (picked,) = opened.find_elements("css selector", "tr.picked[aria-current=true]")
    assert picked.find_element("css selector", ".open") == opened.switch_to.active_element
    assert opened.find_elements("css selector", "tr.tied")
    assert "Not told apart from" in opened.find_element("id", "count").text
    # Symbols of the chart itself, by a real mouse.
    from selenium.webdriver import ActionChains

    symbols = opened.find_elements("css selector", symbol)
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", symbols[-1])
    ActionChains(opened).move_to_element(symbols[-1]).perform()
    tip = _until(
        opened, "const tip = document.getElementById('tip'); return tip.hidden ? null : tip.textContent"
    )
    assert "M parameters" in tip
    ActionChains(opened).click().perform()
    (picked,) = opened.find_elements("css selector", "tr.picked")
    assert picked.find_element("css selector", ".open").text in tip


def test_the_axes_can_be_chosen(opened: Any) -> None:
    _choose(opened, "axis-across", "Relative error against fp64")
    _until(opened, "return document.getElementById('front-chart').textContent.includes('Relative error')")


def _fills(driver: Any, css: str) -> dict[str, set[str]]:
    """The fills of symbols by the runtime that they stand for."""
    found: dict[str, set[str]] = {}
    for name, fill in driver.execute_script(
        """return [...document.querySelectorAll(arguments[0])].map((each) => {
          const datum = each.__data__.datum;
          return [datum.runtime ?? datum.value, getComputedStyle(each).fill];
        });""",
        css,
    ):
        found.setdefault(name, set()).add(fill)
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_the_legend_has_the_colours_of_the_points(opened: Any, dark: bool) -> None:
    _until(opened, "return document.querySelectorAll('#front-chart svg .role-legend').length === 2")
    if dark:
        opened.find_element("id", "theme").click()
    points = _fills(opened, "#front-chart .mark-symbol.role-mark path")
    legend = _fills(opened, "#front-chart .role-legend-symbol path")
    runtimes = {name: legend[name] for name in points}
    assert len(points) >= 6
    assert runtimes == points
    assert len({frozenset(each) for each in points.values()}) == len(points), "each its own"
    assert all(len(each) == 1 for each in points.values())


def test_a_colour_stays_with_its_runtime_when_others_are_filtered_away(opened: Any) -> None:
    points = "#front-chart .mark-symbol.role-mark path"
    _until(opened, f"return document.querySelectorAll('{points}').length > 100")
    before = _fills(opened, points)
    opened.find_element("id", "search").send_keys("openvino fold_head")
    _until(opened, f"return document.querySelectorAll('{points}').length < 100")
    after = _fills(opened, points)
    assert {name: before[name] for name in after} == after
    assert set(after) < set(before)


def test_sections_are_drawn_with_the_machines_limit(driver: Any, tmp_path: Path) -> None:
    write_cut(tmp_path / "results.sqlite")
    page.write([tmp_path / "results.sqlite"], tmp_path / "page.html")
    browser.open_page(driver, tmp_path / "page.html")
    assert len(driver.find_elements("css selector", "#sections-chart .mark-rect.role-mark path")) == 2 + 2
    text = driver.find_element("id", "sections").text
    for said in ("Where the time goes", "encoder", "head", "the whole", "at the machine's limits"):
        assert said in text
    key = driver.execute_script(
        "const data = JSON.parse(document.getElementById('data').textContent);"
        "return data.columns.case[data.sections[0].at]"
    )
    driver.get("about:blank")
    driver.get(f"{(tmp_path / 'page.html').as_uri()}#{key}")
    _until(driver, "return document.querySelector('tr.case')?.textContent.includes('encoder 40.0 ms')")
    driver.find_element("id", "search").send_keys("resnet34")
    _until(driver, "return document.getElementById('sections').hidden")
    assert browser.console(driver) == []
    browser.requests(driver)


def test_a_case_opens_with_its_runs_and_the_command(opened: Any) -> None:
    _choose(opened, "filter-preset", "standard")
    _click(opened, "#table tbody .open")
    _until(opened, "return document.querySelectorAll('tr.case svg').length === 2")
    text = opened.find_element("css selector", "tr.case").text
    for said in ("Certificate", "relative error", "unetbench run", "--preset standard", "quiet machine"):
        assert said in text
    assert opened.find_element("css selector", ".open[aria-expanded=true]")
    _click(opened, ".open[aria-expanded=true]")
    assert not opened.find_elements("css selector", "tr.case")


def test_a_link_to_a_case_opens_it(driver: Any, published: Path) -> None:
    browser.open_page(driver, published)
    key = driver.execute_script(
        "return JSON.parse(document.getElementById('data').textContent).columns.case[3]"
    )
    driver.get("about:blank")
    driver.get(f"{published.as_uri()}#{key}")
    _until(driver, "return document.querySelectorAll('tr.case svg').length === 2")
    assert key in driver.find_element("css selector", "tr.case").text
    assert browser.console(driver) == []


def test_of_a_case_in_two_sessions_each_can_be_linked(driver: Any, published: Path) -> None:
    browser.open_page(driver, published)
    key, first, second = driver.execute_script(
        """const { case: keys, source } = JSON.parse(document.getElementById("data").textContent).columns;
        const again = keys.findIndex((key, at) => source[keys.indexOf(key)] !== source[at]);
        return [keys[again], source[keys.indexOf(keys[again])], source[again]];"""
    )
    for number in (first, second):
        driver.get("about:blank")
        driver.get(f"{published.as_uri()}#{key}@{number + 1}")
        _until(driver, "return document.querySelectorAll('tr.case svg').length === 2")
        said = driver.execute_script("return document.querySelector('tr.case details').textContent")
        assert PUBLISHED[number].parent.name in said
    assert browser.console(driver) == []


def test_failures_machines_and_conditions_are_there(opened: Any) -> None:
    assert "wrong output" in opened.find_element("id", "failures").text
    machines = opened.find_element("id", "machines").text
    assert "avx512" in machines
    assert "amx" in machines
    assert "cores granted" in opened.find_element("id", "about").text


def test_it_is_read_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.refresh()  # the focus begins at the top again
    _until(opened, "return document.documentElement.dataset.ready")
    opened.find_element("tag name", "body").send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the table"
    seen = set()
    for _ in range(12):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        focused = opened.switch_to.active_element
        seen.add(focused.get_attribute("id") or focused.text)
        assert opened.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focused) != "none"
    assert {"theme", "search", "filter-family", "filter-recipe"} <= seen
    first = opened.find_element("css selector", "#table tbody .open")
    opened.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.ENTER)
    assert opened.switch_to.active_element.get_attribute("aria-expanded") == "true"


def test_screen_readers_get_a_table_with_headings(opened: Any) -> None:
    assert opened.find_elements("css selector", "#table caption, #count[aria-live=polite]")
    headings = opened.find_elements("css selector", "#table thead th")
    assert all(heading.get_attribute("scope") == "col" for heading in headings)
    assert all(heading.get_attribute("aria-sort") for heading in headings)
    assert opened.find_elements("css selector", "#table tbody th[scope=row]")
    unnamed = opened.execute_script(
        "return [...document.querySelectorAll('button, select, input')].filter((each) => "
        "!each.textContent.trim() && !each.labels?.length && !each.ariaLabel).map((each) => each.outerHTML)"
    )
    assert unnamed == []


def test_night_and_day(opened: Any) -> None:
    def paper() -> str:
        return str(opened.execute_script("return getComputedStyle(document.documentElement).backgroundColor"))

    day = paper()
    opened.find_element("id", "theme").click()
    assert paper() != day
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})  # fmt: skip
    opened.refresh()
    assert paper() != day
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_on_paper_all_can_be_read_and_times_have_their_machine(opened: Any) -> None:
    shown = "return getComputedStyle(arguments[0]).display !== 'none'"
    if opened.execute_script("return document.documentElement.dataset.theme") != "dark":
        opened.find_element("id", "theme").click()
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        paper = opened.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        _until(opened, "return document.querySelector('#front svg, #front canvas')")
        turned = "return getComputedStyle(document.querySelector('#front svg, #front canvas')).filter"
        assert opened.execute_script(turned).startswith("invert(1)"), "light words on white paper"
        good = "return getComputedStyle(document.documentElement).getPropertyValue('--good')"
        assert opened.execute_script(good).strip() == "#1c6b45", "as by day"
        for css, there in (
            ("#filters", False),
            ("#theme", False),
            ("#more button", False),
            ("#more", True),  # how many rows of how many
            ("#table td.machine", True),
            ("#table td.answer", True),
            ("#table td.error", True),
        ):
            assert opened.execute_script(shown, opened.find_element("css selector", css)) == there, css
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        opened.find_element("id", "theme").click()


def test_a_phone_shows_it_without_scrolling_sideways(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        _until(opened, "return document.documentElement.clientWidth === 390")
        opened.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert opened.execute_script("return document.documentElement.scrollWidth") == 390
        assert opened.execute_script("return document.querySelector('#results .scroll').scrollWidth") <= 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_names_do_nothing(driver: Any, tmp_path: Path) -> None:
    hostile = store(tmp_path / "hostile.sqlite", machine(cpu=HOSTILE))
    page.write([hostile], tmp_path / "page.html")
    browser.open_page(driver, tmp_path / "page.html")
    assert HOSTILE.replace("\u2028", " ")[:9] in driver.find_element("id", "failures").text
    assert len(driver.find_elements("css selector", "script")) == 5
    assert browser.console(driver) == []
    browser.requests(driver)


def test_the_policy_stops_a_script_that_got_in(driver: Any, published: Path, tmp_path: Path) -> None:
    text = published.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(
        text.replace("<header>", "<script>document.title = 'got in'</script><header>", 1), encoding="utf-8"
    )
    browser.open_page(driver, broken)
    assert driver.title != "got in"
    assert any("Content Security Policy" in message for message in browser.console(driver))
    browser.requests(driver)


def test_ten_thousand_results_open_soon(driver: Any, tmp_path: Path) -> None:
    browser.open_page(driver, large_page(tmp_path, encoders=400, sizes=25), limit_s=30)
    took_s = float(driver.execute_script("return document.documentElement.dataset.openedMs")) / 1000
    assert took_s < OPENS_WITHIN_S
    assert driver.find_element("id", "count").text.startswith("10,000 results")
    assert browser.console(driver) == []
    browser.requests(driver)


def large_page(folder: Path, *, encoders: int, sizes: int) -> Path:
    """Write the page of a session with so many results; every time, size and error is another."""
    names = sorted(encoder_tags())[:encoders]
    results = []
    for number, (name, size) in enumerate(product(names, range(sizes))):
        each = case(name, height_px=32 * (size + 1), width_px=32 * (size + 1))
        measured = measurement(
            20 + number % 977 / 5,
            parameters=1_000_000 + 7919 * number,
            peak_run_bytes=200_000_000 + 1009 * number,
        )
        results.append(Result(case=each, key=str(number), session=1, measurements=(measured,)))
    session = Session(identifier=1, started_utc="2026-11-23T10:00:00+00:00", machine=machine(), preset="quick", images="x", command="run suite")  # fmt: skip
    report = Report(session=session, rows=rows(results), other_sessions=0)
    path = folder / "large.html"
    path.write_text(
        document([page.Source(label="large", report=report, results=tuple(results))]), encoding="utf-8"
    )
    return path
