"""From a result's arrays to nodes, voxel by voxel on the grid of the volume they came from.

Contents are made apart from the scene (segments, images, tables), so that they can be added to it at once
when all of them are there. Segments are built directly, all in one shared layer: so their ids are the same in
every frame of a sequence, and a class that is not in the image is still a segment, in its place.
"""

from __future__ import annotations

import json

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

__all__ = [
    "add_label_map",
    "add_table",
    "add_volume",
    "copy_geometry",
    "exchange_segments",
    "fill_label_map",
    "make_segmentation",
    "make_segments",
    "put_beside",
    "set_provenance",
]

BINARY = "Binary labelmap"
SURFACE = "Closed surface"


def make_segments(labels, matrix, names):
    """Segments that share one label map.

    Parameters
    ----------
    labels : ndarray of int, shape (z, y, x) or (y, x)
        On the voxels of the input.
    matrix : vtkMatrix4x4
        IJK to RAS of these voxels, without parent transforms.
    names : list of Label
        One segment each, in this order; those without voxels are empty.

    Returns
    -------
    list of (str, vtkSegment)
        Segment ids with their segments.
    """
    shared = _oriented(labels.reshape(labels.shape[-3:] if labels.ndim > 2 else (1, *labels.shape)), matrix)
    made = []
    for label in names:
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*label.color)
        segment.SetLabelValue(label.value)
        if label.terminology:
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), label.terminology)
        segment.AddRepresentation(BINARY, shared)
        made.append((label.id, segment))
    return made


def _oriented(labels, matrix):
    """The part of a label map that has labels, as Slicer's image with a place."""
    box = _box(labels)
    part = np.ascontiguousarray(narrow(labels[box]))
    image = slicer.vtkOrientedImageData()
    image.SetExtent([n for axis in reversed(box) for n in (axis.start, axis.stop - 1)])
    scalars = numpy_to_vtk(part.reshape(-1), deep=1)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(matrix)
    return image


def _box(labels):
    """Slices around all that is not 0; the first voxel where there is nothing."""
    shadow = np.bitwise_or.reduce(labels, axis=0)
    if not shadow.any():
        return (slice(0, 1),) * 3
    seen = [[plane.any() for plane in labels], shadow.any(axis=1), shadow.any(axis=0)]
    places = [np.flatnonzero(flags) for flags in seen]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) for at in places)


def narrow(labels):
    """The same labels in the smallest type that Slicer's tools know: they are copied a lot."""
    if labels.dtype == np.uint8:
        return labels
    highest = int(labels.max()) if labels.size else 0
    for kind in (np.uint8, np.int16):
        if highest <= np.iinfo(kind).max:
            return labels.astype(kind, copy=False)
    return labels.astype(np.int32, copy=False)


def make_segmentation(labels, matrix, names, surface=False):
    """A segmentation node, not in the scene.

    Parameters
    ----------
    labels, matrix, names
        As for :func:`make_segments`.
    surface : bool
        Whether the closed surfaces are made.

    Returns
    -------
    vtkMRMLSegmentationNode
    """
    node = slicer.vtkMRMLSegmentationNode()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY)
    for one, segment in make_segments(labels, matrix, names):
        segmentation.AddSegment(segment, one)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.SetConversionParameter(name, _geometry(matrix, labels.shape))
    if surface:
        segmentation.CreateRepresentation(SURFACE)
    return node


def _geometry(matrix, shape):
    """The text by which Slicer remembers the grid that segments were made on."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*(shape if len(shape) == 3 else (1, *shape))[::-1])
    image.SetImageToWorldMatrix(matrix)
    return slicer.vtkSegmentationConverter.SerializeImageGeometry(image)


def exchange_segments(node, segmentation):
    """Give a segmentation node other contents; the old ones are not touched.

    Segments must not be taken out one by one: Slicer would copy the voxels of each into a layer of its own.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
        In the scene.
    segmentation : vtkSegmentation
        Its new contents.

    Returns
    -------
    vtkSegmentation
        Its old contents.
    """
    before = node.GetSegmentation()
    node.SetAndObserveSegmentation(segmentation)
    return before


def fill_label_map(node, labels, matrix):
    """Replace the voxels of a label map volume; labels (z, y, x) or (y, x)."""
    node.SetAndObserveImageData(_image(narrow(labels), 1))
    node.SetIJKToRASMatrix(matrix)
    return node


def _image(array, components):
    """VtkImageData of voxels (z, y, x[, components]) or (y, x[, components])."""
    spatial = array.shape[:-1] if components > 1 else array.shape
    image = vtk.vtkImageData()
    image.SetDimensions(*(spatial[::-1] if len(spatial) == 3 else (*spatial[::-1], 1)))
    flat = np.ascontiguousarray(array).reshape((-1, components) if components > 1 else -1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=1))
    return image


def make_colors(names, title):
    """A colour table, not in the scene, with the labels' own names and colours."""
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(title)
    table.SetTypeToUser()
    table.SetAttribute("Category", "DeepBio")
    table.SetNumberOfColors(max([label.value for label in names], default=0) + 1)
    table.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
    for label in names:
        table.SetColor(label.value, label.name, *label.color, 1.0)
    table.NamesInitialisedOn()
    return table


