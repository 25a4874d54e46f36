"""From the segmentation that the page shows back to labels on the grid of its image, voxel by voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from vtk.util import numpy_support

import deepbio

if TYPE_CHECKING:
    from deepbio_web.reading import Loaded

__all__ = ["labels_of"]


def labels_of(run: Any, loaded: Loaded) -> deepbio.LabelMap:
    """The labels of a run that is done, as :func:`deepbio.run` gives them.

    Parameters
    ----------
    run : Run
        Of the module's logic.
    loaded : Loaded
        The image it ran on.

    Returns
    -------
    deepbio.LabelMap
        With the image's axes, but no channels; with names where the labels are classes.
    """
    image = loaded.image
    if run.sequence is not None:
        nodes = [run.sequence.GetNthDataNode(at) for at in range(run.sequence.GetNumberOfDataNodes())]
    else:
        nodes = [run.segmentation if run.segmentation is not None else run.label_map]
    shape = image.grid.shape if len(image.grid.shape) == 3 else (1, *image.grid.shape)
    frames = np.stack([_array(node, shape) for node in nodes])
    axes = image.axes.replace("C", "")
    sizes = [image.size(axis) for axis in axes]
    return deepbio.LabelMap(
        frames.reshape(sizes), axes, image.grid, _names(nodes[0], run), frame_interval=image.frame_interval
    )


def _array(node: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Label of each voxel, (z, y, x)."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        return _pixels(node.GetImageData()).astype(np.int32)
    labels = np.zeros(shape, np.int32)
    segmentation = node.GetSegmentation()
    layers: dict[int, tuple[Any, list[int]]] = {}  # segments share the image in which their labels stand
    for at in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(at)
        layer = segment.GetRepresentation(
            slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
        )
        layers.setdefault(id(layer), (layer, []))[1].append(segment.GetLabelValue())
    for layer, values in layers.values():
        if layer is None or not layer.GetNumberOfPoints():
            continue
        extent = layer.GetExtent()
        box = tuple(slice(extent[2 * axis], extent[2 * axis + 1] + 1) for axis in (2, 1, 0))
        found = _pixels(layer)
        part = labels[box]
        chosen = np.isin(found, values)
        part[chosen] = found[chosen]
    return labels


def _pixels(image: Any) -> np.ndarray:
    scalars = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return scalars.reshape(image.GetDimensions()[::-1])


def _names(node: Any, run: Any) -> dict[int, str]:
    """Names of classes; objects have numbers only."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        return {}
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(at) for at in range(segmentation.GetNumberOfSegments())]
    names = {segment.GetLabelValue(): segment.GetName() for segment in segments}
    return names if set(names.values()) <= _class_names(run.model) else {}


def _class_names(card: dict[str, Any]) -> set[str]:
    entries = (card.get("classes") or {}).values()
    return {entry["name"] if isinstance(entry, dict) else str(entry) for entry in entries}
