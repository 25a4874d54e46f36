"""Stand-ins for the qMRML widgets that the form uses, on the real scene."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from tests.slicer.shim.pythonqt import Bridge, bridged

__all__ = ["qMRMLNodeComboBox", "qMRMLSegmentationShow3DButton", "qMRMLWidget"]


class qMRMLWidget(Bridge, QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(Bridge, QtWidgets.QWidget):
    """Chooses a node of the scene: follows what is added, removed and renamed.

    As the application's: without "None" the first node is taken when there is no other; a node that
    leaves the scene is let go; nothing is looked at while the scene is being closed or loaded.
    """

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = bridged(QtWidgets.QComboBox)(self)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        layout.addWidget(self._combo)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)  # as the application's, it is a stop of Tab
        self._combo.activated.connect(self._chosen)
        self._values: dict[str, Any] = {
            "nodeTypes": [],
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
            "editEnabled": False,
            "showChildNodeTypes": True,
            "showHidden": False,
            "selectNodeUponCreation": True,
            "noneDisplay": "None",
            "baseName": "",
        }
        self._scene: Any = None
        self._current = ""
        self._tags: list[tuple[Any, int]] = []
        self._named: dict[str, tuple[Any, int]] = {}

    def _value(name: str, kind: Any) -> Any:
        def read(self: Any) -> Any:
            return self._values[name]

        def write(self: Any, value: Any) -> None:
            self._values[name] = value
            self._fill()

        return QtCore.Property(kind, read, write)

    nodeTypes = _value("nodeTypes", "QStringList")
    noneEnabled = _value("noneEnabled", bool)
    addEnabled = _value("addEnabled", bool)
    removeEnabled = _value("removeEnabled", bool)
    renameEnabled = _value("renameEnabled", bool)
    editEnabled = _value("editEnabled", bool)
    showChildNodeTypes = _value("showChildNodeTypes", bool)
    showHidden = _value("showHidden", bool)
    selectNodeUponCreation = _value("selectNodeUponCreation", bool)
    noneDisplay = _value("noneDisplay", str)
    baseName = _value("baseName", str)
    currentNodeID = QtCore.Property(
        str, lambda self: self._current, lambda self, node: self.setCurrentNodeID(node)
    )

    def setMRMLScene(self, scene: Any) -> None:
        for subject, tag in [*self._tags, *self._named.values()]:
            subject.RemoveObserver(tag)
        self._tags, self._named = [], {}
        self._scene = scene
        if scene is not None:
            changes = (
                slicer.vtkMRMLScene.NodeAddedEvent,
                slicer.vtkMRMLScene.NodeRemovedEvent,
                slicer.vtkMRMLScene.EndBatchProcessEvent,
                slicer.vtkMRMLScene.EndCloseEvent,
            )
            self._tags = [(scene, scene.AddObserver(event, self._changed)) for event in changes]
        self._fill()

    def mrmlScene(self) -> Any:
        return self._scene

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node: str | None) -> None:
        known = [one.GetID() for one in self._nodes()]
        self._select(node if node in known else "")
        self._fill()

    def nodeCount(self) -> int:
        return len(self._nodes())

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        found = []
        for k in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(k)
            if not self._values["showHidden"] and node.GetHideFromEditors():
                continue
            kinds = self._values["nodeTypes"]
            exact = node.GetClassName() in kinds
            if exact or (self._values["showChildNodeTypes"] and any(node.IsA(kind) for kind in kinds)):
                found.append(node)
        return found

    def _changed(self, caller: Any, event: str) -> None:
        if self._scene is not None and not self._scene.IsBatchProcessing():
            self._fill()

    def _fill(self) -> None:
        nodes = self._nodes()
        known = [node.GetID() for node in nodes]
        for name in [name for name in self._named if name not in known]:
            subject, tag = self._named.pop(name)
            subject.RemoveObserver(tag)
        for node in nodes:
            if node.GetID() not in self._named:
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed)
                self._named[node.GetID()] = (node, tag)
        combo = self._combo
        blocked = combo.blockSignals(True)
        combo.clear()
        if self._values["noneEnabled"] or not nodes:
            combo.addItem(
                self._values["noneDisplay"] if self._values["noneEnabled"] else "Select a Volume", ""
            )
        for node in nodes:
            combo.addItem(node.GetName(), node.GetID())
        if self._current not in known:
            self._select("" if self._values["noneEnabled"] or not known else known[0])
        combo.setCurrentIndex(combo.findData(self._current))
        combo.blockSignals(blocked)

    def _chosen(self, index: int) -> None:
        self._select(self._combo.itemData(index))

    def _select(self, node: str) -> None:
        if node != self._current:
            self._current = node
            at = self._combo.findData(node)
            if at >= 0:
                self._combo.setCurrentIndex(at)
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node)


class qMRMLSegmentationShow3DButton(Bridge, QtWidgets.QPushButton):
    """Makes the closed surface of a segmentation and shows it, or hides it again."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self.setText("Show 3D")
        self.setCheckable(True)
        self.clicked.connect(self._toggle)

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        surface = node is not None and node.GetSegmentation().ContainsRepresentation("Closed surface")
        self.setEnabled(node is not None)
        self.setChecked(bool(surface))

    def segmentationNode(self) -> Any:
        return self._node

    def _toggle(self, on: bool) -> None:
        if on:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()
