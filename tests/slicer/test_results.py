"""What lands in the scene: each voxel in its place, with its name, colour and code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from SlicerDeepBioLib import results, terminology
from tests.slicer.nodes import add_transform, add_volume, affine, labels_of, vtk_matrix

SNOMED = {"scheme": "SCT", "value": "5366008", "meaning": "Hippocampus"}
CLASSES = {
    "2": {"name": "posterior", "color": "#3c8de6", "type": SNOMED},
    "1": {
        "name": "anterior",
        "color": "#e6a23c",
        "category": {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"},
        "type": SNOMED,
        "modifier": {"scheme": "SCT", "value": "255549009", "meaning": "Anterior~^"},
    },
    "10": "rim",
}


@pytest.fixture
def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.choice(np.array([0, 0, 1, 10], np.int32), (5, 7, 11))


def add_segmentation(scene: Any, labels: np.ndarray, volume: Any, names: list[Any]) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node = scene.AddNode(results.make_segmentation(labels, matrix, names))
    results.copy_geometry(node, volume)
    return node


def test_names_colours_and_codes() -> None:
    first, second, third = terminology.class_labels(CLASSES)
    assert (first.value, first.name, second.value, third.value, third.name) == (1, "anterior", 2, 10, "rim")
    np.testing.assert_allclose(first.color, (0xE6 / 255, 0xA2 / 255, 0x3C / 255))
    assert first.terminology == (
        "Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^5366008^Hippocampus~SCT^255549009^Anterior  "
        "~Anatomic codes - DICOM master list~^^~^^"
    )
    assert third.terminology == ""
    assert len({label.id for label in (first, second, third)}) == 3


def test_slicer_reads_the_codes() -> None:
    entry = slicer.vtkSlicerTerminologyEntry()
    (label,) = terminology.class_labels({"1": CLASSES["1"]})
    assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(label.terminology, entry)
    assert entry.GetCategoryObject().GetCodeMeaning() == "Anatomical Structure"
    assert entry.GetTypeObject().GetCodeValue() == "5366008"
    assert entry.GetTypeModifierObject().GetCodeMeaning().strip() == "Anterior"


def test_objects_are_told_apart() -> None:
    names = terminology.object_labels([1, 2, 7], "nucleus")
    assert [label.name for label in names] == ["nucleus 1", "nucleus 2", "nucleus 7"]
    assert len({label.color for label in terminology.object_labels(range(1, 200), "cell")}) == 199


@pytest.mark.parametrize("left_handed", [False, True])
def test_segments_are_the_labels(
    scene: Any, labels: np.ndarray, pixels: np.ndarray, left_handed: bool
) -> None:
    volume = add_volume(scene, pixels, affine(left_handed=left_handed))
    volume.SetAndObserveTransformNodeID(add_transform(scene, affine((1, 1, 1), (0.5, 0.1, -2))).GetID())
    node = add_segmentation(scene, labels, volume, terminology.class_labels(CLASSES))
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(at) for at in range(3)]
    assert ids == ["anterior_1", "posterior_2", "rim_10"]
    assert [segmentation.GetSegment(one).GetName() for one in ids] == ["anterior", "posterior", "rim"]
    assert [segmentation.GetSegment(one).GetLabelValue() for one in ids] == [1, 2, 10]
    assert segmentation.GetNumberOfLayers() == 1
    found = labels_of(node, volume)
    np.testing.assert_array_equal(np.array([0, 1, 2, 10])[found], labels)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume


@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_of_mass_in_the_world(scene: Any, pixels: np.ndarray, turned: bool) -> None:
    matrix = affine()
    volume = add_volume(scene, pixels, matrix)
    above = affine((1, 1, 1), (0.5, 0.1, -2), (30, 0.5, -7.75)) if turned else np.eye(4)
    volume.SetAndObserveTransformNodeID(add_transform(scene, above).GetID())
    labels = np.zeros(pixels.shape, np.uint8)
    labels[1:4, 2:5, 3:9] = 1
    node = add_segmentation(scene, labels, volume, terminology.class_labels({"1": "box"}))
    assert node.CreateClosedSurfaceRepresentation()
    surface = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface")
    mass = vtk.vtkCenterOfMass()
    mass.SetInputData(surface)
    mass.Update()
    parent = vtk.vtkMatrix4x4()
    node.GetParentTransformNode().GetMatrixTransformToWorld(parent)
    expected = (above @ matrix @ (5.5, 3, 2, 1))[:3]
    # the box is symmetric, so smoothing does not move its centre
    np.testing.assert_allclose(parent.MultiplyPoint((*mass.GetCenter(), 1))[:3], expected, atol=0.01)
    np.testing.assert_allclose(node.GetSegmentCenterRAS("box_1"), expected, atol=0.5)


def test_nothing_found(scene: Any, pixels: np.ndarray) -> None:
    volume = add_volume(scene, pixels)
    node = add_segmentation(scene, np.zeros_like(pixels), volume, terminology.class_labels(CLASSES))
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    assert not labels_of(node, volume).any()


def test_a_plane(scene: Any, labels: np.ndarray, pixels: np.ndarray) -> None:
    volume = add_volume(scene, pixels[:1])
    node = add_segmentation(scene, labels[0], volume, terminology.object_labels([1, 10], "nucleus"))
    np.testing.assert_array_equal(np.array([0, 1, 10])[labels_of(node, volume)], labels[:1])


def test_contents_can_be_exchanged(scene: Any, labels: np.ndarray, pixels: np.ndarray) -> None:
    volume = add_volume(scene, pixels)
    node = add_segmentation(scene, labels, volume, terminology.class_labels(CLASSES))
    before = labels_of(node, volume)
    matrix = vtk_matrix(affine())
    rest = terminology.class_labels({"1": "rest"})
    other = results.make_segmentation((labels == 0).astype(np.int32), matrix, rest, surface=True)
    kept = results.exchange_segments(node, other.GetSegmentation())
    del other
    np.testing.assert_array_equal(labels_of(node, volume), labels == 0)
    assert node.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface") is not None
    results.exchange_segments(node, kept)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    np.testing.assert_array_equal(labels_of(node, volume), before)


def test_a_label_map_with_its_colours(scene: Any, labels: np.ndarray) -> None:
    names = terminology.object_labels([1, 10], "nucleus")
    node, display, colors = results.add_label_map(scene, labels, vtk_matrix(affine()), names, "nuclei")
    stored = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars())
    np.testing.assert_array_equal(stored.reshape(labels.shape), labels)
    assert node.GetDisplayNode() is display
    assert display.GetColorNode() is colors
    assert colors.GetColorName(10) == "nucleus 10"
    color = [0.0] * 4
    colors.GetColor(10, color)
    np.testing.assert_allclose(color, (*names[1].color, 1), atol=1 / 255)


@pytest.mark.parametrize(("highest", "kind"), [(255, np.uint8), (256, np.int16), (40000, np.int32)])
def test_labels_take_no_more_room_than_they_need(highest: int, kind: type) -> None:
    labels = np.array([0, highest], np.int32)
    assert results.narrow(labels).dtype == kind
    np.testing.assert_array_equal(results.narrow(labels), labels)


def test_a_table(scene: Any) -> None:
    columns = {"name": ["a", None], "label": [1, 2], "volume": [2.5, None], "nothing": [None, None]}
    node = results.add_table(scene, columns, {"volume": "mm^3"}, "measured")
    names = [node.GetColumnName(at) for at in range(4)]
    assert names == ["name", "label", "volume [mm^3]", "nothing"]
    table = node.GetTable()
    assert [table.GetValueByName(1, name).ToString() for name in ("name", "label")] == ["", "2"]
    volumes = vtk_to_numpy(table.GetColumnByName("volume [mm^3]"))
    assert volumes[0] == 2.5
    assert np.isnan(volumes[1])
    assert node.GetColumnUnitLabel("volume [mm^3]") == "mm^3"
    empty = results.add_table(scene, {"label": []}, {}, "none")
    assert (empty.GetNumberOfColumns(), empty.GetNumberOfRows()) == (1, 0)


def test_an_image(scene: Any, rng: np.random.Generator) -> None:
    values = rng.normal(size=(5, 7, 11)).astype(np.float32)
    node, display = results.add_volume(scene, values, vtk_matrix(affine(left_handed=True)), "restored")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values)
    assert display.IsA("vtkMRMLScalarVolumeDisplayNode")
    colours = rng.integers(0, 256, (3, 7, 11), dtype=np.uint8)
    node, display = results.add_volume(scene, colours, vtk_matrix(affine()), "colours", colour=True)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node)[0], colours.transpose(1, 2, 0))
    assert display.IsA("vtkMRMLVectorVolumeDisplayNode")
    node, _ = results.add_volume(scene, colours, vtk_matrix(affine()), "three grey slices")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), colours)


def test_beside_the_input(scene: Any, pixels: np.ndarray) -> None:
    volume = add_volume(scene, pixels)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "study")
    tree.CreateItem(study, volume)
    table = results.add_table(scene, {"a": [1]}, {}, "table")
    for _ in range(2):
        results.put_beside(table, volume)
        assert tree.GetItemParent(tree.GetItemByDataNode(table)) == study


def test_provenance(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    record = {"model": "hippocampus", "model_version": "0.1.0", "weights_sha256": "ab", "device": "cpu"}
    record |= {
        "runtime": "openvino",
        "tile": [48, 64, 32],
        "seconds_total": 0.25,
        "options": {"mirror": True},
    }
    results.set_provenance(node, record, "brain")
    told = {
        name: node.GetAttribute(f"DeepBio.{name}")
        for name in ("Model", "Tile", "Seconds", "Options", "Input")
    }
    assert told == {
        "Model": "hippocampus",
        "Tile": "48 x 64 x 32",
        "Seconds": "0.25",
        "Options": '{"mirror": true}',
        "Input": "brain",
    }
    assert json.loads(node.GetAttribute("DeepBio.Record")) == record
