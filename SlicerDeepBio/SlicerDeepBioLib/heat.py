"""Colours of maps that lie over an image: explanations and uncertainties."""

from __future__ import annotations

import numpy as np
import slicer

__all__ = ["colour"]

# The colours of `deepbio.render.explain`: matplotlib's inferno (CC0); for both signs, ColorBrewer's RdBu.
RISING = ("#000004", "#330a5f", "#781c6d", "#bb3754", "#ed6925", "#fcb519", "#fcffa4")
SIGNED = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
_STEPS = 256
_TOP = 99.5  # percentile that has the last colour: single pixels do not decide


def colour(change, node, values, top=None):
    """Give a map volume its colours, from dark to bright; where there are both signs, from blue to red.

    All of it lies over the image: slice views ignore how opaque a colour is, and a threshold would draw edges where
    the map has none.

    Parameters
    ----------
    change : Change
        Remembers the colour table.
    node : vtkMRMLScalarVolumeNode
        In the scene, with a display node.
    values : ndarray
        All numbers of the map, of all frames and channels: they share one scale.
    top : float, optional
        What has the last colour; by default almost the highest number.
    """
    found = values[np.isfinite(values)]
    low, high = (float(found.min()), float(np.percentile(found, _TOP))) if found.size else (0.0, 0.0)
    signed = low < 0
    if signed:
        high = float(np.percentile(np.abs(found), _TOP))
    top = top or (high if high > 0 else 1.0)
    table = change.add(_table(SIGNED if signed else RISING, f"{node.GetName()} colors"))
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(table.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(-top if signed else 0.0, top)


def _table(anchors, title):
    """A colour table, not in the scene."""
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(title)
    table.SetTypeToUser()
    table.SetAttribute("Category", "DeepBio")
    table.SetNumberOfColors(_STEPS)
    rgb = np.array([[int(one[at : at + 2], 16) / 255 for at in (1, 3, 5)] for one in anchors])
    places = np.linspace(0, len(anchors) - 1, _STEPS)
    channels = [np.interp(places, range(len(anchors)), column) for column in rgb.T]
    for at, (red, green, blue) in enumerate(zip(*channels)):
        table.SetColor(at, str(at), red, green, blue, 1.0)
    return table
