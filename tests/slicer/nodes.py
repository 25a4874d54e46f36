"""Makes scenes, volumes, transforms and sequences for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

LOGICS = (
    ("Volumes", "vtkSlicerVolumesLogic"),
    ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    ("Sequences", "vtkSlicerSequencesLogic"),
    ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
)


def open_scene() -> tuple[Any, list[Any]]:
    """A scene with the application's logics; they live as long as the second value."""
    scene = slicer.vtkMRMLScene()
    app = slicer.vtkSlicerApplicationLogic()
    app.SetMRMLScene(scene)
    colors = app.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    app.SetModuleLogic("Colors", colors)
    keep = [app, colors]
    for name, kind in LOGICS:
        logic = getattr(slicer, kind)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(app)
        app.SetModuleLogic(name, logic)
        keep.append(logic)
    return scene, keep


def vtk_matrix(values: np.ndarray) -> Any:
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(values[row, column]))
    return matrix


def rotation(*angles: float) -> np.ndarray:
    """Rotation about x, then y, then z, in radians."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [k for k in range(3) if k != axis]
        step = np.eye(3)
        step[[first, second], [first, second]] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turned = step @ turned
    return turned


def affine(
    spacing: tuple[float, float, float] = (0.5, 0.8, 1.2),
    angles: tuple[float, float, float] = (0.3, -0.7, 0.8),
    origin: tuple[float, float, float] = (17.3, -42.9, 101.7),
    *,
    left_handed: bool = False,
) -> np.ndarray:
    """IJK to RAS (4 x 4), oblique, with spacings along i, j, k."""
    axes = rotation(*angles)
    if left_handed:
        axes[:, 2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = origin
    return matrix


def set_pixels(node: Any, pixels: np.ndarray, components: int = 1) -> Any:
    image = vtk.vtkImageData()
    image.SetDimensions(*pixels.shape[:3][::-1])
    flat = np.ascontiguousarray(pixels).reshape((-1, components) if components > 1 else -1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=1))
    node.SetAndObserveImageData(image)
    return node


def add_volume(
    scene: Any, pixels: np.ndarray, matrix: np.ndarray | None = None, name: str = "brain", kind: str = ""
) -> Any:
    """A volume node of the scene; pixels (z, y, x) or (z, y, x, components)."""
    vector = pixels.ndim == 4
    kind = kind or ("vtkMRMLVectorVolumeNode" if vector else "vtkMRMLScalarVolumeNode")
    node = scene.AddNewNodeByClass(kind, name)
    set_pixels(node, pixels, pixels.shape[3] if vector else 1)
    node.SetIJKToRASMatrix(vtk_matrix(affine() if matrix is None else matrix))
    return node


def add_transform(scene: Any, matrix: np.ndarray, name: str = "turn", parent: Any = None) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(vtk_matrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_sequence(
    scene: Any,
    frames: list[np.ndarray],
    matrix: np.ndarray | None = None,
    name: str = "heart",
    step: float = 0.05,
) -> tuple[Any, Any]:
    """A browser and its master sequence of volumes, with times in seconds; the proxy is made."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for at, pixels in enumerate(frames):
        node = set_pixels(slicer.vtkMRMLScalarVolumeNode(), pixels)
        node.SetIJKToRASMatrix(vtk_matrix(affine() if matrix is None else matrix))
        node.SetName(name)
        sequence.SetDataNodeAtValue(node, f"{at * step:g}")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    assert browser.GetProxyNode(sequence) is not None  # made by the logic that listens to the scene
    return browser, sequence


def image_of(node: Any) -> Any:
    """What deepbio must see of a volume node, made independently of ``scene.py``."""
    from deepbio.image import Grid, Image

    matrix, above = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(above)
    vtk.vtkMatrix4x4.Multiply4x4(above, matrix, matrix)
    image = node.GetImageData()
    shape = tuple(reversed(image.GetDimensions()))
    steps = [[matrix.GetElement(row, column) for row in range(3)] for column in (2, 1, 0)]
    lps = [np.array([-x, -y, z]) for x, y, z in steps]
    spacing = tuple(float(np.sqrt(step @ step)) for step in lps)
    origin = (-matrix.GetElement(0, 3), -matrix.GetElement(1, 3), matrix.GetElement(2, 3))
    direction = np.stack([step / size for step, size in zip(lps, spacing, strict=True)], axis=1)
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    return Image(pixels, "ZYX", Grid(shape, spacing, origin, direction, "millimeter"))


def labels_of(segmentation: Any, volume: Any) -> np.ndarray:
    """Labels (z, y, x) on the grid of a volume, exported by Slicer itself; segments count from 1 in order."""
    scene = volume.GetScene()
    target = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "exported")
    ids = vtk.vtkStringArray()
    for at in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        ids.InsertNextValue(segmentation.GetSegmentation().GetNthSegmentID(at))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ExportSegmentsToLabelmapNode(segmentation, ids, target, volume)
    image = target.GetImageData()
    labels = (
        vtk_to_numpy(image.GetPointData().GetScalars()).reshape(tuple(reversed(image.GetDimensions()))).copy()
    )
    display = target.GetDisplayNode()
    for node in (target, display and display.GetColorNode(), display):
        if node is not None:
            scene.RemoveNode(node)
    return labels


def node_names(scene: Any) -> list[str]:
    """All nodes, by id and name."""
    nodes = [scene.GetNthNode(at) for at in range(scene.GetNumberOfNodes())]
    return sorted(f"{node.GetID()} {node.GetName()}" for node in nodes)


def read_volume_file(scene: Any, path: Any, name: str) -> Any:
    """A volume as Slicer reads it from NIfTI or NRRD."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    assert storage.ReadData(node)
    return node
