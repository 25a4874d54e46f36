"""Sequences: all frames in one run, results in the same browser, curves over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy

import deepbio
from deepbio.image import Image
from SlicerDeepBioLib.scene import SceneError
from SlicerDeepBioLib.sequences import Frames, sequence_of
from tests.slicer.nodes import (
    add_sequence,
    add_transform,
    add_volume,
    affine,
    image_of,
    labels_of,
    node_names,
    set_pixels,
    vtk_matrix,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
HEART = EXAMPLES / "heart_cine.nii.gz"
TIMEOUT = 120
ONNX = {"runtime": "onnx"}
OPTIONS = deepbio.RunOptions(runtime="onnx")


def show(scene: Any, browser: Any, at: int) -> None:
    """Go to a frame; the logic of the scene hears of it and updates the nodes that show it."""
    browser.SetSelectedItemNumber(at)


def columns(table: Any) -> dict[str, np.ndarray]:
    names = [table.GetColumnName(at) for at in range(table.GetNumberOfColumns())]
    return {
        name: vtk_to_numpy(table.GetTable().GetColumnByName(name))
        for name in names
        if not table.GetTable().GetColumnByName(name).IsA("vtkStringArray")
    }


@pytest.fixture(scope="module")
def heart() -> Image:
    return deepbio.read(HEART)


def grid_matrix(image: Image) -> np.ndarray:
    """IJK to RAS of an image's grid."""
    matrix = np.eye(4)
    matrix[:3, :3] = image.grid.direction[:, ::-1] * image.grid.spacing[::-1]
    matrix[:3, 3] = image.grid.origin
    return np.diag([-1, -1, 1, 1]) @ matrix


def test_a_heart_that_beats(logic: Any, cards: Any, scene: Any, heart: Image) -> None:
    pixels = heart.numpy()
    matrix = grid_matrix(heart)
    browser, sequence = add_sequence(scene, list(pixels), matrix, step=0.184)
    shown = browser.GetProxyNode(sequence)
    above = affine((1, 1, 1), (0.3, 0.2, -0.1), (5, -6, 7))
    shown.SetAndObserveTransformNodeID(add_transform(scene, above).GetID())
    before = node_names(scene)
    texts: list[str] = []
    run = logic.segment(
        sequence, cards["heart-lv"], ONNX, on_progress=lambda run: texts.append(run.progress.text)
    ).wait(TIMEOUT)

    grid = image_of(shown).grid
    expected = deepbio.run(Image(pixels, "TZYX", grid, frame_interval=0.184), "heart-lv", OPTIONS)
    labels = expected.labels.numpy()
    assert all(frame.any() for frame in labels)
    assert run.sequence.GetNumberOfDataNodes() == 5
    assert browser.GetProxyNode(run.sequence) is run.segmentation
    assert run.segmentation.GetTransformNodeID() == shown.GetTransformNodeID()
    for at in (3, 0, 4, 1, 2):
        show(scene, browser, at)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown), pixels[at])
        np.testing.assert_array_equal(labels_of(run.segmentation, shown), labels[at])
        segment = run.segmentation.GetSegmentation().GetNthSegment(0)
        assert segment.GetName() == "left ventricle blood pool"
    assert run.sequence.GetIndexUnit() == "s"
    assert [run.sequence.GetNthIndexValue(at) for at in (0, 4)] == ["0", "0.736"]

    measured, curve = (columns(table) for table in run.tables)
    assert sorted(set(measured["frame"])) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(curve["time [s]"], np.arange(5) * 0.184)
    volumes = (labels == 1).sum(axis=(1, 2, 3)) * np.prod(grid.spacing) / 1000
    np.testing.assert_allclose(curve["left ventricle blood pool [mL]"], volumes, rtol=1e-6)
    series = run.plot.GetNthPlotSeriesNode(0)
    assert (series.GetXColumnName(), series.GetYColumnName()) == (
        "time [s]",
        "left ventricle blood pool [mL]",
    )
    assert series.GetTableNode() is run.tables[1]
    assert (run.plot.GetXAxisTitle(), run.plot.GetYAxisTitle()) == ("time [s]", "mL")
    assert any(text.startswith("Frame ") and "of 5, slice" in text for text in texts)

    run.undo()
    assert node_names(scene) == before
    assert not browser.IsSynchronizedSequenceNode(run.sequence, False)


