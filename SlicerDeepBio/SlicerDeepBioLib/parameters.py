"""What the form remembers in the scene: saved with it, and restored when it is loaded."""

# No `from __future__ import annotations` here: Slicer reads the annotations as types.

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper

__all__ = ["FormParameters"]


@parameterNodeWrapper
class FormParameters:
    """The choices of a user.

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
    channel2, channel3, channel4 : vtkMRMLScalarVolumeNode
        For models that take several volumes, as T1, T2 and FLAIR: those of the second channel and the following.
    """

    input: slicer.vtkMRMLDisplayableNode  # what volumes and segmentations have in common
    wholeSequence: bool = True
    model: str
    output: slicer.vtkMRMLSegmentationNode
    options: dict[str, str]
    channel2: slicer.vtkMRMLScalarVolumeNode
    channel3: slicer.vtkMRMLScalarVolumeNode
    channel4: slicer.vtkMRMLScalarVolumeNode
