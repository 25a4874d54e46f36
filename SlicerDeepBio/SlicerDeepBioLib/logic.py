"""The logic of the module: a node and a model go in, result nodes come out; no Qt here.

The form, the page in the browser, scripts and tests use this class alike. It never blocks: a run is
advanced by :meth:`DeepBioLogic.step`, which its host calls from a timer (every 20 ms or so), and by the
callbacks of the worker's client. Scripts call :meth:`Run.wait` instead.
"""

from __future__ import annotations

from SlicerDeepBioLib.runs import Run

__all__ = ["SCENE_OPTIONS", "DeepBioLogic"]

# What only the scene knows, in the form of the options that the worker's `hello` lists.
SCENE_OPTIONS = (
    {
        "name": "as",
        "help": "how objects are shown: as segments, or as a label map; auto makes segments of up to 200",
        "kind": "choice",
        "default": "auto",
        "choices": ["auto", "segments", "labels"],
    },
    {"name": "surface", "help": "make the closed surface, for 3D views", "kind": "bool", "default": False},
)


class DeepBioLogic:
    """Segments nodes of a scene with the models of a worker.

    Parameters
    ----------
    client : WorkerClient
        Talks to the worker; started by the first request.
    scene : vtkMRMLScene, optional
        By default ``slicer.mrmlScene``.

    Attributes
    ----------
    runs : list of Run
        All runs since the scene was opened, the oldest first.
    last_run : Run or None
        The newest.
    """

    def __init__(self, client, scene=None):
        self.client = client
        self.scene = scene
        self.runs = []

    @property
    def last_run(self):
        """The newest run, or None."""
        return self.runs[-1] if self.runs else None

    @property
    def busy(self):
        """Whether a run is waiting or running."""
        return any(not run.finished for run in self.runs)

    def hello(self, on_done):
        """Ask the worker who it is; ``on_done(outputs, error)``, one of them None."""
        raise NotImplementedError

    def models(self, on_done):
        """Ask for the cards of all models; ``on_done(outputs, error)``."""
        raise NotImplementedError

    def fits(self, node, on_done, options=None):
        """Ask which models take this node; ``on_done({"fits": {name: "" or why not}}, error)``."""
        raise NotImplementedError

    def segment(self, node, model, options=None, output=None, on_progress=None, on_done=None):
        """Run a model on a node; returns at once.

        Parameters
        ----------
        node : vtkMRMLVolumeNode, vtkMRMLSequenceNode or vtkMRMLSequenceBrowserNode
            A volume, vector volume, label map volume, sequence of volumes, or a browser (its master sequence).
        model : dict
            A card, as `models` lists them.
        options : dict of str to str
            What differs from the defaults: the worker's options, and `SCENE_OPTIONS`.
        output : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
            The node whose contents are replaced; by default a new one.
        on_progress, on_done : callable
            Called with the Run, on the thread that steps.

        Returns
        -------
        Run
        """
        raise NotImplementedError

    def step(self):
        """Go on a little (some milliseconds); to be called again and again while `busy`."""
        raise NotImplementedError

    def cancel_all(self):
        """Cancel every run that is not finished."""
        raise NotImplementedError

    def undo(self, run):
        """Take a finished run back: see :meth:`Run.undo`."""
        run.undo()

    def close(self):
        """Cancel everything and stop listening to the scene; the client is its owner's to stop."""
        raise NotImplementedError
