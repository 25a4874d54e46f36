"""What a model is given: a volume, a sequence of them, a segmentation, or nothing."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from SlicerDeepBioLib import results
from SlicerDeepBioLib.channels import read_channels, wanted
from SlicerDeepBioLib.scene import SceneError, describe_volume, read_volume
from SlicerDeepBioLib.sequences import Frames, is_sequence

__all__ = ["Input", "NoInput", "describe", "is_imageless", "needs_labels", "open_input", "takes"]

_WHOLE = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY


class Input:
    """A node that a model is run on.

    Parameters
    ----------
    node : vtkMRMLNode
        A volume, a sequence of volumes, a sequence's browser, or a segmentation.
    further : sequence of vtkMRMLScalarVolumeNode
        Where the node is the first of several channels: the others.

    Attributes
    ----------
    node : vtkMRMLNode
        What the user chose.
    name : str
        For the names of the results.
    frames : Frames or None
        Of a sequence.
    volume : vtkMRMLVolumeNode
        Whose voxels the result lies on; of a segmentation a label map that is not in the scene.
    source : Source
        Pixels for the worker.

    Raises
    ------
    SceneError
        If a model cannot be run on it.
    """

    def __init__(self, node, further=()):
        self.node = node
        self.frames = Frames(node) if is_sequence(node) else None
        if further:
            _check_channel(node)
            self.volume, self.source = node, read_channels([node, *further])
        elif _is_segmentation(node):
            self.volume = _label_map(node)
            self.source = read_volume(self.volume, node.GetParentTransformNode())
        else:
            self.source = self.frames.read() if self.frames is not None else read_volume(node)
            self.volume = node if self.frames is None else self.frames.shown or self.frames.first
        self.name = (node if self.frames is None else self.frames.sequence).GetName() or "volume"

    @property
    def anchor(self):
        """The node beside which results are put."""
        if self.frames is None:
            return self.node
        return self.frames.shown or self.frames.sequence

    def transform_id(self):
        """The transform above the input now, or None."""
        return (self.node if _is_segmentation(self.node) else self.volume).GetTransformNodeID()


class NoInput:
    """Stands for the input of a generator that is given none; attributes as of :class:`Input`."""

    node = frames = volume = source = anchor = None
    name = ""

    def transform_id(self):
        """None: there is nothing that it could lie under."""
        return


def open_input(node, card, further=()):
    """What a model is given: the :class:`Input` of a node and further channels, or :class:`NoInput` for None.

    Raises
    ------
    SceneError
        If the model does not take it: an image where it takes none, none where it needs one, a label map
        where it needs intensities, more volumes than it has channels.
    """
    if node is None:
        if "nothing" not in takes(card):
            raise SceneError(f"The model '{card.get('name', '')}' needs an image.", "Choose an input volume.")
        return NoInput()
    if is_imageless(card):
        raise SceneError(
            f"The model '{card.get('name', '')}' makes images of its own; found the input '{node.GetName()}'.",
            "Leave the input out (None).",
        )
    needs_labels(node, card)
    names = wanted(card)
    if len(further) >= max(len(names), 1):
        takes_ = f"{len(names)} ({', '.join(names)})" if names else "one image"
        raise SceneError(
            f"The model '{card.get('name', '')}' takes {takes_}; found {1 + len(further)} volumes.",
            "Leave the others out.",
        )
    return Input(node, further)


def takes(card):
    """Kinds of input of a model: of "image", "labels" and "nothing"; an older DeepBio's cards do not say."""
    return card.get("takes") or ["image"]


def is_imageless(card):
    """Whether a model takes no image at all."""
    return takes(card) == ["nothing"]


def describe(node):
    """What the worker's `fits` needs to know of a node: axes, shape, channels and type, no pixels.

    Raises
    ------
    SceneError
        If it is no volume, or has no voxels.
    """
    if _is_segmentation(node):
        shape = list(_geometry(node).GetDimensions())[::-1]
        plane = shape[0] == 1
        return {
            "axes": "YX" if plane else "ZYX",
            "shape": shape[1:] if plane else shape,
            "channels": [],
            "dtype": "int16",
        }
    if not is_sequence(node):
        return describe_volume(node)
    frames = Frames(node)
    told = describe_volume(frames.first)
    return {**told, "axes": "T" + told["axes"], "shape": [len(frames.values), *told["shape"]]}


def needs_labels(node, card):
    """Refuse a label map or a segmentation for a model of intensities.

    Raises
    ------
    SceneError
        If the node has labels, and the card says neither "labels" among what it takes nor as a modality.
    """
    if "labels" in takes(card) or "labels" in (card.get("modality") or ()):
        return
    first = Frames(node).first if is_sequence(node) else node
    if first.IsA("vtkMRMLLabelMapVolumeNode") or _is_segmentation(first):
        kind = "segmentation" if _is_segmentation(first) else "label map"
        raise SceneError(
            f"'{node.GetName()}' is a {kind}; the model '{card.get('name', '')}' needs an image.",
            "Choose the volume that the labels were made from.",
        )


def _check_channel(node):
    """Refuse what cannot be one of several channels."""
    if is_sequence(node) or _is_segmentation(node):
        kind = "segmentation" if _is_segmentation(node) else "sequence"
        raise SceneError(
            f"'{node.GetName()}' is a {kind}; the first of several channels must be a volume.",
            "Choose a volume, or the frame that is shown now.",
        )


def _is_segmentation(node):
    return node.IsA("vtkMRMLSegmentationNode")


def _geometry(node):
    """The voxels that a segmentation was made on, as an image without pixels."""
    text = node.GetSegmentation().DetermineCommonLabelmapGeometry(_WHOLE, None)
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        raise SceneError(
            f"The segmentation '{node.GetName()}' has no voxels.",
            "Draw something in it, or make its binary labelmap in the Segmentations module.",
        )
    return image


def _label_map(node):
    """All segments of a segmentation as a label map volume that is not in the scene; they count from 1."""
    _geometry(node)
    ids, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    node.GetSegmentation().GetSegmentIDs(ids)
    for at in range(ids.GetNumberOfValues()):
        values.InsertNextValue(at + 1)
    merged = slicer.vtkOrientedImageData()
    if not node.GenerateMergedLabelmapForAllSegments(merged, _WHOLE, None, ids, values):
        raise SceneError(
            f"The segments of '{node.GetName()}' could not be merged into one label map.",
            "Make its binary labelmap in the Segmentations module, or export it to a label map.",
        )
    matrix = vtk.vtkMatrix4x4()
    merged.GetImageToWorldMatrix(matrix)
    shape = merged.GetDimensions()[::-1]
    labels = vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(shape)
    volume = results.fill_label_map(slicer.vtkMRMLLabelMapVolumeNode(), np.array(labels), matrix)
    volume.SetName(node.GetName())
    return volume
