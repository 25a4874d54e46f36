"""Generators on real nodes: images of classes from nothing, and images from a label map or a segmentation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtk
from vtk.util.numpy_support import vtk_to_numpy

import deepbio
from SlicerDeepBioLib import results
from SlicerDeepBioLib.answers import PART
from SlicerDeepBioLib.client import WorkerClient, WorkerError
from SlicerDeepBioLib.logic import DeepBioLogic
from SlicerDeepBioLib.scene import SceneError
from SlicerDeepBioLib.terminology import object_labels
from tests.core.tasks.makers import write_class_maker
from tests.slicer.nodes import add_transform, add_volume, affine, node_names, vtk_matrix

TIMEOUT = 120
ONNX = {"runtime": "onnx", "device": "cpu"}
OPTIONS = deepbio.RunOptions(runtime="onnx", device="cpu")


@pytest.fixture(scope="module")
def shades_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerClient, dict[str, Any]]]:
    """A worker whose library has a generator of the classes dark, grey and light, and its card."""
    home = tmp_path_factory.mktemp("home")
    package = write_class_maker(home / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(home))
        client = WorkerClient(sys.executable)
        told = client.submit({"command": "models"}).wait(TIMEOUT)["models"]
    yield client, next(card for card in told if card["name"] == package.name)
    client.stop()


@pytest.fixture
def shades(scene: Any, shades_client: Any) -> Iterator[tuple[DeepBioLogic, dict[str, Any], Any]]:
    client, card = shades_client
    logic = DeepBioLogic(client, scene)
    yield logic, card, scene
    logic.close()


def pixels_of(node: Any) -> np.ndarray:
    """Voxels (z, y, x) or (z, y, x, components) of a volume."""
    image = node.GetImageData()
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    return scalars.reshape(*image.GetDimensions()[::-1], *scalars.shape[1:])


def matrix_of(node: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def masks(shape: tuple[int, int, int] = (1, 61, 83)) -> np.ndarray:
    """Two objects in each slice, none of them in the middle."""
    labels = np.zeros(shape, np.int16)
    labels[:, 8:20, 11:30] = 3
    labels[:, 33:47, 50:62] = 7
    return labels


def test_images_of_classes_become_a_sequence(shades: Any) -> None:
    logic, card, scene = shades
    before = node_names(scene)
    options = {**ONNX, "count": "4", "classes": "light,dark", "seed": "9", "output": "image,table"}
    run = logic.segment(None, card, options).wait(TIMEOUT)
    expected = deepbio.generate(
        Path(card["folder"]), OPTIONS.replace(count=4, classes=("light", "dark"), seed=9)
    ).image
    assert expected is not None
    (volume,) = run.volumes
    assert volume.GetName() == "shades"
    assert volume.IsA("vtkMRMLVectorVolumeNode")
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    assert browser.GetNumberOfItems() == 4
    assert browser.GetProxyNode(browser.GetMasterSequenceNode()) is volume
    for at in (0, 3, 1, 2):
        browser.SetSelectedItemNumber(at)
        assert (volume.GetAttribute(PART), volume.GetAttribute("DeepBio.Model")) == ("image", "shades")
        shown = np.moveaxis(pixels_of(volume)[0], -1, 0)
        np.testing.assert_array_equal(shown, expected.numpy()[at])
    np.testing.assert_allclose(matrix_of(volume), np.diag([-1.0, -1.0, 1.0, 1.0]))
    (table,) = run.tables
    assert [table.GetCellText(row, 1) for row in range(4)] == ["light", "dark", "light", "dark"]
    assert [table.GetCellText(row, 2) for row in range(4)] == ["9", "10", "11", "12"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLVectorVolumeNode") == 1  # no second one that shows the same
    run.undo()
    assert node_names(scene) == before


def test_one_image_is_a_volume(shades: Any) -> None:
    logic, card, scene = shades
    run = logic.segment(None, card, {**ONNX, "count": "1", "classes": "grey"}).wait(TIMEOUT)
    (volume,) = run.volumes
    assert pixels_of(volume).shape == (1, 4, 6, 3)
    assert pixels_of(volume)[0, 1, 1].tolist() == [100, 100, 100]
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 0
    assert volume.GetAttribute("DeepBio.Model") == "shades"


def test_progress_counts_images(shades: Any) -> None:
    logic, card, _ = shades
    told: list[tuple[float, str]] = []
    logic.segment(
        None,
        card,
        {**ONNX, "count": "20"},
        on_progress=lambda run: told.append((run.progress.fraction, run.progress.text)),
    ).wait(TIMEOUT)
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert any("mage 20 of 20" in text for _, text in told)


def test_a_class_that_there_is_not_is_told(shades: Any) -> None:
    logic, card, scene = shades
    before = node_names(scene)
    run = logic.segment(None, card, {**ONNX, "classes": "red"})
    with pytest.raises(WorkerError, match=r"no class 'red'\. It makes: dark, grey, light"):
        run.wait(TIMEOUT)
    assert node_names(scene) == before


def test_who_needs_an_input_and_who_takes_none(shades: Any, cards: Any) -> None:
    logic, card, scene = shades
    node = add_volume(scene, masks(), name="mask")
    with pytest.raises(SceneError, match="'shades' makes images of its own; found the input 'mask'"):
        logic.segment(node, card).wait(TIMEOUT)
    with pytest.raises(SceneError, match="'nuclei' needs an image"):
        logic.segment(None, cards["nuclei"]).wait(TIMEOUT)
    told: list[Any] = []
    logic.fits(None, lambda outputs, error: told.append((outputs, error))).wait(TIMEOUT)
    ((outputs, error),) = told
    assert error is None
    assert {name for name, why in outputs["fits"].items() if not why} == {
        "shades",
        "cells-synth",
        "nuclei-synth",
    }


def label_map(scene: Any, labels: np.ndarray) -> Any:
    return add_volume(scene, labels, affine(), "mask", kind="vtkMRMLLabelMapVolumeNode")


def segmentation(scene: Any, labels: np.ndarray) -> Any:
    made = results.make_segmentation(
        labels, vtk_matrix(affine()), object_labels([int(v) for v in np.unique(labels) if v], "nucleus")
    )
    made.SetName("mask")
    return scene.AddNode(made)


@pytest.mark.parametrize("make", [label_map, segmentation])
@pytest.mark.parametrize("slices", [1, 3])
def test_an_image_from_a_mask(logic: Any, cards: Any, scene: Any, make: Any, slices: int) -> None:
    labels = masks((slices, 61, 83))
    node = make(scene, labels)
    turn = add_transform(scene, affine((1, 1, 1), (0.1, 0.5, 0)))
    node.SetAndObserveTransformNodeID(turn.GetID())
    before = node_names(scene)
    run = logic.segment(node, cards["nuclei-synth"], {**ONNX, "seed": "5"}).wait(TIMEOUT)
    (volume,) = run.volumes
    assert volume.GetName() == "mask nuclei-synth"
    given = deepbio.Image(labels if slices > 1 else labels[0], "ZYX" if slices > 1 else "YX")
    expected = deepbio.run(given, "nuclei-synth", OPTIONS.replace(seed=5)).image
    assert expected is not None
    np.testing.assert_array_equal(pixels_of(volume), expected.numpy().reshape(labels.shape))
    np.testing.assert_allclose(matrix_of(volume), affine())
    assert volume.GetTransformNodeID() == turn.GetID()
    run.undo()
    assert node_names(scene) == before


def test_variants_of_one_mask_are_all_there(logic: Any, cards: Any, scene: Any) -> None:
    node = label_map(scene, masks())
    before = node_names(scene)
    run = logic.segment(node, cards["nuclei-synth"], {**ONNX, "count": "3"}).wait(TIMEOUT)
    expected = deepbio.run(deepbio.Image(masks()[0]), "nuclei-synth", OPTIONS.replace(count=3)).image
    assert expected is not None
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    for at in range(3):
        browser.SetSelectedItemNumber(at)
        np.testing.assert_array_equal(pixels_of(run.volumes[0])[0], expected.numpy()[at])
    np.testing.assert_allclose(matrix_of(run.volumes[0]), affine())
    run.undo()
    assert node_names(scene) == before


def test_masks_and_images_from_nothing_play_together(logic: Any, cards: Any, scene: Any) -> None:
    before = node_names(scene)
    options = {**ONNX, "count": "2", "output": "image,labels"}
    run = logic.segment(None, cards["nuclei-synth"], {**options, "as": "labels"}).wait(TIMEOUT)
    expected = deepbio.generate("nuclei-synth", OPTIONS.replace(count=2, output=("image", "labels")))
    assert expected.image is not None
    assert expected.labels is not None
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 1
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    for at in (1, 0):
        browser.SetSelectedItemNumber(at)
        np.testing.assert_array_equal(pixels_of(run.volumes[0])[0], expected.image.numpy()[at])
        np.testing.assert_array_equal(pixels_of(run.label_map)[0], expected.labels.numpy()[at])
    assert run.plot is None
    run.undo()
    assert node_names(scene) == before


def test_an_empty_segmentation_is_told(logic: Any, cards: Any, scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(SceneError, match="segmentation 'empty' has no voxels"):
        logic.segment(node, cards["nuclei-synth"]).wait(TIMEOUT)
    with pytest.raises(SceneError, match="'empty' is a segmentation; the model 'nuclei' needs an image"):
        logic.segment(node, cards["nuclei"]).wait(TIMEOUT)


def test_what_fits_a_segmentation(logic: Any, cards: Any, scene: Any) -> None:
    node = segmentation(scene, masks())
    told: list[Any] = []
    logic.cards = cards
    logic.fits(node, lambda outputs, error: told.append((outputs, error))).wait(TIMEOUT)
    ((outputs, error),) = told
    assert error is None
    assert {name for name, why in outputs["fits"].items() if not why} == {"nuclei-synth"}
    assert "'mask' is a segmentation" in outputs["fits"]["nuclei"]