def test_twenty_frames_load_the_model_once(logic: Any, cards: Any, scene: Any, heart: Image) -> None:
    frames = [np.roll(heart.numpy()[at % 5, at % 4 : at % 4 + 1], at, axis=1) for at in range(20)]
    _, sequence = add_sequence(scene, frames, np.diag([1.29, 1.29, 8.0, 1.0]))
    logic.client.submit({"command": "release"}).wait(TIMEOUT)
    starts = logic.client.starts
    loads: list[str] = []

    def listen(run: Any) -> None:
        if run.progress.text == "Loading the model" and loads[-1:] != [run.progress.text]:
            loads.append(run.progress.text)

    run = logic.segment(sequence, cards["heart-lv"], ONNX, on_progress=listen).wait(TIMEOUT)
    assert run.loaded
    assert loads == ["Loading the model"]
    assert logic.client.starts == starts
    assert run.sequence.GetNumberOfDataNodes() == 20
    grid = deepbio.image.Grid((128, 128), (1.29, 1.29), unit="millimeter")
    stack = np.stack([frame[0] for frame in frames])
    expected = deepbio.run(Image(stack, "TYX", grid), "heart-lv", OPTIONS).labels.numpy()
    for at in (0, 7, 19):
        image = (
            run.sequence.GetNthDataNode(at)
            .GetSegmentation()
            .GetNthSegment(0)
            .GetRepresentation("Binary labelmap")
        )
        found = vtk_to_numpy(image.GetPointData().GetScalars())
        assert np.count_nonzero(found) == np.count_nonzero(expected[at])
    assert "left ventricle blood pool [mm^2]" in columns(run.tables[1])
    assert not logic.segment(sequence, cards["heart-lv"], ONNX).wait(TIMEOUT).loaded


def test_objects_over_time(logic: Any, cards: Any, scene: Any) -> None:
    image = deepbio.read(EXAMPLES / "timelapse.tif")
    pixels = image.numpy()[:3]
    browser, sequence = add_sequence(scene, [frame[None] for frame in pixels], np.eye(4), "cells")
    expected = deepbio.run(Image(pixels, "TYX"), "nuclei", OPTIONS).labels.numpy()
    # the browser stands for its master sequence
    run = logic.segment(browser, cards["nuclei"], {**ONNX, "as": "labels"}).wait(TIMEOUT)
    for at in (2, 0, 1):
        show(scene, browser, at)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(run.label_map)[0], expected[at])
    np.testing.assert_array_equal(columns(run.tables[1])["objects"], expected.max(axis=(1, 2)))
    colors = run.label_map.GetDisplayNode().GetColorNode()
    assert colors.GetNumberOfColors() == expected.max() + 1

    again = logic.segment(sequence, cards["nuclei"], ONNX).wait(TIMEOUT)
    show(scene, browser, 2)
    assert again.segmentation.GetSegmentation().GetNumberOfSegments() == expected[2].max()


def test_a_second_run_into_the_same_node(logic: Any, cards: Any, scene: Any, heart: Image) -> None:
    browser, sequence = add_sequence(scene, list(heart.numpy()[:2, :2]), grid_matrix(heart))
    shown = browser.GetProxyNode(sequence)
    first = logic.segment(sequence, cards["heart-lv"], ONNX).wait(TIMEOUT)
    show(scene, browser, 1)
    before = labels_of(first.segmentation, shown)
    second = logic.segment(
        sequence, cards["heart-lv"], {**ONNX, "threshold": "0.5"}, output=first.segmentation
    ).wait(TIMEOUT)
    assert second.segmentation is first.segmentation
    assert browser.GetProxyNode(second.sequence) is second.segmentation
    second.undo()
    assert browser.GetProxyNode(first.sequence) is first.segmentation
    for at in (0, 1):
        show(scene, browser, at)
    np.testing.assert_array_equal(labels_of(first.segmentation, shown), before)


