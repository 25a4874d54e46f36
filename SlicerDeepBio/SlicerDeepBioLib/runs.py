"""One click on Segment, from the node that went in to the nodes that came out."""

from __future__ import annotations

import time

import numpy as np

from SlicerDeepBioLib import shared
from SlicerDeepBioLib.client import Cancelled, WorkerError
from SlicerDeepBioLib.inputs import open_input
from SlicerDeepBioLib.placing import AS, Placing
from SlicerDeepBioLib.run_progress import Progress
from SlicerDeepBioLib.scene import SceneError

__all__ = ["Progress", "Run", "wait_for"]

_SLICE = 0.01  # seconds that one step works at most, give or take a piece
_NAP = 0.005  # seconds between steps where there is no event loop
_WAITING = object()  # yielded while the worker has the run


class Run:
    """A run of a model on a node of the scene; made by ``DeepBioLogic.segment``.

    Attributes
    ----------
    state : {"waiting", "running", "done", "failed", "cancelled"}
    progress : Progress
    notices : list of (str, str)
        What the user should know: level ("info" or "warning") and text.
    node, further, model, options
        What was asked for; the node is None where a generator is given nothing. `further` are the volumes of the
        other channels.
    nodes : list of vtkMRMLNode
        What the run added to the scene, once it is done.
    segmentation : vtkMRMLSegmentationNode or None
    label_map : vtkMRMLLabelMapVolumeNode or None
    volumes : list of vtkMRMLVolumeNode
        Restored images and scores.
    tables : list of vtkMRMLTableNode
    sequence : vtkMRMLSequenceNode or None
        Of a sequence: the segmentations (or label maps) of its frames.
    plot : vtkMRMLPlotChartNode or None
    record : dict
        How the result came about.
    loaded : bool
        Whether the worker had to load the model for this run.
    error : Exception or None
        With ``message``, ``hint`` and ``kind``.
    undone : bool
        Whether it was taken back.
    """

    def __init__(self, logic, node, model, options=None, output=None, further=()):
        self.state = "waiting"
        self.progress = Progress()
        self.notices = []
        self.node, self.model, self.output, self.further = node, model, output, tuple(further)
        self.options = dict(options or {})
        self.segmentation = self.label_map = self.sequence = self.plot = self.error = None
        self.nodes, self.volumes, self.tables = [], [], []
        self.record = {}
        self.loaded = False
        self.cancelling = False
        self.undone = False
        self.on_progress = self.on_done = None
        self.change = None
        self._logic = logic
        self._task = None
        self._work = self._steps()
        self._inside = False

    @property
    def finished(self):
        """Whether the run is done, failed or cancelled."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self):
        """Stop; the state becomes "cancelled" within 5 s, and no node is left. Calling twice is allowed."""
        if self.finished or self.cancelling:
            return
        self.cancelling = True
        if self._task is not None and not self._task.finished:
            self.progress.text = "Cancelling"
            self._task.cancel()
            self._tell()
        elif not self._inside:  # else we are called from a callback of our own: step() will see it
            self._end("cancelled")

    def wait(self, timeout=None):
        """Advance until the run is finished; for scripts, where no timer steps.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default for ever.

        Returns
        -------
        Run
            Itself, done.

        Raises
        ------
        SceneError or WorkerError
            If it failed; client.Cancelled if it was cancelled.
        TimeoutError
            If it has not finished in time; it goes on.
        """
        return wait_for(self, self._logic, timeout, f"The run of '{self.model['name']}'")

    def undo(self):
        """Remove what the run added, and put back what it replaced.

        Raises
        ------
        SceneError
            If a later run has replaced the same node again: that one is taken back first.
        """
        self._logic.undo(self)

    def step(self):
        """Go on for some milliseconds; returns whether there is more to do at once."""
        if self.finished:
            return False
        self.state = "running"
        end = time.monotonic() + _SLICE
        try:
            while time.monotonic() < end:
                if self._next() is _WAITING:
                    return False
                if self.cancelling and (self._task is None or self._task.finished):
                    raise Cancelled()
        except StopIteration:
            self._end("done")
        except (SceneError, WorkerError) as error:
            self._end("cancelled" if self.cancelling else "failed", error)
        except MemoryError as error:
            self._end("failed", _out_of_memory(error))
        except BaseException as error:
            self._end("failed", _bug(error))
            raise
        return not self.finished

    def _next(self):
        self._inside = True
        try:
            return next(self._work)
        finally:
            self._inside = False

    def take_back(self):
        """Undo without asking whether others are in the way."""
        if self.change is not None and not self.undone:
            self.undone = True
            self.change.take_back()
            self.nodes = []

    # the work, in pieces: each yield is a chance for the event loop

    def _steps(self):
        entry = open_input(self.node, self.model, self.further)
        source = entry.source
        self.progress = self._progress_for(source)
        shown_as, surface, options = self._own_options()
        outputs = yield from self._compute(source, options)
        try:
            yield from self._fetch(outputs)
        finally:
            shared.discard(outputs)
        self.record = outputs["record"]
        self.loaded = bool(outputs.get("loaded"))
        yield from self._place(Placing(entry, self.model, outputs, shown_as, surface))

    def _progress_for(self, source):
        """What is counted: images that are made, or frames and slices that are looked at."""
        if self.model.get("task") == "generate":
            return Progress(makes=True)
        by_slice = self.model.get("ndim") == 2 and "Z" in source.axes
        return Progress(
            source.shape[0] if "T" in source.axes else 1,
            source.shape[source.axes.index("Z")] if by_slice else 1,
        )

    def _own_options(self):
        """Options of the scene, and the others, which are the worker's."""
        options = dict(self.options)
        shown_as = options.pop("as", None) or "auto"
        if shown_as not in AS:
            raise SceneError(f"The option 'as' is {shown_as!r}; expected one of {', '.join(AS)}.")
        surface = str(options.pop("surface", "")).lower() in ("true", "yes", "1")
        return shown_as, surface, {name: str(value) for name, value in options.items()}

    def _compute(self, source, options):
        """Send the pixels, if there are any, and wait for the answer."""
        request = {"command": "run", "model": self.model["name"], "options": options}
        request["outputs"] = _wanted(options) or list(self.model.get("usual") or ())
        if source is None:
            yield from self._ask(request)
            return self._task.outputs
        array = yield from _gathered(source)
        copy = shared.share(array, shared.PIECE)
        try:
            more = True
            while more:
                self.progress.sending(copy.fraction)
                self._tell()
                yield
                more = copy.step()
            del array
            request["image"] = source.run_request(copy.message)
            yield from self._ask(request)
        finally:
            copy.close()
        return self._task.outputs

    def _ask(self, request):
        """Wait until the worker has done what is asked for; its failure is raised."""
        self.progress.at(0.0, "Starting")
        self._task = self._logic.client.submit(request, on_update=self._hear)
        while not self._task.finished:
            yield _WAITING
        if self._task.state == "cancelled":
            raise Cancelled()
        if self._task.error is not None:
            raise self._task.error

    def _fetch(self, outputs):
        """Copy the answer's arrays out of shared memory, in place of their messages."""
        for kind in ("labels", "image", "scores", "explanation", "uncertainty"):
            if outputs.get(kind) is None:
                continue
            incoming = shared.Incoming(outputs[kind]["array"])
            try:
                while incoming.step():
                    yield
            finally:
                incoming.close()
            outputs[kind]["array"] = incoming.array

    def _place(self, placing):
        output = self.output if self.output is not None and self._logic.has(self.output) else None
        for done, _ in enumerate(placing.prepare(output)):
            self.progress.placing(1 - 1 / (done + 1))
            self._tell()
            yield
        if self.node is not None and not self._logic.has(self.node):
            raise Cancelled()
        placed = placing.commit(self._logic.scene, output)
        self.notices += placing.notices
        self.change = placed.pop("change")
        self.nodes = list(self.change.added)
        for name, value in placed.items():
            setattr(self, name, value)

    def _hear(self, task, update):
        if update.level:
            self.notices.append((update.level, update.message))
        else:
            self.progress.hear(update)
        self._tell()

    def _tell(self):
        if self.on_progress is not None and not self.finished:
            self.on_progress(self)

    def _end(self, state, error=None):
        self.state = state
        self.error = error if state == "failed" else None
        self.progress.eta = None
        self.progress.text = {"done": "Done", "cancelled": "Cancelled"}.get(state, "Failed")
        if state == "done":
            self.progress.fraction = 1.0
        self._work.close()
        if self.on_done is not None:
            self.on_done(self)


