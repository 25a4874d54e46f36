"""The form with models of other tasks: what it offers, says and shows; real clicks, scene and worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not usable", exc_type=ImportError)
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import deepbio  # noqa: E402
from tests.core.tasks.makers import write_class_maker  # noqa: E402
from tests.slicer.nodes import add_sequence, add_volume, affine, node_names, vtk_matrix  # noqa: E402
from tests.slicer.shim.user import User, opened  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
ONNX = {"runtime": "onnx", "device": "cpu"}


@pytest.fixture(scope="module")
def form_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Has a generator of the classes dark, grey and light among the models."""
    home = tmp_path_factory.mktemp("slicer")
    write_class_maker(home / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        with opened(home) as user:
            user.wait(lambda: user.form.models.cards, what="models listed")
            user.open_section(user.ui.optionsSection)
            yield user


@pytest.fixture
def user(form_user: User) -> User:
    slicer.mrmlScene.Clear(0)
    form_user.form.messages.clear()
    form_user.form.options.reset()
    return form_user


def choose(user: User, node: Any, model: str, **options: str) -> None:
    if node is not None:
        user.choose(user.ui.inputSelector, node.GetID())
    user.wait(lambda: not user.form._checking, what="models checked")
    user.choose(user.ui.modelComboBox, model)
    user.form.options.set_values({**ONNX, **options})
    user.form._options_changed()
    user.wait(lambda: not user.form._checking, what="models checked")


def press(user: User) -> Any:
    user.click(user.ui.segmentButton)
    user.wait(lambda: user.form.runs.run is None, what="run finished")
    assert user.message == ""
    return user.form.runs.results[-1]


def rows(user: User) -> set[str]:
    return {name for name, one in user.form.options._rows.items() if one.widget.visible}


def boxes(user: User, name: str) -> dict[str, bool]:
    """The boxes of a list that can be seen, and whether they are ticked."""
    found = user.form.options._rows[name]._boxes
    return {choice: box.checked for choice, box in found.items() if box.visible}


def cell(name: str = "neutrophil") -> Any:
    pixels = deepbio.read(EXAMPLES / "blood_cells" / "neutrophil.jpg").numpy()
    return add_volume(
        slicer.mrmlScene, np.ascontiguousarray(np.moveaxis(pixels, 0, -1)[None]), np.eye(4), name
    )


def mask() -> np.ndarray:
    labels = np.zeros((1, 61, 83), np.int16)
    labels[:, 8:20, 11:30] = 1
    labels[:, 33:47, 50:62] = 2
    return labels


def test_a_class_and_how_sure(user: User) -> None:
    choose(user, cell(), "blood-cells")
    assert user.ui.segmentButton.text == "Classify"
    assert not user.ui.outputSelector.visible  # nothing goes into a segmentation
    assert {"classify", "objects", "explain", "target", "uncertainty", "layer"} <= rows(user)
    assert not {"threshold", "min_size", "diameter", "track", "count", "classes", "seed", "as"} & rows(user)
    press(user)
    first, *_, last = user.ui.resultText.text.splitlines()
    table = deepbio.run(
        EXAMPLES / "blood_cells" / "neutrophil.jpg", "blood-cells", deepbio.RunOptions(runtime="onnx")
    ).table
    assert table is not None
    assert first == f"neutrophil: {100 * float(table['p_neutrophil'][0]):.1f} %"
    assert last.startswith("blood-cells 0.1.0")


def test_counts_where_there_are_many_answers(user: User) -> None:
    choose(user, cell(), "blood-cells", classify="tiles", tile="64", overlap="0.5")
    run = press(user)
    told = [line.split(": ") for line in user.ui.resultText.text.splitlines()[:-1]]
    assert sum(int(number) for _, number in told) == run.tables[0].GetNumberOfRows()


def test_a_generator_of_classes_needs_no_volume(user: User) -> None:
    choose(user, None, "shades")
    assert user.ui.segmentButton.enabled
    assert user.ui.segmentButton.text == "Generate"
    assert "Needs no input" in user.ui.modelText.text
    assert {"count", "classes", "seed", "output"} <= rows(user)
    assert not {"tile", "overlap", "batch", "layer", "explain", "channel", "surface", "as"} & rows(user)
    assert boxes(user, "classes") == {"dark": False, "grey": False, "light": False}
    assert boxes(user, "output") == {"image": True, "table": True}
    user.type(user.form.options._rows["count"].widget, "4")
    user.click(user.form.options._rows["classes"]._boxes["light"])
    user.click(user.form.options._rows["classes"]._boxes["grey"])
    assert user.form.options.values == {**ONNX, "count": "4", "classes": "grey,light"}
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)  # or the run makes it
    before = node_names(slicer.mrmlScene)
    run = press(user)
    assert user.ui.resultText.text.splitlines()[0] == "shades: 4 images, frame by frame"
    assert [run.tables[0].GetCellText(row, 1) for row in range(4)] == ["grey", "light", "grey", "light"]
    user.click(user.ui.undoButton)
    assert node_names(slicer.mrmlScene) == before


