"""Several volumes of the scene as the channels of one image, as T1, T2 and FLAIR are."""

from __future__ import annotations

import numpy as np

from SlicerDeepBioLib.scene import SceneError, Source, read_volume

__all__ = ["MOST", "check_alike", "least", "read_channels", "wanted"]

MOST = 4  # volumes that the form offers
_CLOSE = 1e-3  # mm, and of spacings a part: written files round
_TURNED = 1e-4


def wanted(card):
    """Names of the volumes that a model takes as channels; empty for models of one image."""
    return list(card.get("volumes") or ()) if card is not None else []


def least(card):
    """How many of these volumes a model needs."""
    return int(card.get("least_volumes") or len(wanted(card))) if wanted(card) else 1


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
    for node, source in zip(nodes[1:], sources[1:]):
        apart = _apart(sources[0], source)
        if apart:
            raise SceneError(
                f"'{node.GetName()}' does not lie on the voxels of '{nodes[0].GetName()}': {apart}.",
                "Bring it there with the module 'Resample Scalar/Vector/DWI Volume', "
                f"with '{nodes[0].GetName()}' as the reference volume.",
            )
    return sources


def _apart(first, other):
    """In what two sources differ, for people; empty where they lie alike."""
    if first.shape != other.shape:
        return "{} voxels, not {}".format(*(" x ".join(map(str, one.shape[::-1])) for one in (other, first)))
    if not np.allclose(first.spacing, other.spacing, rtol=_CLOSE, atol=0):
        return "its spacing is {} mm, not {} mm".format(
            *(" x ".join(f"{n:.4g}" for n in one.spacing[::-1]) for one in (other, first))
        )
    if not np.allclose(first.direction, other.direction, rtol=0, atol=_TURNED):
        return "its axes are turned"
    away = float(np.linalg.norm(np.subtract(first.origin, other.origin)))
    return f"its first voxel is {away:.3g} mm away" if away > _CLOSE else ""
