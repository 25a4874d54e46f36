"""A click on Segment, on real nodes with the real worker and the real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

import deepbio
from deepbio.image import Image
from SlicerDeepBioLib import placing
from SlicerDeepBioLib.client import WorkerError
from SlicerDeepBioLib.scene import SceneError
from tests.slicer.nodes import (
    add_transform,
    add_volume,
    affine,
    image_of,
    labels_of,
    node_names,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
HIPPOCAMPUS = EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz"
TIMEOUT = 120
ONNX = {
    "runtime": "onnx"
}  # auto takes the fastest by trial, which takes its time and may differ between processes
OPTIONS = deepbio.RunOptions(runtime="onnx")


@pytest.fixture(scope="session")
def model() -> deepbio.Model:
    return deepbio.load_model("hippocampus")


def centres(segmentation: Any) -> dict[int, np.ndarray]:
    """Centre of mass of each segment in the world's RAS, from its own voxels and the parent transform."""
    above = vtk.vtkMatrix4x4()
    if segmentation.GetParentTransformNode() is not None:
        segmentation.GetParentTransformNode().GetMatrixTransformToWorld(above)
    found = {}
    for at in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        segment = segmentation.GetSegmentation().GetNthSegment(at)
        image = segment.GetRepresentation("Binary labelmap")
        values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(
            tuple(reversed(image.GetDimensions()))
        )
        k, j, i = np.argwhere(values == segment.GetLabelValue()).mean(axis=0)
        first = image.GetExtent()[0::2]
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        point = matrix.MultiplyPoint((i + first[0], j + first[1], k + first[2], 1))
        found[segment.GetLabelValue()] = np.array(above.MultiplyPoint(point)[:3])
    return found


def test_a_click(logic: Any, cards: Any, hippocampus: Any, model: deepbio.Model) -> None:
    seen: list[tuple[float, str]] = []
    done: list[Any] = []
    run = logic.segment(
        hippocampus,
        cards["hippocampus"],
        {**ONNX, "surface": "true"},
        on_progress=lambda run: seen.append((run.progress.fraction, run.progress.text)),
        on_done=done.append,
    )
    assert run.state == "waiting"
    assert logic.busy
    assert run.wait(TIMEOUT) is run
    assert (run.state, done, logic.last_run is run, logic.busy) == ("done", [run], True, False)
    expected = model.run(deepbio.read(HIPPOCAMPUS), OPTIONS).labels.numpy()
    np.testing.assert_array_equal(labels_of(run.segmentation, hippocampus), expected)
    assert set(np.unique(expected)) == {0, 1, 2}

    segmentation = run.segmentation.GetSegmentation()
    segments = [segmentation.GetNthSegment(at) for at in range(segmentation.GetNumberOfSegments())]
    assert segmentation.GetNumberOfLayers() == 1
    assert [segment.GetName() for segment in segments] == ["anterior hippocampus", "posterior hippocampus"]
    np.testing.assert_allclose(segments[0].GetColor(), (0xE6 / 255, 0xA2 / 255, 0x3C / 255))
    assert all(segment.GetRepresentation("Closed surface").GetNumberOfPoints() > 500 for segment in segments)
    told = slicer.vtkSlicerTerminologyEntry()
    text = vtk.reference("")
    assert segments[1].GetTag("TerminologyEntry", text)
    assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(str(text), told)
    assert told.GetTypeObject().GetCodeValue() == "5366008"

    assert run.segmentation.GetName() == "hippocampus_311 hippocampus"
    assert run.segmentation.GetAttribute("DeepBio.Model") == "hippocampus"
    assert run.segmentation.GetAttribute("DeepBio.WeightsSHA256") == run.record["weights_sha256"]
    (table,) = run.tables
    sizes = vtk_to_numpy(table.GetTable().GetColumnByName("volume [mm^3]"))
    np.testing.assert_allclose(sizes, np.bincount(expected.ravel())[1:])  # voxels of 1 mm
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(hippocampus.GetScene())
    assert tree.GetItemByDataNode(run.segmentation)

    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] < 1
    assert run.progress.fraction == 1.0
    assert {"Sending the image", "Placing the result"} <= {text for _, text in seen}