def test_a_sequence_without_a_browser_gets_one(logic: Any, cards: Any, scene: Any, heart: Image) -> None:
    browser, sequence = add_sequence(scene, list(heart.numpy()[:2, :1]), grid_matrix(heart))
    shown = browser.GetProxyNode(sequence)
    scene.RemoveNode(browser)
    scene.RemoveNode(shown)
    before = node_names(scene)
    run = logic.segment(sequence, cards["heart-lv"], ONNX).wait(TIMEOUT)
    assert any(node.IsA("vtkMRMLSequenceBrowserNode") for node in run.nodes)
    run.undo()
    assert [name for name in node_names(scene) if "heart" not in name] == [
        name for name in before if "heart" not in name
    ]


def test_one_frame_that_is_shown(scene: Any, pixels: np.ndarray) -> None:
    browser, sequence = add_sequence(scene, [pixels, pixels + 1])
    shown = browser.GetProxyNode(sequence)
    assert sequence_of(shown) == (browser, sequence)
    assert sequence_of(add_volume(scene, pixels)) is None


@pytest.mark.parametrize(
    ("unit", "step", "seconds"), [("s", 0.05, 0.05), ("ms", 40, 0.04), ("", 1, None), ("mm", 1, None)]
)
def test_time_between_frames(
    scene: Any, pixels: np.ndarray, unit: str, step: float, seconds: float | None
) -> None:
    _, sequence = add_sequence(scene, [pixels] * 4, step=step)
    sequence.SetIndexUnit(unit)
    assert Frames(sequence).read().frame_interval == (None if seconds is None else pytest.approx(seconds))


def test_uneven_frames_have_no_interval(scene: Any, pixels: np.ndarray) -> None:
    _, sequence = add_sequence(scene, [pixels] * 3)
    sequence.UpdateIndexValue("0.1", "0.3")
    assert Frames(sequence).interval() is None


def test_frames_on_other_voxels_are_refused(scene: Any, pixels: np.ndarray) -> None:
    _, sequence = add_sequence(scene, [pixels, pixels, pixels])
    sequence.GetNthDataNode(2).SetOrigin(0, 0, 0)
    with pytest.raises(SceneError, match="Frame 3 of 'heart' has another place"):
        Frames(sequence).read()
    _, sequence = add_sequence(scene, [pixels, pixels[:, 1:]], name="short")
    with pytest.raises(SceneError, match=r"Frame 2 of 'short' has ZYX of \(5, 6, 11\)"):
        Frames(sequence).read()


def test_sequences_of_other_things(scene: Any) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty")
    with pytest.raises(SceneError, match="'empty' has no frames"):
        Frames(empty)
    with pytest.raises(SceneError, match="'nobody' has no sequence"):
        Frames(scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "nobody"))
    models = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "models")
    models.SetDataNodeAtValue(slicer.vtkMRMLModelNode(), "0")
    with pytest.raises(SceneError, match="'models' holds Model, not volumes"):
        Frames(models)


def test_frames_of_other_types_are_joined(scene: Any, pixels: np.ndarray) -> None:
    _, sequence = add_sequence(scene, [pixels, pixels])
    other = set_pixels(slicer.vtkMRMLScalarVolumeNode(), pixels.astype(np.float32) / 3)
    other.SetIJKToRASMatrix(vtk_matrix(affine()))
    sequence.SetDataNodeAtValue(other, "1")
    source = Frames(sequence).read()
    assert (source.shape, source.dtype) == ((3, 5, 7, 11), np.float32)


def test_a_sequence_that_slicer_saves_is_read_as_one(
    scene: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    frames = list(rng.integers(0, 3000, (4, 5, 7, 11), dtype=np.int16))
    _, sequence = add_sequence(scene, frames, step=0.05)
    storage = slicer.vtkMRMLVolumeSequenceStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "heart.seq.nrrd"))
    assert storage.WriteData(sequence) == 1
    image = deepbio.read(tmp_path / "heart.seq.nrrd")
    assert (image.axes, image.frame_interval) == ("TZYX", pytest.approx(0.05))
    np.testing.assert_array_equal(image.numpy(), np.stack(frames))
    assert image.grid == image_of(sequence.GetNthDataNode(0)).grid
