"""Loads .ui files with the stand-ins of the ctk and qMRML classes."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from tests.slicer.shim import ctk_widgets, mrml_widgets
from tests.slicer.shim.pythonqt import bridged

_CUSTOM = {name: getattr(module, name) for module in (ctk_widgets, mrml_widgets) for name in module.__all__}


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader, which asks Python for every widget; an unknown class is an error, not a plain QWidget."""

    def createWidget(self, kind: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        if kind in _CUSTOM:
            widget = _CUSTOM[kind](parent)
        elif hasattr(QtWidgets, kind):
            widget = bridged(getattr(QtWidgets, kind))(parent)
        else:
            raise RuntimeError(f"the .ui file names the class {kind!r}, for which there is no stand-in")
        QtCore.QObject.setObjectName(widget, name)
        _KEPT.append(widget)
        return widget

    def load(self, file: Any) -> Any:
        _KEPT.clear()
        widget = super().load(file)
        if widget is not None:
            widget.__dict__["_kept"] = list(_KEPT)  # or Python would forget which class each child has
        return widget


_KEPT: list[Any] = []