def add_label_map(scene, labels, matrix, names, title):
    """Add a label map volume with a colour table of its own.

    Parameters
    ----------
    scene : vtkMRMLScene
        Where.
    labels : ndarray of int, shape (z, y, x) or (y, x)
        On the voxels of the input.
    matrix : vtkMatrix4x4
        IJK to RAS.
    names : list of Label
        Colours and names.
    title : str
        Name of the node.

    Returns
    -------
    list of vtkMRMLNode
        The volume, its display node and its colour table.
    """
    colors = scene.AddNode(make_colors(names, f"{title} colors"))
    node = fill_label_map(slicer.vtkMRMLLabelMapVolumeNode(), labels, matrix)
    node.SetName(title)
    node = scene.AddNode(node)
    display = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeDisplayNode")
    display.SetAndObserveColorNodeID(colors.GetID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    return [node, display, colors]


def make_volume(array, matrix, colour=False):
    """A volume node, not in the scene, of (z, y, x) or (y, x); of colours (3, [z,] y, x) of 8 bits."""
    node = slicer.vtkMRMLVectorVolumeNode() if colour else slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(_image(np.moveaxis(array, 0, -1) if colour else array, 3 if colour else 1))
    node.SetIJKToRASMatrix(matrix)
    return node


def add_volume(scene, array, matrix, title, colour=False):
    """Add an image, or scores; returns [volume, its display node]."""
    node = make_volume(array, matrix, colour)
    node.SetName(title)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return [node, node.GetDisplayNode()]


def add_table(scene, columns, units, title):
    """Add a table of measurements, with the units in the names of its columns.

    Parameters
    ----------
    scene : vtkMRMLScene
        Where.
    columns : dict of str to list
        Values; None is a number that does not exist, and becomes NaN.
    units : dict of str to str
        Of the columns that have one.
    title : str
        Name of the node.

    Returns
    -------
    vtkMRMLTableNode
    """
    node = slicer.vtkMRMLTableNode()
    node.SetName(title)
    for name, values in columns.items():
        column = _column(values)
        column.SetName(f"{name} [{units[name]}]" if units.get(name) else name)
        node.AddColumn(column)
        if units.get(name):
            node.SetColumnUnitLabel(column.GetName(), units[name])
    return scene.AddNode(node)


def _column(values):
    if any(isinstance(value, str) for value in values):
        column = vtk.vtkStringArray()
        for value in values:
            column.InsertNextValue("" if value is None else str(value))
        return column
    whole = bool(values) and all(isinstance(value, int) for value in values)
    numbers = [np.nan if value is None else value for value in values]
    return numpy_to_vtk(np.array(numbers, np.int64 if whole else np.float64), deep=1)


def copy_geometry(node, volume):
    """Put a node under the transform of a volume; a segmentation also takes its reference geometry."""
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    if node.IsA("vtkMRMLSegmentationNode"):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)


def put_beside(node, source):
    """Put a node beside another in the subject hierarchy: under the same patient, study or folder."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(source.GetScene())
    if tree is None:
        return
    beside = tree.GetItemByDataNode(source)
    parent = tree.GetItemParent(beside) if beside else tree.GetSceneItemID()
    item = tree.GetItemByDataNode(node)
    if item:
        tree.SetItemParent(item, parent)
    else:
        tree.CreateItem(parent, node)


def set_provenance(node, record, source):
    """Say on a node how it came about, in attributes that are saved with the scene.

    Parameters
    ----------
    node : vtkMRMLNode
        A node of a result.
    record : dict
        The worker's.
    source : str
        Name of the input.
    """
    entries = {
        "Model": record.get("model"),
        "Version": record.get("model_version"),
        "WeightsSHA256": record.get("weights_sha256"),
        "Device": record.get("device_label") or record.get("device"),
        "Runtime": record.get("runtime"),
        "Tile": " x ".join(str(n) for n in record.get("tile") or ()),
        "Seconds": record.get("seconds_total"),
        "Options": json.dumps(record.get("options") or {}, sort_keys=True),
        "Input": source,
        "Record": json.dumps(record, sort_keys=True),
    }
    for name, value in entries.items():
        node.SetAttribute(f"DeepBio.{name}", "" if value is None else str(value))
