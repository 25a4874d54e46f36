"""Models of other tasks on real nodes: volumes and tables that are what deepbio.run gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtk
from vtk.util.numpy_support import vtk_to_numpy

import deepbio
from tests.slicer.nodes import add_volume, affine, image_of

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT = 120


@pytest.fixture
def cell(scene: Any) -> Any:
    pixels = deepbio.read(EXAMPLES / "blood_cells" / "neutrophil.jpg").numpy()
    rgb = np.ascontiguousarray(np.moveaxis(pixels, 0, -1)[None])
    return add_volume(scene, rgb, np.eye(4), "cell")


def run(logic: Any, node: Any, card: Any, **options: str) -> Any:
    return logic.segment(node, card, {"runtime": "onnx", **options}).wait(TIMEOUT)


def cells_of(table: Any) -> dict[str, list[str]]:
    """All columns of a table node, as texts."""
    data = table.GetTable()
    columns = [data.GetColumn(at) for at in range(data.GetNumberOfColumns())]
    return {
        str(one.GetName()): [one.GetVariantValue(row).ToString() for row in range(data.GetNumberOfRows())]
        for one in columns
    }


def test_a_classifier_fills_a_table(logic: Any, cards: Any, cell: Any) -> None:
    found = run(logic, cell, cards["blood-cells"])
    assert (found.segmentation, found.volumes) == (None, [])
    (table,) = found.tables
    told = cells_of(table)
    expected = deepbio.run(
        EXAMPLES / "blood_cells" / "neutrophil.jpg", "blood-cells", deepbio.RunOptions(runtime="onnx")
    ).table
    assert expected is not None
    assert told["class"] == ["neutrophil"]
    assert float(told["p_neutrophil"][0]) == pytest.approx(float(expected["p_neutrophil"][0]), abs=1e-6)


def test_a_restored_volume_lies_where_its_input_lies(logic: Any, cards: Any, scene: Any) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.poisson(20, (3, 41, 67)).astype(np.uint16)
    node = add_volume(scene, pixels, affine(), "noisy")
    found = run(logic, node, cards["denoise"], per_slice="true")
    (volume,) = found.volumes
    assert volume.GetName() == "noisy denoise"
    shown = vtk_to_numpy(volume.GetImageData().GetPointData().GetScalars()).reshape(3, 41, 67)
    expected = deepbio.run(
        image_of(node), "denoise", deepbio.RunOptions(runtime="onnx", per_slice=True)
    ).image
    assert expected is not None
    np.testing.assert_allclose(shown, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(_matrix(volume), _matrix(node))


@pytest.mark.parametrize("slices", [1, 3])
def test_finer_voxels_cover_the_same_place(logic: Any, cards: Any, scene: Any, slices: int) -> None:
    pixels = np.random.default_rng(5).poisson(20, (slices, 33, 46)).astype(np.uint16)
    node = add_volume(scene, pixels, affine(), "coarse")
    found = run(logic, node, cards["upscale-x2"], per_slice="true")
    (volume,) = found.volumes
    assert volume.GetImageData().GetDimensions() == (92, 66, slices)
    # voxel (i, j, k) of the coarse one holds four of the finer one, whose middle is at the same place
    coarse, fine = _matrix(node), _matrix(volume)
    for i, j, k in ((0, 0, 0), (45, 32, slices - 1)):
        middle = fine @ (2 * i + 0.5, 2 * j + 0.5, k, 1)
        np.testing.assert_allclose(middle, coarse @ (i, j, k, 1), atol=1e-6)
    np.testing.assert_allclose(fine[:3, :2], coarse[:3, :2] / 2, atol=1e-6)
    np.testing.assert_allclose(fine[:3, 2], coarse[:3, 2], atol=1e-6)
    expected = deepbio.run(
        image_of(node), "upscale-x2", deepbio.RunOptions(runtime="onnx", per_slice=True)
    ).image
    assert expected is not None
    shown = vtk_to_numpy(volume.GetImageData().GetPointData().GetScalars()).reshape(slices, 66, 92)
    np.testing.assert_allclose(shown, expected.numpy().reshape(shown.shape), atol=1e-4)


def _matrix(node: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def test_reasons_and_features_come_along(logic: Any, cards: Any, cell: Any) -> None:
    pytest.importorskip("torch")
    found = run(logic, cell, cards["blood-cells"], explain="gradcam", layer="auto")
    assert [volume.GetName() for volume in found.volumes] == ["cell blood-cells explanation"]
    assert [table.GetName() for table in found.tables] == [
        "cell blood-cells table",
        "cell blood-cells features",
    ]
    assert len(cells_of(found.tables[1])) > 50


def test_undo_takes_all_of_it_back(logic: Any, cards: Any, cell: Any) -> None:
    before = cell.GetScene().GetNumberOfNodes()
    found = run(logic, cell, cards["blood-cells"])
    assert cell.GetScene().GetNumberOfNodes() > before
    found.undo()
    assert cell.GetScene().GetNumberOfNodes() == before
