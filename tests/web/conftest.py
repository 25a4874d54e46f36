"""The page as users have it: a process of its own, and Debian's Chromium in front of it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = 120.0  # seconds; machines that test are slow


class Served:
    """A running ``deepbio view``."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deepbio", "view", *map(str, words), "--no-browser"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.errors: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        for stream, take in (
            (self.process.stdout, self._lines.put),
            (self.process.stderr, self.errors.append),
        ):
            threading.Thread(target=_drain, args=(stream, take), daemon=True).start()
        self.address = self._address()

    def _address(self) -> str:
        end = time.monotonic() + START
        while time.monotonic() < end:
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                assert self.process.poll() is None, "".join(self.errors)
                continue
            if "http://" in line:
                return line[line.index("http://") :].strip()
        raise AssertionError(f"no address within {START:g} s: {''.join(self.errors)}")

    def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(2)
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()


def _drain(stream: Any, take: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            take(line)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """``serve(image, "--model", name)``: pages that are ended with the module."""
    pytest.importorskip("trame_slicer", reason="the extra 'web' is not installed")
    started: list[Served] = []

    def start(*words: object) -> Served:
        started.append(Served(*words))
        return started[-1]

    yield start
    for one in started:
        one.stop()


class Tab:
    """A page in the browser, with everything that went wrong in it."""

    def __init__(self, browser: Any, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console", lambda message: message.type == "error" and self.problems.append(message.text)
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def wait_until_ready(self) -> None:
        self.page.wait_for_selector("#segment:not([disabled])")

    def choose(self, option: str, value: str) -> None:
        """Set an option of the list; the panel stays open."""
        if not self.page.locator(".v-expansion-panel--active").count():
            self.page.click("#options button")
        self.page.click(f".v-select:has(label:text-is('{option.capitalize()}'))")
        self.page.click(f".v-overlay--active .v-list-item:has-text('{value}')")

    def segment(self) -> None:
        self.wait_until_ready()
        self.page.click("#segment")

    def type(self, option: str, text: str) -> None:
        """Fill in an option of the open list."""
        self.page.locator(f".v-text-field:has(label:text-is('{option.capitalize()}')) input").first.fill(text)

    def options(self) -> list[str]:
        """Names of the options that are shown; opens the list."""
        if not self.page.locator(".v-expansion-panel--active").count():
            self.page.click("#options button")
        found = self.page.locator("#options ~ * label, .v-expansion-panel-text label").all_inner_texts()
        return [name.strip() for name in found if name.strip()]

    def wait_for_result(self, verb: str = "Segment") -> None:
        self.page.wait_for_selector("#results")
        self.page.wait_for_function(f"document.querySelector('#segment').innerText.includes('{verb}')")

    def download(self, word: str, folder: Path) -> Path:
        with self.page.expect_download() as started:
            self.page.click(f"a.download:has-text('{word}')")
        path = folder / started.value.suggested_filename
        started.value.save_as(path)
        return path

    def close(self) -> None:
        self.context.close()
