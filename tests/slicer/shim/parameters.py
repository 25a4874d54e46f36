"""Stand-in for ``slicer.parameterNodeWrapper``: a class whose annotated attributes live in a node of the scene."""

from __future__ import annotations

import json
import typing
from typing import Any

import slicer
import vtk

__all__ = ["parameterNodeWrapper"]


def parameterNodeWrapper(kind: type) -> type:
    """Make the annotated attributes of a class parameters of a vtkMRMLScriptedModuleNode."""
    types = {name: _plain(one) for name, one in typing.get_type_hints(kind).items()}
    defaults = {name: getattr(kind, name) for name in types if hasattr(kind, name)}
    body = {name: _parameter(name, one, defaults.get(name)) for name, one in types.items()}
    return type(kind.__name__, (_Wrapped,), {**body, "_types": types, "__module__": kind.__module__})


def _plain(annotation: Any) -> type:
    """``Optional[X]`` and ``Annotated[X, ...]`` are X."""
    arguments = [one for one in typing.get_args(annotation) if one is not type(None)]
    if typing.get_origin(annotation) is typing.Union and len(arguments) == 1:
        return _plain(arguments[0])
    return typing.get_origin(annotation) or annotation


def _parameter(name: str, kind: type, default: Any) -> property:
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):

        def read_node(self: _Wrapped) -> Any:
            return self.parameterNode.GetNodeReference(name)

        def write_node(self: _Wrapped, node: Any) -> None:
            if node is not None and not isinstance(node, kind):
                raise TypeError(f"{name}: expected {kind.__name__}, found {type(node).__name__}")
            self.parameterNode.SetNodeReferenceID(name, node.GetID() if node is not None else None)

        return property(read_node, write_node)
    if kind not in (str, bool, int, float, dict, list):
        raise TypeError(f"the stand-in has no parameters of type {kind!r}")

    def read(self: _Wrapped) -> Any:
        text = self.parameterNode.GetParameter(name)
        return json.loads(text) if text else (kind() if default is None else default)

    def write(self: _Wrapped, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected {kind.__name__}, found {value!r}")
        self.parameterNode.SetParameter(name, json.dumps(value))

    return property(read, write)


class _Wrapped:
    """A parameter node with typed attributes."""

    _types: dict[str, type]

    def __init__(self, node: Any) -> None:
        self.__dict__["parameterNode"] = node
        self.__dict__["_connections"] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._types:
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}")
        super().__setattr__(name, value)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui: Any) -> int:
        """Bind each widget of a namespace to the parameter that its property SlicerParameterName names."""
        links = []
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if not name:
                continue
            if name not in self._types:
                raise ValueError(f"the .ui file names the parameter {name!r}; known: {sorted(self._types)}")
            links.append(self._bind(name, widget))
        tag = 1 + max(self._connections, default=0)
        self._connections[tag] = links
        return tag

    def disconnectGui(self, tag: int) -> None:
        for widget, signal, from_gui, observer in self._connections.pop(tag):
            widget.disconnect(signal, from_gui)
            self.RemoveObserver(observer)

    def _bind(self, name: str, widget: Any) -> tuple[Any, ...]:
        signal, read, write = {
            "qMRMLNodeComboBox": ("currentNodeChanged(vtkMRMLNode*)", "currentNode", "setCurrentNode"),
            "QCheckBox": ("toggled(bool)", "checked", "setChecked"),
            "QComboBox": ("currentTextChanged(QString)", "currentText", "setCurrentText"),
        }[type(widget).__name__]

        def to_gui(*ignored: Any) -> None:
            value = getattr(self, name)
            now = getattr(widget, read)
            if (now() if callable(now) else now) != value:
                getattr(widget, write)(value)

        def from_gui(*ignored: Any) -> None:
            now = getattr(widget, read)
            setattr(self, name, now() if callable(now) else now)

        to_gui()
        widget.connect(signal, from_gui)
        return widget, signal, from_gui, self.AddObserver(vtk.vtkCommand.ModifiedEvent, to_gui)
