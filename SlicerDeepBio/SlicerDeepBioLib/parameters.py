"""What the form remembers in the scene: saved with it, and restored when it is loaded."""

# No `from __future__ import annotations` here: Slicer reads the annotations as types.

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper

__all__ = ["FormParameters", "channel", "set_channel"]


@parameterNodeWrapper
class FormParameters:
    """The choices of a user; the volumes of further channels, of which there may be any number: see :func:`channel`.

    Attributes
    ----------
    input : vtkMRMLDisplayableNode
        What to analyse: a scalar, vector or label map volume, or a segmentation.
    wholeSequence : bool
        Where the input is a frame of a sequence: take all its frames.
    model : str
        Name of the model; empty: the first that fits.
    output : vtkMRMLSegmentationNode
        Whose contents to replace; None: a new one.
    options : dict of str to str
        The options that differ from their defaults.
    """

    input: slicer.vtkMRMLDisplayableNode  # what volumes and segmentations have in common
    wholeSequence: bool = True
    model: str
    output: slicer.vtkMRMLSegmentationNode
    options: dict[str, str]


def channel(parameters, number):
    """The volume of a model's channel from the second on (`number` counts from 1), or None."""
    return parameters.parameterNode.GetNodeReference(f"channel{number}")


def set_channel(parameters, number, node):
    """Remember the volume of a channel; None for none."""
    if channel(parameters, number) is not node:
        parameters.parameterNode.SetNodeReferenceID(
            f"channel{number}", node.GetID() if node is not None else None
        )
