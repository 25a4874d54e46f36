"""What a model sees of a node: place, size and orientation of the patient, whatever the node's axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import vtk

from deepbio.image import Grid
from SlicerDeepBioLib.scene import SceneError, describe_volume, read_volume
from tests.slicer.nodes import add_transform, add_volume, affine, image_of


def grid_of(source: Any) -> Grid:
    shape = tuple(n for axis, n in zip(source.axes, source.shape, strict=True) if axis in "ZYX")
    return Grid(shape, source.spacing, source.origin, source.direction, source.unit)


@pytest.mark.parametrize("left_handed", [False, True])
def test_each_voxel_is_where_slicer_says(scene: Any, pixels: np.ndarray, left_handed: bool) -> None:
    node = add_volume(scene, pixels, affine(left_handed=left_handed))
    turn = add_transform(scene, affine((1, 1, 1), (-0.4, 0.2, 0.9), (3.5, -8.25, 11)))
    node.SetAndObserveTransformNodeID(turn.GetID())
    source = read_volume(node)
    assert (source.axes, source.shape, source.unit, source.name) == ("ZYX", (5, 7, 11), "millimeter", "brain")
    np.testing.assert_array_equal(source.parts[0], pixels)
    assert source.dtype == np.int16
    np.testing.assert_allclose(source.spacing, (1.2, 0.8, 0.5))
    matrix, above = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    turn.GetMatrixTransformToWorld(above)
    for index in ((0, 0, 0), (4, 2, 9), (1, 6, 3)):
        x, y, z, _ = above.MultiplyPoint(matrix.MultiplyPoint((*index[::-1], 1)))
        np.testing.assert_allclose(grid_of(source).to_world(index), (-x, -y, z), atol=1e-9)
    assert grid_of(source) == image_of(node).grid
    assert (
        np.linalg.det(grid_of(source).direction) * np.linalg.det(affine(left_handed=left_handed)[:3, :3])
    ) < 0


def test_the_parent_transform_gives_the_size(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels, affine(angles=(0, 0, 0)))
    outer = add_transform(scene, affine((1, 1, 1), (0.2, 0.1, -0.3)), "outer")
    inner = add_transform(scene, np.diag([2.0, 1.5, 0.5, 1.0]), "inner", parent=outer)
    node.SetAndObserveTransformNodeID(inner.GetID())
    np.testing.assert_allclose(read_volume(node).spacing, (0.6, 1.2, 1.0))


def test_a_shearing_transform_is_refused(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels)
    shear = np.eye(4)
    shear[0, 1] = 0.2
    node.SetAndObserveTransformNodeID(add_transform(scene, shear).GetID())
    with pytest.raises(SceneError, match=r"'brain' are sheared.* degrees.*Resample it"):
        read_volume(node)


def test_a_tilted_gantry_is_refused(scene: Any, pixels: np.ndarray) -> None:
    matrix = np.diag([0.5, 0.8, 1.2, 1.0])
    matrix[1, 2] = 0.4
    with pytest.raises(SceneError, match=r"71.6 degrees"):
        read_volume(add_volume(scene, pixels, matrix))


def test_rounded_directions_are_accepted(scene: Any, pixels: np.ndarray) -> None:
    read_volume(add_volume(scene, pixels, affine().round(4)))


def test_a_bent_transform_is_refused(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels)
    bent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for at, point in enumerate(((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5))):
        points.InsertNextPoint(point)
        moved.InsertNextPoint(point[0] + (3 if at == 4 else 0), point[1], point[2])
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    bent.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(
        SceneError, match=r"'brain' lies under the transform 'bent', which is not linear.*Harden"
    ):
        read_volume(node)
    assert describe_volume(node)["shape"] == [5, 7, 11]


def test_one_slice_is_a_plane(scene: Any, pixels: np.ndarray) -> None:
    source = read_volume(add_volume(scene, pixels[2:3]))
    assert (source.axes, source.shape) == ("YX", (7, 11))
    np.testing.assert_array_equal(source.parts[0], pixels[2])
    assert grid_of(source) == Grid((7, 11), (0.8, 0.5), unit="millimeter")


def test_colours(scene: Any, rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (1, 7, 11, 3), dtype=np.uint8)
    source = read_volume(add_volume(scene, colours))
    assert (source.axes, source.shape, source.channels) == ("CYX", (3, 7, 11), ("red", "green", "blue"))
    np.testing.assert_array_equal(source.parts[0], colours[0].transpose(2, 0, 1))


def test_opaque_colours_lose_their_alpha(scene: Any, rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (3, 7, 11, 4), dtype=np.uint8)
    colours[..., 3] = 255
    source = read_volume(add_volume(scene, colours))
    assert (source.axes, source.shape) == ("CZYX", (3, 3, 7, 11))
    np.testing.assert_array_equal(source.parts[0][1], colours[..., 1])
    colours[1, 2, 3, 3] = 254
    with pytest.raises(SceneError, match="transparent in places"):
        read_volume(add_volume(scene, colours, name="glass"))


def test_other_components_are_channels(scene: Any, rng: np.random.Generator) -> None:
    values = rng.normal(size=(5, 7, 11, 2)).astype(np.float32)
    source = read_volume(add_volume(scene, values))
    assert (source.axes, source.shape, source.channels) == ("CZYX", (2, 5, 7, 11), ())
    assert source.fits_request() == {
        "axes": "CZYX",
        "shape": [2, 5, 7, 11],
        "channels": [],
        "dtype": "float32",
    }


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_of_voxel(scene: Any, pixels: np.ndarray, kind: type) -> None:
    source = read_volume(add_volume(scene, pixels.astype(kind)))
    assert source.dtype == kind
    np.testing.assert_array_equal(source.parts[0], pixels.astype(kind))


def test_a_request_is_plain(scene: Any, pixels: np.ndarray) -> None:
    import json

    source = read_volume(add_volume(scene, pixels))
    request = json.loads(json.dumps(source.run_request({"shm": "name"})))
    assert request["axes"] == "ZYX"
    assert request["array"] == {"shm": "name"}
    assert Grid(
        (5, 7, 11), request["spacing"], request["origin"], request["direction"], request["unit"]
    ) == grid_of(source)


def test_what_is_no_volume(scene: Any) -> None:
    with pytest.raises(SceneError, match="'tree' is not a volume but a Model node"):
        read_volume(scene.AddNewNodeByClass("vtkMRMLModelNode", "tree"))
    with pytest.raises(SceneError, match="'empty' has no voxels"):
        read_volume(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))


def test_no_size(scene: Any, pixels: np.ndarray) -> None:
    node = add_volume(scene, pixels, affine(angles=(0, 0, 0)))
    node.SetAndObserveTransformNodeID(add_transform(scene, np.diag([1.0, 0.0, 1.0, 1.0])).GetID())
    with pytest.raises(SceneError, match="must be positive"):
        read_volume(node)