def wait_for(job, logic, timeout, name):
    """Advance a run or a batch until it is finished, and give it back; its failure is raised.

    Raises
    ------
    SceneError or WorkerError
        If it failed; client.Cancelled if it was cancelled.
    TimeoutError
        If it has not finished in so many seconds; it goes on.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while not job.finished:
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"{name} has not finished within {timeout:g} s.")
        if not logic.step():
            time.sleep(_NAP)
    if job.state == "cancelled":
        raise Cancelled()
    if job.error is not None:
        raise job.error
    return job


def _gathered(source):
    """The pixels as one array: of a volume a view, of a sequence or of channels a copy, part by part."""
    if not source.parted:
        return source.parts[0]
    array = np.empty(source.shape, source.dtype)
    for at, part in enumerate(source.parts):
        array[at] = part
        yield
    return array


def _wanted(options):
    """Outputs to ask for: those of the option, else none by name, which is what the model's task gives."""
    asked = options.pop("output", "")
    return [name.strip() for name in asked.split(",") if name.strip()]


def _out_of_memory(error):
    told = SceneError(
        str(error) or "There is not enough memory.", "Close other programs, or crop the volume."
    )
    told.kind = "OutOfMemory"
    return told


def _bug(error):
    told = SceneError(f"{type(error).__name__}: {error}", "This is a bug in DeepBio; the log has more.")
    told.kind = "Bug"
    return told
