"""What is segmented: a volume, or a sequence of them, with its place in the scene."""

from __future__ import annotations

from SlicerDeepBioLib.scene import SceneError, describe_volume, read_volume
from SlicerDeepBioLib.sequences import Frames, is_sequence

__all__ = ["Input", "describe", "needs_labels"]


class Input:
    """A node that a model is run on.

    Parameters
    ----------
    node : vtkMRMLNode
        A volume, a sequence of volumes, or a sequence's browser.

    Attributes
    ----------
    node : vtkMRMLNode
        What the user chose.
    name : str
        For the names of the results.
    frames : Frames or None
        Of a sequence.
    volume : vtkMRMLVolumeNode
        Whose voxels the result lies on.
    source : Source
        Pixels for the worker.

    Raises
    ------
    SceneError
        If a model cannot be run on it.
    """

    def __init__(self, node):
        self.node = node
        self.frames = Frames(node) if is_sequence(node) else None
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
        return self.volume.GetTransformNodeID()


def describe(node):
    """What the worker's `fits` needs to know of a node: axes, shape, channels and type, no pixels.

    Raises
    ------
    SceneError
        If it is no volume, or has no voxels.
    """
    if not is_sequence(node):
        return describe_volume(node)
    frames = Frames(node)
    told = describe_volume(frames.first)
    return {**told, "axes": "T" + told["axes"], "shape": [len(frames.values), *told["shape"]]}


def needs_labels(node, card):
    """Refuse a label map for a model of intensities.

    Raises
    ------
    SceneError
        If the node is a label map volume, and the card's modality does not say "labels".
    """
    volume = Frames(node).first if is_sequence(node) else node
    if volume.IsA("vtkMRMLLabelMapVolumeNode") and "labels" not in (card.get("modality") or ()):
        raise SceneError(
            f"'{node.GetName()}' is a label map; the model '{card.get('name', '')}' needs an image.",
            "Choose the volume that the labels were made from.",
        )
