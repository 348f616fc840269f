"""A headless Chromium for the tests of pages: what it was told on the console, and what it asked of any network."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MUST_BE_THERE = os.environ.get("CI", "") not in ("", "false", "0")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--force-color-profile=srgb", "--force-prefers-reduced-motion",
)  # fmt: skip


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Start a browser with a profile of its own and end it."""
    # Without a path selenium would look for a driver on the network.
    assert BINARY and DRIVER, (
        "chromium or chromedriver is missing: `apt-get install chromium chromium-driver`"
    )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def open_page(driver: Any, page: Path, *, limit_s: float = 20.0) -> float:
    """Open a file and return the seconds from its navigation until all of it is drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(page.as_uri())
    WebDriverWait(driver, limit_s, poll_frequency=0.05).until(
        lambda each: each.execute_script("return document.documentElement.dataset.ready")
    )
    return float(driver.execute_script("return Number(document.documentElement.dataset.openedMs)")) / 1000


def console(driver: Any) -> list[str]:
    """Return what the page was told of errors, refusals of its policy among them."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """Return the addresses that were asked for since the last look; what lies in the page itself is none."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    own = ("data:", "blob:", "chrome:")  # the last: its empty first page
    return [url for url in urls if not url.startswith(own)]
