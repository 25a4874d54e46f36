"""Tests that start Java run in a process of their own; this one only asks it and passes its reports on.

A JVM can be started once in a process, takes signals for itself, and may hang in a window that nobody sees: so it
must not be in the process of the other tests. A test that hangs fails after a while; those after it run in a new one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import pytest

__all__ = ["Apart", "Reporter"]

PIPE = "DEEPBIO_TEST_REPORTS"  # number of the file that the child writes its reports to
LONGEST = 90  # seconds that a test may take
START = 90  # seconds for the start of pytest and Java


class Reporter:
    """In the child: writes reports as lines of JSON."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pipe = os.fdopen(int(os.environ[PIPE]), "w", encoding="utf-8")

    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        faulthandler.dump_traceback_later(LONGEST - 5, file=sys.__stderr__)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write({"id": report.nodeid, "report": told})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._write({"id": nodeid, "report": None})

    def _write(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self._pipe, flush=True)


class Apart:
    """In the parent: runs items in a child and passes its reports on.

    Parameters
    ----------
    config : pytest.Config
        Of the parent.
    fixture : str
        Items that use it run apart.
    folder : Path
        For the list of items and the child's output.
    """

    def __init__(self, config: pytest.Config, fixture: str, folder: Path) -> None:
        self._config, self._fixture, self._folder = config, fixture, folder
        self._child: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._patience = START

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self._is_apart(item):
            return None
        if self._child is None:
            all_items = item.session.items
            self._start(one for one in all_items[all_items.index(item) :] if self._is_apart(one))
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        item.session._setupstate.teardown_exact(nextitem)  # what items before this one needed of its module
        return True

    def pytest_sessionfinish(self) -> None:
        self._end(patience=10)

    def _is_apart(self, item: pytest.Item) -> bool:
        return self._fixture in getattr(item, "fixturenames", ())

    def _start(self, items: Iterable[pytest.Item]) -> None:
        chosen, log = self._folder / "items.txt", self._folder / "output.txt"
        chosen.write_text("".join(f"{item.nodeid}\n" for item in items), encoding="utf-8")
        reading, writing = os.pipe()
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:faulthandler",
            "-p",
            "no:cacheprovider",
            f"@{chosen}",
        ]
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command,
                cwd=self._config.rootpath,
                env={**os.environ, PIPE: str(writing)},
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that it can be ended with all that it started
            )
        os.close(writing)
        self._lines = queue.Queue()
        pipe = os.fdopen(reading, encoding="utf-8")
        threading.Thread(target=_listen, args=(pipe, self._lines), daemon=True).start()
        self._patience = START + LONGEST

    def _reports(self, item: pytest.Item) -> Iterable[pytest.TestReport]:
        while True:
            try:
                line = self._lines.get(timeout=self._patience)
            except queue.Empty:
                yield self._failure(item, f"The test took more than {self._patience} s and was ended.")
                return
            if line is None:
                yield self._failure(item, "The process of the test has ended.")
                return
            self._patience = LONGEST
            if line["id"] != item.nodeid:
                continue
            if line["report"] is None:
                return
            hook = self._config.hook.pytest_report_from_serializable
            yield hook(config=self._config, data=line["report"])

    def _failure(self, item: pytest.Item, why: str) -> pytest.TestReport:
        self._end()
        output = (self._folder / "output.txt").read_text(encoding="utf-8", errors="replace")[-6000:]
        return pytest.TestReport(
            item.nodeid, item.location, {}, "failed", why, "call", sections=[("Its output", output)]
        )

    def _end(self, patience: float = 0) -> None:
        """End the child, and Xvfb with it."""
        if self._child is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._child = None


def _listen(pipe: TextIO, lines: queue.Queue[dict[str, Any] | None]) -> None:
    with pipe:
        for line in pipe:
            lines.put(json.loads(line))
    lines.put(None)
