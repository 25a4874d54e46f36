"""Many nodes, or the files of a folder, with one model; with a status each, cancel and resume."""

from __future__ import annotations

__all__ = ["Batch", "Item"]


class Item:
    """One node or file of a batch.

    Attributes
    ----------
    name : str
        The node's name, or the file.
    status : {"waiting", "running", "done", "skipped", "failed", "cancelled"}
    message : str
        Why it failed, or what was written.
    seconds : float
    objects : int or None
    node : vtkMRMLNode or None
    run : Run or None
    """


class Batch:
    """A model run on many inputs, one after the other.

    Use :meth:`of_nodes` or :meth:`of_files`, then :meth:`start`.

    Attributes
    ----------
    items : list of Item
    state : {"waiting", "running", "done", "cancelled", "failed"}
    progress : Progress
    error : Exception or None
        What stopped the whole batch.
    """

    @classmethod
    def of_nodes(cls, logic, nodes, model, options=None):
        """A batch of nodes of the scene; each gets result nodes of its own."""
        raise NotImplementedError

    @classmethod
    def of_files(cls, logic, inputs, output, model, options=None, save=("labels", "table"), overwrite=False):
        """A batch of files, folders or patterns, written into the folder `output` by the worker."""
        raise NotImplementedError

    def start(self, on_progress=None, on_done=None):
        """Begin, or go on with what is not done; ``on_progress(batch)``, ``on_done(batch)``."""
        raise NotImplementedError

    def cancel(self):
        """Stop; what is done stays."""
        raise NotImplementedError

    def wait(self, timeout=None):
        """Advance until the batch is finished (for scripts)."""
        raise NotImplementedError
