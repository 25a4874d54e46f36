"""Several volumes of the scene as the channels of one image, as T1, T2 and FLAIR are."""

from __future__ import annotations

from itertools import takewhile

from SlicerDeepBioLib.alike import apart
from SlicerDeepBioLib.scene import SceneError, Source, describe_volume, read_volume, world_matrix

__all__ = ["check_alike", "given", "least", "missing", "names_for", "read_channels", "wanted"]


def wanted(card):
    """Names of the volumes that a model takes as channels; empty for models of one image."""
    return list(card.get("volumes") or ()) if card is not None else []


def least(card):
    """How many of these volumes a model needs."""
    return int(card.get("least_volumes") or len(wanted(card))) if wanted(card) else 1


def names_for(card, node):
    """Names of a model's channels, where a node can be the first of them; empty where it is all that is asked for.

    Parameters
    ----------
    card : dict or None
        Of the model.
    node : vtkMRMLNode or None
        The input.

    Returns
    -------
    list of str
        None of them for models of one image, sequences, and volumes that have several channels themselves.
    """
    names = wanted(card)
    if not names or node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
        return []
    try:
        return [] if "C" in describe_volume(node)["axes"] else names
    except SceneError:  # it has no voxels, which the answer to what fits says
        return []


def missing(card, names, further):
    """Name of the first channel that has no volume, but needs one; empty where none is missing.

    Parameters
    ----------
    card : dict
        Of the model.
    names : list of str
        As of :func:`names_for`.
    further : list of (vtkMRMLNode or None)
        What is chosen for the channels after the first. One that the model can do without must not be left out
        before one that is given.
    """
    if not names:
        return ""
    last = max((at for at, node in enumerate(further, 2) if node is not None), default=1)
    needed = max(least(card), last)
    return next((names[at] for at in range(1, needed) if at > len(further) or further[at - 1] is None), "")


def given(further):
    """The volumes up to the first that is not chosen."""
    return list(takewhile(lambda node: node is not None, further))


def read_channels(nodes):
    """Pixels of volumes as channels of one source, in this order.

    Parameters
    ----------
    nodes : sequence of vtkMRMLScalarVolumeNode
        At least two, on the same grid.

    Returns
    -------
    Source
        Its `parts` are views of the nodes' memory, one a channel.

    Raises
    ------
    SceneError
        As :func:`check_alike`.
    """
    sources = _sources(nodes)
    first = sources[0]
    grid = (first.spacing, first.origin, first.direction)
    names = [node.GetName() or "volume" for node in nodes]
    return Source([one.parts[0] for one in sources], "C" + first.axes, grid, names, first.name)


def check_alike(nodes):
    """Refuse volumes that do not share their voxels.

    Raises
    ------
    SceneError
        If one has several components or labels, or another size or place than the first.
    """
    _sources(nodes)


def _sources(nodes):
    sources = [read_volume(node) for node in nodes]
    for node, source in zip(nodes, sources):
        if node.IsA("vtkMRMLLabelMapVolumeNode") or "C" in source.axes:
            kind = "a label map" if "C" not in source.axes else "a volume with several components"
            raise SceneError(
                f"'{node.GetName()}' is {kind}; a channel is a volume of intensities.", "Choose another one."
            )
    first = _voxels(nodes[0])
    for node in nodes[1:]:
        difference = apart(first, _voxels(node))
        if difference:
            raise SceneError(
                f"'{node.GetName()}' does not lie on the voxels of '{nodes[0].GetName()}': {difference}.",
                "Bring it there with the module 'Resample Scalar/Vector/DWI Volume', "
                f"with '{nodes[0].GetName()}' as the reference volume.",
            )
    return sources


def _voxels(node):
    """Sizes and place of a volume's voxels, also where it is a plane, whose source has no place."""
    return node.GetImageData().GetDimensions(), world_matrix(node)
