"""Many nodes, or the files of a folder, with one model; with a status each, cancel and resume."""

from __future__ import annotations

import time

from SlicerDeepBioLib.run_progress import Progress
from SlicerDeepBioLib.runs import wait_for

__all__ = ["Batch", "Item"]


class Item:
    """One node or file of a batch.

    Attributes
    ----------
    name : str
        The node's name, or the file.
    status : {"waiting", "running", "done", "skipped", "failed", "cancelled"}
        ``"skipped"``: an earlier batch has done this file.
    message : str
        Why it failed, with what can be done.
    seconds : float
    objects : int or None
        How many were found, where the model finds objects in files.
    outputs : dict of str to str
        Files that were written, by kind.
    node : vtkMRMLNode or None
    run : Run or None
    """

    def __init__(self, name, node=None):
        self.name = name
        self.node = node
        self.run = None
        self.reset()

    def reset(self):
        """Forget what became of it."""
        self.status = "waiting"
        self.message = ""
        self.seconds = 0.0
        self.objects = None
        self.outputs = {}


class Batch:
    """A model run on many inputs, one after the other; made by :meth:`of_nodes` or :meth:`of_files`.

    Attributes
    ----------
    items : list of Item
        Of files: known as they are done.
    state : {"waiting", "running", "done", "cancelled", "failed"}
        ``"done"`` also if single items failed.
    progress : Progress
    error : Exception or None
        What stopped the whole batch.
    summary : str
        Of files: the table that lists them all.
    """

    def __init__(self, logic, model, options=None):
        self.items = []
        self.state = "waiting"
        self.progress = Progress()
        self.error = None
        self.summary = ""
        self.cancelling = False
        self.on_progress = self.on_done = None
        self._logic, self._model, self._options = logic, model, dict(options or {})
        self._request = None
        self._task = None
        self._item = None
        self._started = 0.0

    @classmethod
    def of_nodes(cls, logic, nodes, model, options=None):
        """A batch of nodes of the scene; each gets result nodes of its own.

        Parameters
        ----------
        logic : DeepBioLogic
            Runs them.
        nodes : list of vtkMRMLNode
            As for ``DeepBioLogic.segment``.
        model : dict
            A card.
        options : dict of str to str, optional
            As for ``DeepBioLogic.segment``.
        """
        batch = cls(logic, model, options)
        batch.items = [Item(node.GetName() or node.GetID(), node) for node in nodes]
        return batch

    @classmethod
    def of_files(cls, logic, inputs, output, model, options=None, save=()):
        """A batch of files, which the worker reads and writes; what is done already is skipped.

        Parameters
        ----------
        logic : DeepBioLogic
            Its client has the worker.
        inputs : list of str
            Files, folders or patterns.
        output : str
            Folder for the results.
        model : dict
            A card.
        options : dict of str to str, optional
            The worker's options.
        save : sequence of str
            What is written of each: ``"labels"``, ``"table"``, ``"overlay"`` and so on.
        """
        batch = cls(logic, model, options)
        batch._request = {
            "command": "batch",
            "model": model["name"],
            "options": {name: str(value) for name, value in batch._options.items()},
            "inputs": [str(path) for path in inputs],
            "output": str(output),
            "save": list(save),
            "overwrite": False,
        }
        return batch

    @property
    def finished(self):
        """Whether it is done, cancelled or failed."""
        return self.state in ("done", "cancelled", "failed")

    def count(self, *statuses):
        """How many items have one of these."""
        return sum(item.status in statuses for item in self.items)

    def start(self, on_progress=None, on_done=None):
        """Begin; after a cancel, or with items that failed, go on with what is not done.

        Parameters
        ----------
        on_progress, on_done : callable, optional
            Called with the batch.
        """
        if self.state == "running":
            return
        self.on_progress, self.on_done = on_progress, on_done
        self.state = "running"
        self.cancelling = False
        self.error = None
        self.progress = Progress()
        if self._request is not None:
            self.items = []
            self._task = self._logic.client.submit(self._request, self._hear, self._files_done)
            return
        for item in self.items:
            if item.status != "done" or item.run.undone:
                item.reset()
        self._next()

    def cancel(self):
        """Stop, as soon as the present item has; what is done stays, and :meth:`start` goes on with the rest."""
        if self.state != "running" or self.cancelling:
            return
        self.cancelling = True
        if self._task is not None:
            self._task.cancel()
        elif self._item is not None:
            self._item.run.cancel()

    def wait(self, timeout=None):
        """Advance until the batch is finished (for scripts).

        Raises
        ------
        WorkerError
            If the whole batch failed; client.Cancelled if it was cancelled.
        TimeoutError
            If it has not finished in time.
        """
        return wait_for(self, self._logic, timeout, "The batch")

    # nodes

    def _next(self):
        """Begin with the next node, or end."""
        item = next((item for item in self.items if item.status == "waiting"), None)
        if item is None or self.cancelling:
            self._item = None
            self._end("cancelled" if self.cancelling else "done")
            return
        if not self._logic.has(item.node):
            item.status, item.message = "failed", "It is no longer in the scene."
            self._next()
            return
        item.status = "running"
        self._started = time.monotonic()
        self._item = item
        item.run = self._logic.segment(
            item.node, self._model, self._options, on_progress=self._run_told, on_done=self._run_done
        )
        self._tell()

    def _run_told(self, run):
        at = self.items.index(self._item)
        self.progress.at(
            (at + run.progress.fraction) / len(self.items),
            f"{self._item.name} ({at + 1} of {len(self.items)}): {run.progress.text}",
        )
        self._tell()

    def _run_done(self, run):
        item = self._item
        item.status = run.state
        item.seconds = time.monotonic() - self._started
        item.message = str(run.error) if run.error is not None else ""
        self._next()

    # files

    def _hear(self, task, update):
        row = update.info.get("row")
        if row is not None:
            self.items.append(_item(row))
        elif update.stage == "files":
            self.progress.at(update.current / max(1, update.maximum), update.message)
        else:
            self.progress.text = update.message
        self._tell()

    def _files_done(self, task):
        self._task = None
        if task.state == "done":
            self.items = [_item(row) for row in task.outputs["rows"]]
            self.summary = task.outputs["summary"]
        self.error = task.error
        self._end(task.state)

    def _tell(self):
        if self.on_progress is not None:
            self.on_progress(self)

    def _end(self, state):
        self.state = state
        self.progress.at(1.0 if state == "done" else 0.0, self._summary_text(state))
        if self.on_done is not None:
            self.on_done(self)

    def _summary_text(self, state):
        counted = [(self.count(word), word) for word in ("done", "skipped", "failed", "cancelled", "waiting")]
        told = ", ".join(f"{number} {word}" for number, word in counted if number)
        return {"done": "Done", "cancelled": "Cancelled"}.get(state, "Failed") + (f": {told}" if told else "")


def _item(row):
    """An item from the worker's row."""
    item = Item(row["file"])
    item.status, item.message, item.seconds = row["status"], row["message"], row["seconds"]
    item.objects, item.outputs = row["objects"], dict(row["outputs"])
    return item
