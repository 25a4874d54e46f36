"""The logic of the module: a node and a model go in, result nodes come out; no Qt here.

The form, the page in the browser, scripts and tests use this class alike. It never blocks: a run is
advanced by :meth:`DeepBioLogic.step`, which its host calls from a timer (every 20 ms or so), and by the
callbacks of the worker's client. Scripts call :meth:`Run.wait` instead.
"""

from __future__ import annotations

import slicer
import vtk

from SlicerDeepBioLib.inputs import describe, needs_labels
from SlicerDeepBioLib.runs import Run
from SlicerDeepBioLib.scene import SceneError
from SlicerDeepBioLib.sequences import sequence_of

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
        Talks to the worker, which the first request starts. Whoever made the client stops it.
    scene : vtkMRMLScene, optional
        By default ``slicer.mrmlScene``.

    Attributes
    ----------
    runs : list of Run
        All runs since the scene was opened, the oldest first.
    cards : dict of str to dict
        The cards that :meth:`models` has brought, by name.
    """

    def __init__(self, client, scene=None):
        self.client = client
        self.scene = scene or slicer.mrmlScene
        self.runs = []
        self.cards = {}
        self._stepping = False
        self._observers = [
            self.scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._on_close),
            self.scene.AddObserver(
                slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _with_node(self._on_removed)
            ),
        ]

    @property
    def last_run(self):
        """The newest run, or None."""
        return self.runs[-1] if self.runs else None

    @property
    def busy(self):
        """Whether a run is waiting or running."""
        return any(not run.finished for run in self.runs)

    def hello(self, on_done):
        """Ask the worker who it is; ``on_done(outputs, error)``, one of them None. Returns the Task."""
        return self._ask({"command": "hello"}, on_done)

    def models(self, on_done):
        """Ask for the cards of all models; ``on_done(outputs, error)``. Returns the Task."""

        def remember(outputs, error):
            if outputs is not None:
                self.cards = {card["name"]: card for card in outputs["models"]}
            on_done(outputs, error)

        return self._ask({"command": "models"}, remember)

    def fits(self, node, on_done, options=None, more=False):
        """Ask which models take a node.

        Parameters
        ----------
        node : vtkMRMLNode or None
            As for :meth:`segment`.
        on_done : callable
            ``on_done(outputs, error)``; outputs are ``{"fits": {model name: "" or why it does not fit}}``.
        options : dict of str to str, optional
            The worker's options; ``per_slice``, for example, lets 2D models take stacks.
        more : bool
            Whether there may be volumes of further channels: models that take several volumes then fit as if there
            were as many as they need, each like the node.

        Returns
        -------
        Task or None
            None where the node itself cannot be used: then `on_done` has been called.
        """
        try:
            image = None if node is None else {**describe(node), "more": more}
        except SceneError as error:
            on_done(None, error)
            return None

        def judge(outputs, error):
            if outputs is not None:
                told = {name: why or self._why_not(node, name) for name, why in outputs["fits"].items()}
                outputs = {**outputs, "fits": told}
            on_done(outputs, error)

        own = {option["name"] for option in SCENE_OPTIONS}
        sent = {name: str(value) for name, value in (options or {}).items() if name not in own}
        return self._ask({"command": "fits", "image": image, "options": sent}, judge)

    def segment(self, node, model, options=None, output=None, on_progress=None, on_done=None, further=()):
        """Run a model on a node; returns at once. Runs wait for one another.

        Parameters
        ----------
        node : vtkMRMLNode or None
            A volume, vector volume, label map volume, segmentation, sequence of volumes, or a browser (its master
            sequence). None for a generator that makes images of nothing.
        model : dict
            A card, as :meth:`models` lists them.
        options : dict of str to str, optional
            What differs from the defaults: the worker's options, and `SCENE_OPTIONS`.
        output : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, optional
            The node whose contents are replaced; by default a new one.
        on_progress, on_done : callable, optional
            Called with the Run, from :meth:`step` or from the client.
        further : sequence of vtkMRMLScalarVolumeNode
            Where the node is the first of a model's channels: the volumes of the others, in the model's order.

        Returns
        -------
        Run
            What is wrong with the node or the options is told there too, as its error.
        """
        run = Run(self, node, model, options, output, further)
        run.on_progress, run.on_done = on_progress, on_done
        self.runs.append(run)
        return run

    def step(self):
        """Go on for some milliseconds; to be called again and again while :attr:`busy`.

        Returns
        -------
        bool
            Whether there is more to do at once; otherwise the worker is being waited for.
        """
        if self._stepping:  # a callback of ours shows a dialog, whose event loop calls us
            return False
        self._stepping = True
        try:
            self.client.poll()
            run = next((run for run in self.runs if not run.finished), None)
            return run.step() if run is not None else False
        finally:
            self._stepping = False

    def cancel_all(self):
        """Cancel every run that is not finished."""
        for run in list(self.runs):
            run.cancel()

    def undo(self, run):
        """Take a finished run back: remove what it added, put back what it replaced.

        Raises
        ------
        SceneError
            If a later run has replaced the same node again.
        """
        if run.change is None or run.undone:
            return
        mine = {node.GetID() for node in [*run.change.added, *run.change.replaced]}
        for later in self.runs[self.runs.index(run) + 1 :] if run in self.runs else ():
            if later.change is not None and not later.undone:
                both = mine & {node.GetID() for node in later.change.replaced}
                if both:
                    name = self.scene.GetNodeByID(both.pop())
                    raise SceneError(
                        f"A later run has written into '{name.GetName() if name else 'the same node'}' again.",
                        "Undo that run first.",
                    )
        run.take_back()

    def has(self, node):
        """Whether a node is in the scene still."""
        return bool(self.scene.IsNodePresent(node))

    def sequence_of(self, node):
        """The (browser, sequence) of which a volume shows the present frame, or None."""
        return sequence_of(node)

    def close(self):
        """Cancel everything and stop listening to the scene."""
        self.cancel_all()
        for observer in self._observers:
            self.scene.RemoveObserver(observer)
        self._observers = []

    def _ask(self, request, on_done):
        def done(task):
            on_done(task.outputs if task.state == "done" else None, task.error)

        return self.client.submit(request, on_done=done)

    def _why_not(self, node, name):
        if node is None:
            return ""
        try:
            needs_labels(node, self.cards.get(name) or {"name": name})
        except SceneError as error:
            return str(error)
        return ""

    def _on_close(self, *_):
        self.cancel_all()
        self.runs = [run for run in self.runs if not run.finished]

    def _on_removed(self, node):
        for run in list(self.runs):
            if run.node is node or node in run.further:
                run.cancel()


def _with_node(slot):
    """An observer that gets the node which an event of the scene is about."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def observer(caller, event, node):
        slot(node)

    return observer
