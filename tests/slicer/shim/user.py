"""Opens the module as the application does, and a user who clicks in it."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtTest, QtWidgets

from tests.slicer.nodes import open_scene
from tests.slicer.shim.install import MODULE, standing_in
from tests.slicer.shim.pythonqt import slot_errors
from tests.slicer.shim.scripted import Loaded

__all__ = ["User", "opened"]

BEAT = 5  # milliseconds


class Heartbeat:
    """How long the event loop did not come round, at worst.

    What other programs took from us is not counted where the system tells it (Linux): with two busy cores, a
    process that does nothing at all sees gaps of 100 ms.
    """

    def __init__(self) -> None:
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._delays = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self.worst = 0.0
        self.beats = 0
        self._last = (0.0, 0.0)

    def start(self) -> None:
        self.worst, self.beats = 0.0, 0
        self._last = self._now()
        self._timer.start(BEAT)

    def stop(self) -> float:
        """Seconds of the longest gap since `start`."""
        self._beat()
        self._timer.stop()
        return self.worst

    def _now(self) -> tuple[float, float]:
        waited = int(self._delays.read_text().split()[1]) / 1e9 if self._delays.exists() else 0.0
        return time.perf_counter(), waited

    def _beat(self) -> None:
        now = self._now()
        gap = (now[0] - self._last[0]) - (now[1] - self._last[1])
        self.worst = max(self.worst, gap)
        self.beats += 1
        self._last = now


class User:
    """Sits before the panel of the module.

    Attributes
    ----------
    ui : namespace
        The widgets by their names in the .ui file.
    form : Form
        What is behind them, for what cannot be seen.
    """

    def __init__(self, loaded: Loaded, app: Any) -> None:
        self.loaded = loaded
        self.app = app
        self.panel = loaded.widgetRepresentation()
        self.panel.resize(430, 900)
        self.panel.show()
        self.heart = Heartbeat()

    @property
    def widget(self) -> Any:
        return self.panel.self()

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def form(self) -> Any:
        return self.widget.form

    @property
    def message(self) -> str:
        """What the inline message says; empty while there is none."""
        return self.form.messages.text if self.ui.messageBox.visible else ""

    def wait(self, until: Callable[[], Any], limit: float = 60.0, what: str = "") -> float:
        """Let the event loop run until something is so; returns the seconds that it took."""
        start = time.perf_counter()
        loop = QtCore.QEventLoop()
        timer = QtCore.QTimer()
        timer.timeout.connect(lambda: loop.quit() if until() or time.perf_counter() - start > limit else None)
        timer.start(2)
        if not until():
            loop.exec()
        timer.stop()
        assert until(), f"{what or 'it'} did not happen within {limit} s; {self.seen()}"
        return time.perf_counter() - start

    def wait_ready(self) -> None:
        self.wait(lambda: self.ui.segmentButton.enabled, what="Segment enabled")

    def click(self, widget: Any) -> None:
        """Press the left button in the middle of a widget that can be seen."""
        assert widget.visible, f"{widget.name} cannot be seen; {self.seen()}"
        assert widget.enabled, f"{widget.name} cannot be clicked; {self.seen()}"
        centre = widget.rect.center()
        if isinstance(widget, (QtWidgets.QCheckBox, QtWidgets.QRadioButton)):
            centre = QtCore.QPoint(8, widget.rect.height() // 2)
        QtTest.QTest.mouseClick(widget, QtCore.Qt.MouseButton.LeftButton, pos=centre)

    def open_section(self, section: Any) -> None:
        """Click on the header of a section, which opens it or closes it."""
        QtTest.QTest.mouseClick(section, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(60, 10))

    def type(self, line: Any, text: str) -> None:
        """Replace what stands in a line."""
        line.selectAll()
        QtTest.QTest.keyClicks(line, text) if text else QtTest.QTest.keyClick(line, QtCore.Qt.Key.Key_Delete)

    def choose(self, combo: Any, data: str) -> None:
        """Choose an entry of a combo box with the keyboard, by what it stands for."""
        combo = getattr(combo, "_combo", combo)  # of a qMRMLNodeComboBox
        target = combo.findData(data)
        assert target >= 0, f"{combo.name} has no {data!r}"
        combo.setFocus()
        for _ in range(combo.count):
            if combo.currentIndex == target:
                return
            down = combo.currentIndex < target
            QtTest.QTest.keyClick(combo, QtCore.Qt.Key.Key_Down if down else QtCore.Qt.Key.Key_Up)
        assert combo.currentIndex == target

    def picture(self, path: Path) -> None:
        """Save what is on the screen."""
        QtTest.QTest.qWait(50)  # lines that wrap move what is below them once more
        assert QtWidgets.QWidget.grab(self.panel).save(str(path))

    def seen(self) -> str:
        ui = self.ui
        return (
            f"model: {(self.form.models.card or {}).get('name')}, why: {ui.whyLabel.text!r}, message: {self.message!r}, progress: {ui.progressLabel.text!r}, "
            f"environment: {ui.environmentText.text!r}, box: {ui.setupText.text if ui.setupBox.visible else ''!r}"
        )


@contextlib.contextmanager
def opened(folder: Path, python: str = sys.executable) -> Iterator[User]:
    """The module in a scene of its own, opened by a user whose Python is set; empty: it is not.

    Errors that slots have raised, which PythonQt only prints, fail the test here.
    """
    before = getattr(slicer, "mrmlScene", None)
    slicer.mrmlScene, keep = open_scene()
    with standing_in(folder) as app:
        if python:
            app.userSettings().setValue("DeepBio/Python", python)
        loaded = Loaded(MODULE)
        user = User(loaded, app)
        user.panel.enter()
        try:
            yield user
        finally:
            user.panel.exit()
            loaded.close()
            slicer.mrmlScene.Clear(1)
            slicer.mrmlScene = before
            del keep
        assert not slot_errors, slot_errors
