"""PythonQt's way of writing Qt, on PySide6.

In 3D Slicer a Qt property is an attribute (``label.text = "a"``, ``button.enabled``), where PySide6 has methods, and
signals are connected by their C++ signature (``button.connect("clicked()", slot)``). Here every QObject class gets
a subclass that reads and writes so. As in PythonQt, an attribute that neither the class nor its properties have
cannot be set, and a property cannot be called.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

__all__ = ["Bridge", "bridged", "lookup", "slot_errors"]

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
slot_errors: list[str] = []  # PythonQt prints what a slot raises and goes on; so do we, and tests look here
VIRTUAL = {
    "sizeHint",
    "minimumSizeHint",
}  # C++ would find an attribute where it looks for Python's own method
_read = QtCore.QObject.property
_names: dict[type, frozenset[str]] = {}


def properties(kind: type) -> frozenset[str]:
    """Names of a class's Qt properties."""
    if kind not in _names:
        meta = kind.staticMetaObject
        _names[kind] = frozenset(meta.property(k).name() for k in range(meta.propertyCount())) - VIRTUAL | {
            "name"
        }
    return _names[kind]


class Bridge:
    """Mixed into each QObject class: properties as attributes, signals by signature."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name in properties(type(self)):
            value = _read(self, "objectName" if name == "name" else name)
            if value is None and hasattr(type(self), name):  # a type that QVariant does not take to Python
                return super().__getattribute__(name)()
            return value
        if name in ("connect", "disconnect"):  # PySide6 would find QObject's own
            return object.__getattribute__(self, name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self)
        if name.startswith("_"):
            super().__setattr__(name, value)
        elif name in properties(kind):
            name = "objectName" if name == "name" else name
            setter = getattr(kind, "set" + name[0].upper() + name[1:], None)
            if setter is not None:
                setter(self, value)
            elif not self.setProperty(name, value):
                raise AttributeError(f"{kind.__name__}.{name} cannot be set to {value!r}")
        elif kind.__module__ == __name__:  # a C++ class: PythonQt lets nobody add attributes
            raise AttributeError(f"attribute {name!r} does not exist and cannot be added to {kind.__name__}")
        else:
            super().__setattr__(name, value)

    def className(self) -> str:
        return str(type(self).__name__)

    def connect(self, signature: str, slot: Callable[..., Any]) -> bool:
        name, _, rest = signature.partition("(")
        count = rest.rstrip(")").count(",") + 1 if rest.rstrip(")") else 0
        signal = getattr(self, name, None)
        if signal is None or not hasattr(signal, "connect"):
            raise ValueError(f"{type(self).__name__} has no signal {signature!r}")
        if not callable(slot):
            raise TypeError(f"expected a callable for {signature!r}, found {slot!r}")
        links = self.__dict__.setdefault("_links", {})
        links[signature, slot] = link = _guarded(slot, count)
        signal.connect(link)
        return True

    def disconnect(self, signature: str, slot: Callable[..., Any]) -> bool:
        link = self.__dict__.get("_links", {}).pop((signature, slot), None)
        if link is None:
            return False
        getattr(self, signature.partition("(")[0]).disconnect(link)
        return True


def _guarded(slot: Callable[..., Any], count: int) -> Callable[..., None]:
    """Call a slot with as many arguments as it takes, and note what it raises."""
    code = getattr(slot, "__code__", None)
    takes = count
    if code is not None and not code.co_flags & 0x04:  # without *args
        takes = min(count, code.co_argcount - (1 if hasattr(slot, "__self__") else 0))

    def call(*arguments: Any) -> None:
        try:
            slot(*arguments[:takes])
        except Exception:  # noqa: BLE001 (noted, and every test with the shim looks at the notes)
            slot_errors.append(traceback.format_exc())
            traceback.print_exc()

    return call


@functools.cache
def bridged(kind: type) -> type:
    """The class that PythonQt would give for a PySide6 class."""
    body: dict[str, Any] = {"__module__": __name__}
    if kind is QtWidgets.QFileDialog:  # PythonQt gives the path, PySide6 the path and the filter
        for name in ("getOpenFileName", "getSaveFileName", "getOpenFileNames"):
            body[name] = staticmethod(_first_of(getattr(kind, name)))
    return type(kind.__name__, (Bridge, kind), body)


def _first_of(function: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)[0]


def lookup(name: str) -> Any:
    """What ``qt.name`` is."""
    for module in MODULES:
        found = getattr(module, name, None)
        if found is None:
            continue
        if isinstance(found, type) and issubclass(found, QtCore.QObject) and name != "QUiLoader":
            return bridged(found)
        return found
    raise AttributeError(f"module 'qt' has no attribute {name!r}")
