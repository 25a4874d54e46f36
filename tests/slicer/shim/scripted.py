"""Stand-ins for ``slicer.ScriptedLoadableModule`` and for how the application loads such a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from tests.slicer.shim.pythonqt import Bridge

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
    "Loaded",
    "ModuleParent",
]


class ModuleParent:
    """The C++ module object, whose attributes the module's constructor sets."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.path = str(path)
        self.title = path.stem
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.helpText = ""
        self.acknowledgementText = ""
        self.hidden = False
        self.icon: Any = None

    def defaultDocumentationLink(self) -> str:
        return ""


class ScriptedLoadableModule:
    """Keeps the C++ module object."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    """Keeps the panel and its layout; the application draws the help and reload sections above."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str = "") -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None: ...
    def cleanup(self) -> None: ...
    def enter(self) -> None: ...
    def exit(self) -> None: ...

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """Gives the module's one parameter node."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node = scene.AddNode(node)
        return node


class ScriptedLoadableModuleTest:
    """The module's self test; the application runs it from a button."""

    def setUp(self) -> None: ...

    def delayDisplay(self, message: str, milliseconds: int = 1000) -> None:
        self.told = message


class Panel(Bridge, QtWidgets.QWidget):
    """qSlicerScriptedLoadableModuleWidget: the panel that a module's widget class fills."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._entered = False
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)

    def fill(self) -> Any:
        widget = getattr(sys.modules[self._name], self._name + "Widget")(self)
        setattr(slicer.modules, self._name + "Widget", widget)
        self._widget = widget
        widget.setup()
        return widget

    def enter(self) -> None:
        """The user opens the module."""
        self._entered = True
        self._widget.enter()

    def exit(self) -> None:
        """The user goes to another module."""
        self._entered = False
        self._widget.exit()

    isEntered = QtCore.Property(bool, lambda self: self._entered)

    def self(self) -> Any:
        return self._widget

    reload = fill


class Loaded:
    """A module as ``slicer.modules.name`` has it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        self.parent = ModuleParent(path)
        self.module = getattr(module, path.stem)(self.parent)
        self._panel: Panel | None = None
        setattr(slicer.modules, path.stem.lower(), self)

    def widgetRepresentation(self) -> Panel:
        if self._panel is None:
            self._panel = Panel(self.name)
            self._panel.fill()
        return self._panel

    def close(self) -> None:
        if self._panel is not None:
            self._panel.self().cleanup()
            self._panel.close()
            self._panel.deleteLater()
            self._panel = None
            delattr(slicer.modules, self.name + "Widget")
        delattr(slicer.modules, self.name.lower())
        sys.modules.pop(self.name, None)
