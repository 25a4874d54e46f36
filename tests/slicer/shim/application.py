"""Stand-ins for ``slicer.app``, ``slicer.modules`` and ``slicer.i18n``."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PySide6 import QtCore, QtWidgets

from tests.slicer.shim.pythonqt import bridged

__all__ = ["Application", "Modules", "Selection", "tr"]


def tr(text: str, *arguments: object) -> str:
    """``slicer.i18n.tr``: English."""
    return text


class Selection:
    """What the application's selection node was told to show."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("SetActive") and name.endswith("ID"):
            return lambda node: self.shown.append((name[len("SetActive") : -len("ID")], node))
        raise AttributeError(name)


class _Logic:
    """The application logic, as far as a form talks to it: which nodes are to be shown."""

    def __init__(self) -> None:
        self.selection = Selection()

    def GetSelectionNode(self) -> Selection:
        return self.selection

    def PropagateTableSelection(self) -> None: ...
    def PropagatePlotChartSelection(self) -> None: ...
    def PropagateVolumeSelection(self, fit: int = 1) -> None: ...


class Application:
    """``slicer.app``: settings of its own, signals nobody sends, no main window."""

    applicationName = "Slicer"
    applicationVersion = "5.11.0"
    majorVersion, minorVersion = 5, 11
    os = "linux"

    def __init__(self, folder: Path) -> None:
        self.temporaryPath = str(folder)
        self.slicerHome = str(folder / "Slicer")
        self._settings = bridged(QtCore.QSettings)(
            str(folder / "Slicer.ini"), QtCore.QSettings.Format.IniFormat
        )
        self.logic = _Logic()
        self.connections: list[tuple[str, Any]] = []
        self.opened: list[str] = []

    def testingEnabled(self) -> bool:
        return True

    def settings(self) -> Any:
        return self._settings

    userSettings = settings

    def applicationLogic(self) -> _Logic:
        return self.logic

    def layoutManager(self) -> None:
        return None

    def mainWindow(self) -> None:
        return None

    def topLevelWidgets(self) -> list[Any]:
        return []

    def connect(self, signature: str, slot: Any) -> bool:
        self.connections.append((signature, slot))
        return True

    def disconnect(self, signature: str, slot: Any) -> bool:
        self.connections.remove((signature, slot))
        return True

    def moduleManager(self) -> Any:
        return self

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def palette(self) -> Any:
        return QtWidgets.QApplication.palette()

    def startupEnvironment(self) -> Any:
        return SimpleNamespace(keys=lambda: list(os.environ), value=os.environ.get)

    def setOverrideCursor(self, cursor: Any) -> None: ...
    def restoreOverrideCursor(self) -> None: ...


class Modules(SimpleNamespace):
    """``slicer.modules``: what is registered by `scripted.load`."""
