"""Sequences of volumes: frames go in together, and results come out as sequences in the same browser."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from SlicerDeepBioLib import results
from SlicerDeepBioLib.scene import SceneError, Source, read_volume

__all__ = [
    "Frames",
    "Made",
    "add_plot",
    "attach",
    "find_browser",
    "is_sequence",
    "make_sequence",
    "sequence_of",
]

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}


def is_sequence(node):
    """Whether a node is a sequence, or the browser of one."""
    return node.IsA("vtkMRMLSequenceNode") or node.IsA("vtkMRMLSequenceBrowserNode")


def find_browser(sequence):
    """The first browser that plays a sequence, or None."""
    scene = sequence.GetScene()
    for at in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(at, "vtkMRMLSequenceBrowserNode")
        if browser.IsSynchronizedSequenceNode(sequence, True):
            return browser
    return None


def sequence_of(node):
    """The (browser, sequence) of which a node of the scene shows the present frame, or None."""
    scene = node.GetScene()
    for at in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(at, "vtkMRMLSequenceBrowserNode")
        sequence = browser.GetSequenceNode(node) if browser.IsProxyNodeID(node.GetID()) else None
        if sequence is not None:
            return browser, sequence
    return None


class Frames:
    """The frames of a sequence of volumes.

    Parameters
    ----------
    node : vtkMRMLSequenceNode or vtkMRMLSequenceBrowserNode
        A browser stands for its master sequence.

    Attributes
    ----------
    browser : vtkMRMLSequenceBrowserNode or None
    sequence : vtkMRMLSequenceNode
    shown : vtkMRMLVolumeNode or None
        The node that shows the present frame; its transform is the frames'.
    values : list of str
        Index values.

    Raises
    ------
    SceneError
        If it has no frames, or they are no volumes of one size and place.
    """

    def __init__(self, node):
        self.browser = node if node.IsA("vtkMRMLSequenceBrowserNode") else find_browser(node)
        self.sequence = node.GetMasterSequenceNode() if node is self.browser else node
        if self.sequence is None:
            raise SceneError(
                f"The browser '{node.GetName()}' has no sequence.", "Choose a sequence of volumes."
            )
        count = self.sequence.GetNumberOfDataNodes()
        if not count:
            raise SceneError(
                f"The sequence '{self.sequence.GetName()}' has no frames.", "Choose another one."
            )
        self.shown = self.browser.GetProxyNode(self.sequence) if self.browser is not None else None
        self.values = [self.sequence.GetNthIndexValue(at) for at in range(count)]
        self.first = self.volume(0)

    def volume(self, at):
        """The volume of one frame."""
        node = self.sequence.GetNthDataNode(at)
        if node is None or not node.IsA("vtkMRMLVolumeNode"):
            kind = node.GetNodeTagName() if node is not None else "nothing"
            raise SceneError(
                f"The sequence '{self.sequence.GetName()}' holds {kind}, not volumes.",
                "Choose a sequence of volumes.",
            )
        return node

    def read(self):
        """All frames as one Source; their pixels are views.

        Raises
        ------
        SceneError
            If a frame differs from the first in size, place or channels.
        """
        parent = self.shown.GetParentTransformNode() if self.shown is not None else None
        sources = [read_volume(self.volume(at), parent) for at in range(len(self.values))]
        first = sources[0]
        for at, other in enumerate(sources):
            if (other.axes, other.shape, other.channels) != (first.axes, first.shape, first.channels):
                raise self._differs(
                    at, f"{other.axes} of {other.shape}, the first {first.axes} of {first.shape}"
                )
            step = 1e-3 * min(first.spacing)
            if not np.allclose(_place(other), _place(first), rtol=0, atol=step):
                raise self._differs(at, "another place, spacing or direction than the first")
        grid = (first.spacing, first.origin, first.direction)
        parts = [part for source in sources for part in source.parts]
        joined = Source(parts, "T" + first.axes, grid, first.channels, self.sequence.GetName() or "")
        joined.frame_interval = self.interval()
        return joined

    def _differs(self, at, found):
        return SceneError(
            f"Frame {at + 1} of '{self.sequence.GetName()}' has {found}; all frames must lie on the same voxels.",
            "Resample the sequence to one grid, or run the model on single frames.",
        )

    def numbers(self):
        """Index values as numbers; None where they are words."""
        try:
            return [float(value) for value in self.values]
        except ValueError:
            return None

    def interval(self):
        """Seconds between frames, or None where the index is no time or not even."""
        numbers = self.numbers()
        scale = _SECONDS.get((self.sequence.GetIndexUnit() or "").lower())
        if numbers is None or scale is None or len(numbers) < 2:
            return None
        steps = np.diff(numbers) * scale
        even = steps.min() > 0 and np.ptp(steps) <= 0.02 * np.median(steps)
        return float(np.median(steps)) if even else None

    @property
    def index(self):
        """Name, unit and type of the index."""
        sequence = self.sequence
        return sequence.GetIndexName(), sequence.GetIndexUnit(), sequence.GetIndexType()

    @property
    def index_title(self):
        """Name and unit of the index, for an axis."""
        name = self.sequence.GetIndexName() or "frame"
        unit = self.sequence.GetIndexUnit()
        return f"{name} [{unit}]" if unit else name


class Made:
    """The frames of images that were made, which are of no sequence of the scene.

    Parameters
    ----------
    count : int
        How many; their index counts from 1.
    """

    index = ("image", "", slicer.vtkMRMLSequenceNode.NumericIndex)

    def __init__(self, count):
        self.browser = None
        self.values = [str(at + 1) for at in range(count)]


def _place(source):
    return np.concatenate([source.spacing, source.origin, np.ravel(source.direction)])


def make_sequence(frames, title):
    """An empty sequence, not in the scene, with the index of these frames."""
    name, unit, kind = frames.index
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName(title)
    sequence.SetIndexName(name)
    sequence.SetIndexUnit(unit)
    sequence.SetIndexType(kind)
    return sequence


def add_browser(change, sequence):
    """A browser for a sequence that has none.

    Parameters
    ----------
    change : Change
        Remembers what is added.
    sequence : vtkMRMLSequenceNode
        In the scene.

    Returns
    -------
    (vtkMRMLSequenceBrowserNode, vtkMRMLNode or None)
        And the node by which Slicer shows the sequence.
    """
    browser = slicer.vtkMRMLSequenceBrowserNode()
    browser.SetName(f"{sequence.GetName()} browser")
    browser = change.scene.AddNode(browser)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    shown = browser.GetProxyNode(sequence)
    if shown is not None:
        change.note([shown.GetStorageNode(), shown.GetDisplayNode(), shown])
    change.note([browser])  # the last to come is the first to go, or it would make `shown` again
    return browser, shown


def attach(browser, sequence, proxy):
    """Play a sequence in a browser, shown by a node that is in the scene; edits of it are kept."""
    at = max(0, browser.GetSelectedItemNumber())
    proxy.CopyContent(sequence.GetNthDataNode(at))
    modifying = browser.StartModify()
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(proxy, sequence, False)
    browser.SetSaveChanges(sequence, True)
    browser.EndModify(modifying)


def add_plot(change, table, title):
    """A chart of a table's columns over its first.

    Parameters
    ----------
    change : Change
        Remembers what is added.
    table : vtkMRMLTableNode
        In the scene.
    title : str
        Of the chart.

    Returns
    -------
    vtkMRMLPlotChartNode
    """
    chart = slicer.vtkMRMLPlotChartNode()
    chart.SetName(title)
    chart.SetTitle(title)
    chart.SetXAxisTitle(table.GetColumnName(0))
    chart.SetYAxisTitle(table.GetColumnUnitLabel(table.GetColumnName(1)) or table.GetColumnName(1))
    chart = change.add(chart)
    for at in range(1, table.GetNumberOfColumns()):
        series = slicer.vtkMRMLPlotSeriesNode()
        series.SetName(table.GetColumnName(at))
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series = change.add(series)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(table.GetColumnName(0))
        series.SetYColumnName(table.GetColumnName(at))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def identity_of(volume):
    """IJK to RAS of a volume, without its parent transforms, as a new matrix."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def add_curves(change, frames, curves, units, title):
    """A table and a chart of one value per frame and class.

    Parameters
    ----------
    change : Change
        Remembers what is added.
    frames : Frames
        Whose index is the first column.
    curves : dict of str to list of float
        By name.
    units : dict of str to str
        By name.
    title : str
        Of both.

    Returns
    -------
    (vtkMRMLTableNode, vtkMRMLPlotChartNode)
    """
    numbers = frames.numbers() or list(range(1, len(frames.values) + 1))
    index = frames.index_title if frames.numbers() else "frame"
    table = results.add_table(change.scene, {index: numbers, **curves}, units, f"{title} table")
    change.note([table])
    return table, add_plot(change, table, title)