def test_it_leaves_the_chosen_volume_alone(user: User) -> None:
    node = cell()
    choose(user, node, "shades", count="1")
    assert user.ui.segmentButton.enabled
    run = press(user)
    assert run.node is None
    assert user.ui.resultText.text.splitlines()[0] == "shades"
    user.choose(user.ui.modelComboBox, "blood-cells")
    assert user.ui.inputSelector.currentNodeID == node.GetID()
    assert user.form.options.values == ONNX  # a count is for generators only


def test_it_is_no_batch(user: User) -> None:
    choose(user, cell(), "shades")
    user.open_section(user.ui.batchSection)
    user.click(user.ui.batchStartButton)
    assert user.message == "'shades' makes images of its own: there is nothing to go through."


def test_a_mask_from_a_segmentation(user: User) -> None:
    from SlicerDeepBioLib import results  # those of the open form
    from SlicerDeepBioLib.terminology import object_labels

    made = results.make_segmentation(mask(), vtk_matrix(affine()), object_labels([1, 2], "nucleus"))
    made.SetName("drawn")
    node = slicer.mrmlScene.AddNode(made)
    choose(user, node, "nuclei-synth", seed="3")
    assert user.ui.segmentButton.enabled
    assert "without an input it makes the masks, too" in user.ui.modelText.text
    assert {"count", "seed", "tile"} <= rows(user)
    assert not {"classes", "layer", "per_slice", "channel"} & rows(user)
    run = press(user)
    expected = deepbio.run(
        deepbio.Image(mask()[0]), "nuclei-synth", deepbio.RunOptions(runtime="onnx", seed=3)
    ).image
    assert expected is not None
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(run.volumes[0])[0], expected.numpy())
    user.choose(user.ui.modelComboBox, "nuclei")
    assert not user.ui.segmentButton.enabled
    assert user.ui.whyLabel.text.startswith("'drawn' is a segmentation; the model 'nuclei' needs an image.")


def test_an_image_is_no_mask(user: User) -> None:
    choose(user, cell(), "nuclei-synth")
    assert not user.ui.segmentButton.enabled
    assert "makes an image from a mask; the image has 3 channels" in user.ui.whyLabel.text


def test_an_empty_segmentation_says_so(user: User) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    choose(user, node, "nuclei-synth")
    assert user.ui.whyLabel.text.startswith("The segmentation 'empty' has no voxels.")


def test_tracking_is_of_movies(user: User) -> None:
    frames = [np.zeros((1, 40, 50), np.uint16) for _ in range(3)]
    browser, sequence = add_sequence(slicer.mrmlScene, frames, np.eye(4))
    choose(user, browser.GetProxyNode(sequence), "nuclei")
    assert "track" in rows(user)
    user.click(user.ui.sequenceCheckBox)
    assert "track" not in rows(user)


def test_options_that_are_not_set_say_none(user: User) -> None:
    choose(user, cell(), "blood-cells")
    explain = user.form.options._rows["explain"].widget
    assert explain.currentText == "none"
    assert user.form.options._rows["layer"].widget.placeholderText == "none"
    assert user.form.options._rows["target"].widget.placeholderText == "auto"
    user.choose(explain, "gradcam")
    assert user.form.options.values == {**ONNX, "explain": "gradcam"}
    user.choose(explain, "")
    assert user.form.options.values == ONNX