@pytest.mark.parametrize(
    ("spacing", "left_handed", "crop"),
    [
        ((1.0, 1.0, 1.0), False, None),
        ((0.9, 1.1, 1.4), True, None),
        ((1.3, 0.7, 1.0), False, np.s_[3:36, 5:44, 2:31]),
    ],
    ids=["isotropic", "left-handed", "cropped"],
)
@pytest.mark.parametrize("turned", [False, True], ids=["", "under a transform"])
def test_every_geometry(
    logic: Any,
    cards: Any,
    scene: Any,
    model: deepbio.Model,
    spacing: Any,
    left_handed: bool,
    crop: Any,
    turned: bool,
) -> None:
    pixels = deepbio.read(HIPPOCAMPUS).numpy()[crop or ...]
    matrix = affine(spacing, (0.1, -0.2, 0.15), (-31.25, 12.5, 700.3), left_handed=left_handed)
    volume = add_volume(scene, pixels, matrix)
    if turned:
        inner = add_transform(scene, affine((1, 1, 1.1), (0.25, 0, -0.3), (-8, 101.5, 3)))
        outer = add_transform(scene, affine((1, 1, 1), (0, 0.4, 0), (0, 0, -300)))
        inner.SetAndObserveTransformNodeID(outer.GetID())
        volume.SetAndObserveTransformNodeID(
            inner.GetID() if spacing[0] == spacing[1] == spacing[2] else outer.GetID()
        )
    run = logic.segment(volume, cards["hippocampus"], ONNX).wait(TIMEOUT) if not turned else None
    if run is None and spacing == (1.0, 1.0, 1.0):
        with pytest.raises(SceneError, match="sheared"):  # a scaling along other axes than the volume's
            logic.segment(volume, cards["hippocampus"], ONNX).wait(TIMEOUT)
        inner.SetMatrixTransformToParent(vtk.vtkMatrix4x4())
    run = run or logic.segment(volume, cards["hippocampus"], ONNX).wait(TIMEOUT)
    image = image_of(volume)
    labels = model.run(image, OPTIONS).labels.numpy()
    assert {1, 2} <= set(np.unique(labels))
    np.testing.assert_array_equal(labels_of(run.segmentation, volume), labels)
    found = centres(run.segmentation)
    for value in (1, 2):
        x, y, z = image.grid.to_world(np.argwhere(labels == value).mean(axis=0))
        np.testing.assert_allclose(found[value], (-x, -y, z), atol=0.01)


def test_the_second_click_needs_no_load(logic: Any, cards: Any, hippocampus: Any, scene: Any) -> None:
    logic.client.submit({"command": "release"}).wait(TIMEOUT)
    assert logic.segment(hippocampus, cards["hippocampus"], ONNX).wait(TIMEOUT).loaded
    other = add_volume(scene, deepbio.read(HIPPOCAMPUS).numpy()[:, ::-1].copy(), np.eye(4), "other")
    starts = logic.client.starts
    assert not logic.segment(other, cards["hippocampus"], ONNX).wait(TIMEOUT).loaded
    assert logic.client.starts == starts


def test_undo_leaves_no_trace(logic: Any, cards: Any, hippocampus: Any, scene: Any) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    before, items = node_names(scene), tree.GetNumberOfItems()
    run = logic.segment(hippocampus, cards["hippocampus"], ONNX).wait(TIMEOUT)
    assert node_names(scene) != before
    run.undo()
    assert node_names(scene) == before
    assert tree.GetNumberOfItems() == items
    assert run.undone
    assert run.nodes == []
    run.undo()  # once is enough


def test_an_output_is_replaced_and_put_back(logic: Any, cards: Any, hippocampus: Any, scene: Any) -> None:
    first = logic.segment(hippocampus, cards["hippocampus"], ONNX).wait(TIMEOUT)
    output = first.segmentation
    before = labels_of(output, hippocampus)
    attributes = {name: output.GetAttribute(name) for name in output.GetAttributeNames()}
    other = add_volume(scene, deepbio.read(HIPPOCAMPUS).numpy(), affine((1, 1, 1)), "other")
    second = logic.segment(other, cards["hippocampus"], {**ONNX, "mirror": "false"}, output=output).wait(
        TIMEOUT
    )
    assert second.segmentation is output
    assert output not in second.nodes
    assert output.GetAttribute("DeepBio.Input") == "other"
    assert not np.array_equal(labels_of(output, other), before)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert output.GetNodeReference(role) is other
    with pytest.raises(SceneError, match="Undo that run first"):
        first.undo()
    second.undo()
    assert output.GetSegmentation().GetNumberOfLayers() == 1
    np.testing.assert_array_equal(labels_of(output, hippocampus), before)
    assert {name: output.GetAttribute(name) for name in output.GetAttributeNames()} == attributes
    assert output.GetNodeReference(role) is hippocampus
    first.undo()
    assert not scene.IsNodePresent(output)


def test_what_does_not_fit(logic: Any, cards: Any, hippocampus: Any, scene: Any) -> None:
    before = node_names(scene)
    run = logic.segment(hippocampus, cards["nuclei"], ONNX)
    with pytest.raises(WorkerError, match="is 2D; the image is a stack"):
        run.wait(TIMEOUT)
    assert (run.state, run.error.kind) == ("failed", "InputMismatch")
    assert "per_slice" in run.error.hint
    assert node_names(scene) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"as": "surface"}, "'as' is 'surface'"),
        ({"tile": "3"}, "'tile' is 3"),
        ({"til": "64"}, "no option 'til'"),
    ],
)
def test_options_that_are_wrong(logic: Any, cards: Any, hippocampus: Any, options: Any, message: str) -> None:
    with pytest.raises((SceneError, WorkerError), match=message):
        logic.segment(hippocampus, cards["hippocampus"], options).wait(TIMEOUT)


