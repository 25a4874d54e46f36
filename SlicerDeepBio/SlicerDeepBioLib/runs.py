"""One click on Segment, from the node that went in to the nodes that came out."""

from __future__ import annotations

__all__ = ["Progress", "Run"]


class Progress:
    """How far a run is.

    Attributes
    ----------
    fraction : float
        Of the whole run, 0 to 1; never goes back.
    text : str
        For people: ``"Frame 3 of 20, tile 5 of 12, 0:12 left"``.
    eta : float or None
        Seconds left in the whole run, or None while that cannot be said.
    """

    fraction = 0.0
    text = ""
    eta = None


class Run:
    """A run of a model on a node of the scene.

    Attributes
    ----------
    state : {"waiting", "running", "done", "failed", "cancelled"}
    progress : Progress
    notices : list of (level, text)
        What the worker wants the user to know: ("info" or "warning", text).
    nodes : list of vtkMRMLNode
        What the run added to the scene, once it is done.
    segmentation : vtkMRMLSegmentationNode or None
    label_map : vtkMRMLLabelMapVolumeNode or None
    volumes : list of vtkMRMLVolumeNode
        Restored images and scores.
    tables : list of vtkMRMLTableNode
    sequence : vtkMRMLSequenceNode or None
        Of a sequence: the segmentations (label maps, images) of its frames.
    plot : vtkMRMLPlotChartNode or None
    record : dict
        How the result came about.
    loaded : bool
        Whether the worker had to load the model for this run.
    error : Exception or None
        With ``message``, ``hint`` and ``kind``.
    """

    @property
    def finished(self):
        """Whether the run is done, failed or cancelled."""
        raise NotImplementedError

    def cancel(self):
        """Stop; the state becomes "cancelled" within 5 s, and no node is left."""
        raise NotImplementedError

    def wait(self, timeout=None):
        """Advance until the run is finished (for scripts); returns the run, or raises its error."""
        raise NotImplementedError

    def undo(self):
        """Remove what the run added, and put back what it replaced."""
        raise NotImplementedError
