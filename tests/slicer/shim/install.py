"""Puts the stand-ins where the module looks for them, and takes them away again."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before Qt is loaded

import slicer
from PySide6 import QtWidgets

from tests.slicer.shim import application, ctk_widgets, mrml_widgets, parameters, pythonqt, scripted
from tests.slicer.shim.loader import QUiLoader

__all__ = ["MODULE", "qt_application", "standing_in"]

MODULE = Path(__file__).parents[3] / "SlicerDeepBio" / "SlicerDeepBio.py"


def qt_application() -> Any:
    """The one QApplication of this process, in the style that Slicer's is drawn after."""
    app = QtWidgets.QApplication.instance()
    if app is None:
        app = QtWidgets.QApplication(["Slicer"])
        app.setStyle("Fusion")
    return app


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


@functools.cache  # the library, once imported, keeps them
def _modules() -> dict[str, ModuleType]:
    qt = _module("qt", QUiLoader=QUiLoader)
    qt.__getattr__ = pythonqt.lookup  # type: ignore[method-assign]
    return {
        "qt": qt,
        "ctk": _module("ctk", **{name: getattr(ctk_widgets, name) for name in ctk_widgets.__all__}),
        "slicer.ScriptedLoadableModule": _module(
            "slicer.ScriptedLoadableModule",
            **{name: getattr(scripted, name) for name in scripted.__all__ if name.startswith("Scripted")},
        ),
        "slicer.parameterNodeWrapper": _module(
            "slicer.parameterNodeWrapper", parameterNodeWrapper=parameters.parameterNodeWrapper
        ),
        "slicer.i18n": _module("slicer.i18n", tr=application.tr, translate=lambda context, text: text),
    }


def _library() -> dict[str, ModuleType]:
    return {name: one for name, one in sys.modules.items() if name.partition(".")[0] == "SlicerDeepBioLib"}


def _noted(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    pythonqt.slot_errors.append("".join(traceback.format_exception(kind, error, trace)))
    sys.__excepthook__(kind, error, trace)


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[application.Application]:
    """Within the block, ``import qt, ctk, slicer`` finds what a module in the application finds.

    Parameters
    ----------
    folder : Path
        For settings and temporary files.
    """
    qt_application()
    app = application.Application(folder)
    modules = _modules()
    names = {
        "app": app,
        "modules": application.Modules(),
        "qSlicerScriptedLoadableModuleWidget": scripted.Panel,
        **{name: getattr(mrml_widgets, name) for name in mrml_widgets.__all__},
    }
    before_modules = {name: sys.modules.get(name) for name in modules}
    # A reload of the module imports its library anew; the classes that other tests hold must stay the ones in use.
    before_library = _library()
    before_names = {name: getattr(slicer, name, None) for name in names}
    sys.modules.update(modules)
    for name, value in names.items():
        setattr(slicer, name, value)
    pythonqt.slot_errors.clear()
    hook, sys.excepthook = sys.excepthook, _noted  # what observers of VTK raise comes here
    try:
        yield app
    finally:
        sys.excepthook = hook
        for name in _library():
            del sys.modules[name]
        sys.modules.update(before_library)
        for name, module in before_modules.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        for name, value in before_names.items():
            if value is None:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)