def test_what_fits(logic: Any, cards: Any, hippocampus: Any, scene: Any) -> None:
    told: list[Any] = []
    logic.fits(hippocampus, lambda *answer: told.append(answer)).wait(TIMEOUT)
    outputs, error = told.pop()
    assert error is None
    assert (outputs["fits"]["hippocampus"], outputs["fits"]["heart-lv"]) == ("", "")
    assert "Set per_slice" in outputs["fits"]["nuclei"]
    logic.fits(hippocampus, lambda *answer: told.append(answer), {"per_slice": "true", "as": "labels"}).wait(
        TIMEOUT
    )
    assert told.pop()[0]["fits"]["nuclei"] == ""
    logic.fits(scene.AddNewNodeByClass("vtkMRMLModelNode", "tree"), lambda *answer: told.append(answer))
    outputs, error = told.pop()
    assert outputs is None
    assert "not a volume" in error.message


def test_label_maps_are_no_images(logic: Any, cards: Any, scene: Any) -> None:
    labels = add_volume(
        scene, np.ones((37, 49, 37), np.int16), kind="vtkMRMLLabelMapVolumeNode", name="truth"
    )
    with pytest.raises(SceneError, match="'truth' is a label map; the model 'hippocampus' needs an image"):
        logic.segment(labels, cards["hippocampus"], ONNX).wait(TIMEOUT)
    told: list[Any] = []
    logic.fits(labels, lambda outputs, error: told.append(outputs)).wait(TIMEOUT)
    other = ("2D", "follows frames", "from a latent")  # what they would not take of an image either
    reasons = [why for why in told[0]["fits"].values() if not any(word in why for word in other)]
    assert len(reasons) > 1
    assert all("is a label map" in why for why in reasons)


def test_objects_become_segments(logic: Any, cards: Any, scene: Any) -> None:
    image = Image(deepbio.read(EXAMPLES / "fluorescence.tif").numpy()[100:400, 50:350])
    volume = add_volume(scene, image.numpy()[None], np.eye(4), "cells")
    run = logic.segment(volume, cards["nuclei"], ONNX).wait(TIMEOUT)
    expected = deepbio.run(image, "nuclei", OPTIONS).labels.numpy()
    segmentation = run.segmentation.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == expected.max()
    assert segmentation.GetNthSegment(2).GetName() == "nucleus 3"
    np.testing.assert_array_equal(labels_of(run.segmentation, volume)[0], expected)
    assert run.tables[0].GetTable().GetNumberOfRows() == expected.max()
    as_labels = logic.segment(volume, cards["nuclei"], {**ONNX, "as": "labels"}).wait(TIMEOUT)
    assert as_labels.segmentation is None
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(as_labels.label_map)[0], expected)
    again = logic.segment(
        volume, cards["nuclei"], {**ONNX, "threshold": "0.9"}, output=as_labels.label_map
    ).wait(TIMEOUT)
    assert again.label_map is as_labels.label_map
    assert not np.array_equal(slicer.util.arrayFromVolume(again.label_map)[0], expected)
    again.undo()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(as_labels.label_map)[0], expected)


def test_many_objects_become_a_label_map(
    logic: Any, cards: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "MOST_SEGMENTS", 10)
    pixels = deepbio.read(EXAMPLES / "fluorescence.tif").numpy()[:300, :300]
    volume = add_volume(scene, pixels[None], np.eye(4), "many")
    run = logic.segment(volume, cards["nuclei"], ONNX).wait(TIMEOUT)
    found = slicer.util.arrayFromVolume(run.label_map)[0]
    assert found.max() > 10
    assert run.segmentation is None
    np.testing.assert_array_equal(found, deepbio.run(Image(pixels), "nuclei", OPTIONS).labels.numpy())
    colors = run.label_map.GetDisplayNode().GetColorNode()
    assert colors.GetColorName(11) == "nucleus 11"
    assert any("shown as a label map" in text for _, text in run.notices)
    run.undo()
    assert not [name for name in node_names(scene) if "nuclei" in name]


def test_colour_pictures(logic: Any, cards: Any, scene: Any) -> None:
    image = deepbio.read(EXAMPLES / "histology.png")
    pixels = np.moveaxis(image.numpy(), 0, -1)[None]
    volume = add_volume(scene, pixels, np.eye(4), "tissue")
    run = logic.segment(volume, cards["nuclei"], {**ONNX, "as": "labels"}).wait(TIMEOUT)
    expected = deepbio.run(image, "nuclei", OPTIONS).labels.numpy()
    assert expected.max() > 20
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(run.label_map)[0], expected)


def test_scores_become_volumes(logic: Any, cards: Any, hippocampus: Any, model: deepbio.Model) -> None:
    run = logic.segment(hippocampus, cards["hippocampus"], {**ONNX, "output": "scores,labels"}).wait(TIMEOUT)
    options = OPTIONS.replace(output=("scores",))
    expected = model.run(deepbio.read(HIPPOCAMPUS), options).scores.numpy()
    assert len(run.volumes) == 3
    assert run.tables == []
    for volume, scores in zip(run.volumes, expected, strict=True):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), scores)
        assert image_of(volume).grid == image_of(hippocampus).grid
    assert len({volume.GetName() for volume in run.volumes}) == 3
