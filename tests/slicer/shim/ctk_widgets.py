"""Stand-ins for the ctk widgets that the form uses: the same names, properties and signals, drawn much alike."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from tests.slicer.shim.pythonqt import Bridge, bridged

__all__ = ["ctkCollapsibleButton", "ctkPathLineEdit"]

HEADER = 24  # height in pixels of the button that opens and closes


class ctkCollapsibleButton(Bridge, QtWidgets.QWidget):
    """A titled section that opens and closes; its layout is the caller's."""

    contentsCollapsed = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._collapsed = False
        self._hidden: list[QtWidgets.QWidget] = []
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            self._hidden = [
                child
                for child in self.children()
                if isinstance(child, QtWidgets.QWidget) and not QtWidgets.QWidget.isHidden(child)
            ]
            for child in self._hidden:
                child.hide()
            self.setMaximumHeight(HEADER)
        else:
            self.setMaximumHeight(16777215)
            for child in self._hidden:
                child.show()
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    text = QtCore.Property(str, lambda self: self._text, _set_text)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _set_collapsed)
    checked = QtCore.Property(
        bool, lambda self: not self._collapsed, lambda self, on: self._set_collapsed(not on)
    )

    def setText(self, text: str) -> None:
        self._set_text(text)

    def setCollapsed(self, collapsed: bool) -> None:
        self._set_collapsed(collapsed)

    def setChecked(self, checked: bool) -> None:
        self._set_collapsed(not checked)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """A .ui file says `collapsed` before its children are there."""
        super().childEvent(event)
        child = event.child()
        if event.added() and self._collapsed and isinstance(child, QtWidgets.QWidget):
            self._hidden.append(child)
            child.hide()

    def minimumSizeHint(self) -> QtCore.QSize:
        inner = super().minimumSizeHint()
        return QtCore.QSize(max(inner.width(), 120), HEADER if self._collapsed else inner.height())

    def sizeHint(self) -> QtCore.QSize:
        inner = super().sizeHint()
        return QtCore.QSize(inner.width(), HEADER if self._collapsed else inner.height())

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() < HEADER:
            self._set_collapsed(not self._collapsed)
        else:
            super().mousePressEvent(event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.rect.width(), HEADER - 2)
        option.features = QtWidgets.QStyleOptionButton.ButtonFeature.None_
        painter.drawPrimitive(QtWidgets.QStyle.PrimitiveElement.PE_PanelButtonCommand, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 5, 12, 12)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(
            kind.PE_IndicatorArrowRight if self._collapsed else kind.PE_IndicatorArrowDown, arrow
        )
        painter.drawText(
            option.rect.adjusted(24, 0, 0, 0), int(QtCore.Qt.AlignmentFlag.AlignVCenter), self._text
        )


class ctkPathLineEdit(Bridge, QtWidgets.QWidget):
    """A line for a path with a button that opens a file dialog."""

    currentPathChanged = QtCore.Signal(str)
    Dirs, Files, Readable, Writable = 0x001, 0x002, 0x010, 0x020

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._edit = bridged(QtWidgets.QLineEdit)(self)
        self._browse = bridged(QtWidgets.QToolButton)(self)
        self._browse.text = "..."
        layout.addWidget(self._edit)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._filters = self.Files

    def _set_path(self, path: str) -> None:
        self._edit.setText(path)

    def _set_filters(self, filters: int) -> None:
        self._filters = filters

    currentPath = QtCore.Property(str, lambda self: self._edit.text, _set_path)
    filters = QtCore.Property(int, lambda self: self._filters, _set_filters)

    def setCurrentPath(self, path: str) -> None:
        self._set_path(path)
