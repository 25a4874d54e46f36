"""The form of the module, with real clicks, a real scene and a real worker: from opening it to the segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from tests.slicer.nodes import add_sequence, add_volume  # noqa: E402
from tests.slicer.shim.user import User, opened  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "hippocampus" / "hippocampus_311.nii.gz"
ONNX = {"runtime": "onnx", "device": "cpu"}


@pytest.fixture(scope="module")
def form_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with opened(tmp_path_factory.mktemp("slicer")) as user:
        user.wait(lambda: user.form.models.cards, what="models listed")
        yield user


@pytest.fixture
def user(form_user: User) -> User:
    """The user has just closed the scene; the worker lives on."""
    slicer.mrmlScene.Clear(0)
    form_user.form.messages.clear()
    form_user.form.options.reset()
    return form_user


def load_example(name: str = "hippocampus_311") -> Any:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(EXAMPLE))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    assert storage.ReadData(node)
    return node


def choose_input(user: User, node: Any, options: dict[str, str] | None = None) -> None:
    user.form.options.set_values(ONNX if options is None else options)
    user.choose(user.ui.inputSelector, node.GetID())
    user.wait(lambda: not user.form._checking, what="models checked")


def count(kind: str) -> int:
    return int(slicer.mrmlScene.GetNumberOfNodesByClass(kind))


def large_volume() -> Any:
    """Enough for many tiles: seconds of computing."""
    pixels = np.random.default_rng(3).integers(0, 900, (60, 150, 150), dtype=np.int16)
    return add_volume(slicer.mrmlScene, pixels, np.eye(4), "large")


def test_without_an_input_the_form_says_what_is_missing(user: User) -> None:
    assert not user.ui.segmentButton.enabled
    assert user.ui.whyLabel.visible
    assert user.ui.whyLabel.text == "Choose an input volume."


def test_what_fits_comes_first(user: User) -> None:
    choose_input(user, load_example())
    combo = user.ui.modelComboBox
    names = [combo.itemData(k) for k in range(combo.count)]
    assert names[0] == "hippocampus"
    assert names.index("nuclei") > names.index("heart-lv")  # for planes, or slice by slice when asked to
    assert "Dice: 0.855 on 20 held-out images" in user.ui.modelText.text
    assert "CC-BY-SA-4.0" in user.ui.modelText.text
    assert user.ui.segmentButton.enabled
    assert not user.ui.whyLabel.visible


def test_choosing_what_does_not_fit_tells_why(user: User) -> None:
    choose_input(user, load_example())
    user.choose(user.ui.modelComboBox, "nuclei")
    assert not user.ui.segmentButton.enabled
    assert "nuclei" in user.ui.whyLabel.text
    assert user.form.models.misfit == user.ui.modelComboBox.toolTip == user.ui.whyLabel.text
    user.choose(user.ui.modelComboBox, "hippocampus")
    assert user.ui.segmentButton.enabled


def test_click_to_segmentation(user: User) -> None:
    node = load_example()
    choose_input(user, node)
    user.heart.start()
    user.click(user.ui.segmentButton)
    assert user.ui.segmentButton.text == "Cancel"
    assert not user.ui.inputsBox.enabled
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    blocked = user.heart.stop()
    assert user.message == ""
    segmentation = user.form.runs.results[-1].segmentation
    names = [segmentation.GetSegmentation().GetNthSegment(k).GetName() for k in range(2)]
    assert names == ["anterior hippocampus", "posterior hippocampus"]
    assert user.ui.resultBox.visible
    assert user.ui.tableButton.visible
    assert not user.ui.plotButton.visible
    assert user.ui.segmentButton.text == "Segment"
    assert blocked < 0.1, f"the event loop stood still for {blocked * 1000:.0f} ms"

    user.click(user.ui.show3DButton)
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    user.click(user.ui.tableButton)
    assert user.app.logic.selection.shown[-1] == ("Table", user.form.runs.results[-1].tables[0].GetID())
    user.click(user.ui.undoButton)
    assert count("vtkMRMLSegmentationNode") == count("vtkMRMLTableNode") == 0
    assert not user.ui.resultBox.visible


def test_the_second_click_needs_no_loading(user: User) -> None:
    starts = user.form.logic.client.starts
    for name in ("first", "second"):
        choose_input(user, load_example(name))
        user.click(user.ui.segmentButton)
        user.wait(lambda: user.form.runs.run is None, what="run finished")
    assert not user.form.runs.results[-1].loaded
    assert user.form.logic.client.starts == starts
    assert count("vtkMRMLSegmentationNode") == 2


def test_the_chosen_output_is_replaced_and_undo_puts_it_back(user: User) -> None:
    choose_input(user, load_example())
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    output.GetSegmentation().AddEmptySegment("", "drawn by hand")
    user.choose(user.ui.outputSelector, output.GetID())
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    assert count("vtkMRMLSegmentationNode") == 1
    assert output.GetSegmentation().GetNumberOfSegments() == 2
    user.click(user.ui.undoButton)
    assert output.GetSegmentation().GetNumberOfSegments() == 1
    assert output.GetSegmentation().GetNthSegment(0).GetName() == "drawn by hand"


def test_cancel_is_heard_at_once_and_leaves_nothing(user: User) -> None:
    choose_input(user, large_volume(), {**ONNX, "tile": "32", "overlap": "0.5"})
    before = slicer.mrmlScene.GetNumberOfNodes()
    user.click(user.ui.segmentButton)
    user.wait(lambda: "Tile" in user.ui.progressLabel.text, what="tiles computed")
    user.click(user.ui.segmentButton)
    assert user.ui.segmentButton.text == "Cancelling..."  # in the very same event
    assert not user.ui.segmentButton.enabled
    seconds = user.wait(lambda: user.form.runs.run is None, 8, "cancelled")
    assert seconds < 5
    assert user.message == "Cancelled. The scene is as it was."
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert user.ui.segmentButton.enabled
    assert user.ui.segmentButton.text == "Segment"


def test_a_killed_worker_is_told_and_the_next_click_works(user: User) -> None:
    choose_input(user, large_volume(), {**ONNX, "tile": "32", "overlap": "0.5"})
    before = slicer.mrmlScene.GetNumberOfNodes()
    starts = user.form.logic.client.starts
    user.click(user.ui.segmentButton)
    user.wait(lambda: "Tile" in user.ui.progressLabel.text, what="tiles computed")
    import os
    import signal

    os.kill(user.form.logic.client.pid, signal.SIGKILL)
    user.wait(lambda: user.form.runs.run is None, 10, "end told")
    assert "killed, most likely because memory ran out" in user.message
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    choose_input(user, load_example())
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    assert user.form.logic.client.starts == starts + 1
    assert count("vtkMRMLSegmentationNode") == 1
    assert user.message == ""


def test_closing_the_scene_in_a_run_ends_it_quietly(user: User) -> None:
    choose_input(user, large_volume(), {**ONNX, "tile": "32", "overlap": "0.5"})
    user.click(user.ui.segmentButton)
    user.wait(lambda: "Tile" in user.ui.progressLabel.text, what="tiles computed")
    slicer.mrmlScene.Clear(0)
    user.wait(lambda: user.form.runs.run is None, 8, "cancelled")
    assert count("vtkMRMLSegmentationNode") == count("vtkMRMLTableNode") == 0
    assert user.ui.whyLabel.text == "Choose an input volume."
    assert user.form.messages.level != "error"


def test_a_sequence_is_offered_whole_or_frame_by_frame(user: User) -> None:
    frames = [np.full((1, 40, 50), k, np.int16) for k in range(3)]
    browser, sequence = add_sequence(slicer.mrmlScene, frames, np.eye(4))
    proxy = browser.GetProxyNode(sequence)
    choose_input(user, proxy)
    assert user.ui.sequenceCheckBox.visible
    assert user.ui.sequenceCheckBox.text == "All 3 frames of the sequence"
    assert user.form.source.GetID() == browser.GetID()
    user.click(user.ui.sequenceCheckBox)
    assert user.form.source.GetID() == proxy.GetID()


def test_choices_are_kept_in_the_scene(user: User) -> None:
    choose_input(user, load_example(), {})
    user.choose(user.ui.modelComboBox, "heart-lv")
    user.open_section(user.ui.optionsSection)
    mirror = user.form.options._rows["surface"].widget
    user.click(mirror)
    assert user.form.options.values == {"surface": "true"}
    user.panel.exit()
    user.panel.enter()
    user.open_section(user.ui.optionsSection)
    assert user.form.options.values == {"surface": "true"}
    assert user.form.parameters.model == "heart-lv"
    assert user.form.parameters.input.GetName() == "hippocampus_311"


def test_opening_the_module_does_not_stop_the_window(tmp_path: Path) -> None:
    with opened(tmp_path) as user:
        user.heart.start()
        user.wait(lambda: user.form.models.cards, what="models listed")
        blocked = user.heart.stop()
    assert blocked < 0.1, f"the event loop stood still for {blocked * 1000:.0f} ms"


def test_a_table_that_was_deleted_is_told(user: User) -> None:
    choose_input(user, load_example())
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    slicer.mrmlScene.RemoveNode(user.form.runs.results[-1].tables[0])
    user.click(user.ui.tableButton)
    assert user.message == "It has been deleted."
