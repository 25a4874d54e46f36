"""The sections Batch and Models of the form, and reloading the module, with real clicks and a real worker."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import deepbio  # noqa: E402
from tests.slicer.nodes import add_volume  # noqa: E402
from tests.slicer.shim.user import User, opened  # noqa: E402

ONNX = {"runtime": "onnx", "device": "cpu"}


@pytest.fixture(scope="module")
def form_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with opened(tmp_path_factory.mktemp("slicer")) as user:
        user.wait(lambda: user.form.models.cards, what="models listed")
        yield user


@pytest.fixture
def user(form_user: User) -> Iterator[User]:
    """The scene is empty; the sections Batch and Models are open."""
    slicer.mrmlScene.Clear(0)
    form_user.form.messages.clear()
    form_user.form.options.set_values(ONNX)
    for section in (form_user.ui.batchSection, form_user.ui.modelsSection):
        form_user.open_section(section)
    yield form_user
    for section in (form_user.ui.batchSection, form_user.ui.modelsSection):
        form_user.open_section(section)


def volumes(user: User, number: int, shape: tuple[int, int, int] = (31, 33, 35)) -> None:
    generator = np.random.default_rng(5)
    for k in range(number):
        add_volume(
            slicer.mrmlScene, generator.integers(0, 900, shape, dtype=np.int16), np.eye(4), f"case {k}"
        )
    user.choose(user.ui.inputSelector, slicer.mrmlScene.GetFirstNodeByName("case 0").GetID())
    user.wait(lambda: not user.form._checking)
    user.choose(user.ui.modelComboBox, "hippocampus")


def column(user: User, number: int) -> list[str]:
    table = user.ui.batchTable
    return [table.item(k, number).text() for k in range(table.rowCount)]


def test_a_batch_of_what_is_loaded(user: User) -> None:
    volumes(user, 3)
    user.click(user.ui.batchStartButton)
    assert not user.ui.segmentButton.enabled
    assert user.ui.whyLabel.text == "A batch is running."
    user.wait(lambda: not user.form.batch.running, what="batch finished")
    assert column(user, 0) == ["case 0", "case 1", "case 2"]
    assert column(user, 1) == ["done"] * 3
    assert user.ui.batchStatus.text == "3 done"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 3
    assert user.ui.segmentButton.enabled
    assert user.ui.batchStartButton.text == "Start"


def test_a_batch_that_was_stopped_is_resumed(user: User) -> None:
    volumes(user, 3, (40, 80, 90))
    user.form.options.set_values({**ONNX, "tile": "32"})
    user.click(user.ui.batchStartButton)
    user.wait(lambda: "running" in column(user, 1)[1:], what="second item")
    user.click(user.ui.batchStopButton)
    user.wait(lambda: not user.form.batch.running, 8, "batch stopped")
    assert column(user, 1)[0] == "done"
    assert user.ui.batchStartButton.text == "Resume"
    first = user.form.batch.batch.items[0].run
    user.click(user.ui.batchStartButton)
    user.wait(lambda: not user.form.batch.running, what="batch finished")
    assert column(user, 1) == ["done"] * 3
    assert user.form.batch.batch.items[0].run is first
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 3


def test_a_batch_of_a_folder(user: User, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    generator = np.random.default_rng(6)
    for name in ("a", "b"):
        pixels = generator.integers(0, 900, (21, 23, 25)).astype(np.int16)
        deepbio.write(source / f"{name}.nii.gz", deepbio.Image(pixels, "ZYX"))
    (source / "c.nii.gz").write_bytes(b"no image")
    volumes(user, 1)
    user.click(user.ui.batchFolderButton)
    assert user.ui.batchInputPath.visible
    user.click(user.ui.batchStartButton)
    assert "Choose the folder" in user.message
    user.type(user.ui.batchInputPath._edit, str(source))
    user.type(user.ui.batchOutputPath._edit, str(target))
    for status in (["done", "done", "failed"], ["was done", "was done", "failed"]):
        user.click(user.ui.batchStartButton)
        user.wait(lambda: not user.form.batch.running, what="batch finished")
        assert sorted(column(user, 1)) == sorted(status), user.seen()
    assert (target / "a-labels.nii.gz").exists()
    assert any("c.nii.gz" in text for text in column(user, 3))
    user.click(user.ui.batchVolumesButton)
    assert not user.ui.batchInputPath.visible


def test_import_and_remove_a_model(
    user: User, threshold_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    add_volume(slicer.mrmlScene, np.zeros((1, 33, 47), np.uint16), np.eye(4), "plane")
    user.choose(user.ui.inputSelector, slicer.mrmlScene.GetFirstNodeByName("plane").GetID())
    package = shutil.make_archive(str(tmp_path / "spots"), "zip", threshold_model)
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *arguments: package))
    user.click(user.ui.importZipButton)
    user.wait(lambda: user.form.models.card["name"] == "bright-spots", limit=10, what="model imported")
    user.wait(lambda: not user.form._checking)
    assert user.message == "Imported: Bright spots"
    assert user.ui.segmentButton.enabled

    entries = user.ui.modelsList
    names = [entries.item(k).text() for k in range(entries.count)]
    at = next(k for k, name in enumerate(names) if "bright-spots" in name)
    assert names[at] == "Bright spots (bright-spots, imported)"
    entries.setCurrentRow(1 - at if at < 2 else 0)
    assert not user.ui.removeModelButton.enabled  # came with deepbio
    entries.setCurrentRow(at)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *words, **more: False)
    user.click(user.ui.removeModelButton)
    assert not user.form.logic.client.tasks
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *words, **more: True)
    user.click(user.ui.removeModelButton)
    user.wait(lambda: user.form.models.card["name"] != "bright-spots", what="model removed")
    assert user.message == "The model was removed."


def test_a_package_that_is_none_is_told(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *arguments: str(tmp_path))
    )
    user.click(user.ui.importFolderButton)
    user.wait(lambda: user.form.messages.level == "error", what="error told")
    assert "is not a model package" in user.message
    assert user.ui.importFolderButton.enabled
    user.click(user.ui.messageCloseButton)
    assert user.message == ""


def test_details_of_the_model(user: User) -> None:
    user.choose(user.ui.modelComboBox, "nuclei")
    user.ui.modelText.linkActivated.emit("details")
    assert user.ui.modelDetails.visible
    assert "Finds nuclei and separates those that touch" in user.ui.modelDetails.plainText
    assert "Data Science Bowl" in user.ui.modelDetails.plainText
    user.ui.modelText.linkActivated.emit("details")
    assert not user.ui.modelDetails.visible


def test_reload_gives_a_new_form_and_ends_the_old_worker(user: User) -> None:
    """As the button Reload of the developer mode does."""
    volumes(user, 1)
    before = user.form
    client = before.logic.client
    assert client.alive
    user.widget.onReload()
    assert user.form is not before
    assert not client.alive
    user.panel.enter()
    user.wait_ready()
    user.form.options.set_values(ONNX)
    assert user.form.parameters.input.GetName() == "case 0"
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
