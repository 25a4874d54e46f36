"""The stand-ins hold the module's code to what PythonQt understands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from tests.slicer.shim.install import standing_in  # noqa: E402
from tests.slicer.shim.pythonqt import slot_errors  # noqa: E402


@pytest.fixture(autouse=True)
def shim(tmp_path: Path) -> Iterator[None]:
    with standing_in(tmp_path):
        yield


def test_properties_are_attributes() -> None:
    import qt

    button = qt.QPushButton("a")
    button.text = "b"
    button.enabled = False
    button.objectName = "c"
    assert (button.text, button.enabled, button.name) == ("b", False, "c")
    with pytest.raises(TypeError):
        button.text()  # as PySide6 would have it
    with pytest.raises(AttributeError):
        button.txet = "d"


def test_signals_by_signature() -> None:
    import qt

    heard = []
    box = qt.QCheckBox()
    box.connect("toggled(bool)", heard.append)
    box.connect("toggled(bool)", lambda: heard.append("bare"))
    box.checked = True
    assert heard == [True, "bare"]
    box.disconnect("toggled(bool)", heard.append)
    with pytest.raises(ValueError, match="no signal"):
        box.connect("toogled(bool)", heard.append)


def test_what_a_slot_raises_is_noted() -> None:
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in slot_errors.pop()


def test_an_unknown_class_in_a_ui_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "form.ui"
    path.write_text('<ui version="4.0"><class>F</class><widget class="ctkNothing" name="F"/></ui>')
    with pytest.raises(RuntimeError):
        slicer.util.loadUI(str(path))


def test_parameters_live_in_the_scene() -> None:
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        names: dict[str, str]
        on: bool = True

    scene = slicer.vtkMRMLScene()
    node = scene.AddNode(slicer.vtkMRMLScriptedModuleNode())
    first = Parameters(node)
    assert (first.volume, first.names, first.on) == (None, {}, True)
    first.volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "brain")
    first.names, first.on = {"a": "b"}, False
    second = Parameters(node)
    assert (second.volume.GetName(), second.names, second.on) == ("brain", {"a": "b"}, False)
    with pytest.raises(AttributeError):
        second.of = True
    with pytest.raises(TypeError):
        second.on = "yes"
