"""A request to the worker on its way: its state, what it tells, how it ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from SlicerDeepBioLib import shared

if TYPE_CHECKING:
    from SlicerDeepBioLib.client import WorkerClient

__all__ = ["ANSWER_TO_CANCEL", "Cancelled", "OnDone", "OnUpdate", "Task", "Update", "WorkerError"]

ANSWER_TO_CANCEL = 4.0  # seconds; then the process is ended
_STEP = 0.02  # seconds that waiting sleeps at most
OnUpdate = Callable[["Task", "Update"], None]
OnDone = Callable[["Task"], None]


class WorkerError(RuntimeError):
    """What went wrong in the worker or with it.

    Attributes
    ----------
    message : str
        What was found and what was expected.
    hint : str
        What the user can do.
    kind : str
        Name of the core's error, such as ``"InputMismatch"``; or ``"WorkerNotStarted"``,
        ``"WorkerDied"``, ``"WorkerStopped"`` (we ended it).
    """

    def __init__(self, message: str, hint: str = "", kind: str = "WorkerError") -> None:
        super().__init__(message, hint, kind)
        self.message = message
        self.hint = hint
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Cancelled(WorkerError):
    """The task was cancelled."""

    def __init__(self, message: str = "Cancelled.", hint: str = "", kind: str = "Cancelled") -> None:
        super().__init__(message, hint, kind)


class Update:
    """What a task tells while it runs.

    Attributes
    ----------
    message : str
        For people: ``"Predict, tile 3 of 12"``.
    current, maximum : int
        Steps done and in all; 0 where there are none.
    info : dict
        All that came: ``"event"`` (as of ``deepbio.events.to_json``), ``"row"`` of a batch, ``"error"``.
    eta : float or None
        Seconds left in this stage.
    stage, item : str
        What is being done, and to which file or frame; empty for notices.
    level : str
        ``"info"`` or ``"warning"`` for notices, else empty.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.message = answer.get("message") or ""
        self.current = int(answer.get("current") or 0)
        self.maximum = int(answer.get("maximum") or 0)
        self.info = answer.get("info") or {}
        event = self.info.get("event") or {}
        self.eta = event.get("eta")
        self.stage = event.get("stage", "")
        self.item = event.get("item", "")
        self.level = event.get("level", "")


class Task:
    """A request on its way.

    Attributes
    ----------
    state : str
        ``"waiting"``, ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``.
    outputs : dict
        The answer, when done.
    error : WorkerError or None
        Why it failed.
    cancel_requested : bool
        Whether :meth:`cancel` was called.
    """

    def __init__(
        self,
        client: WorkerClient,
        request: dict[str, Any],
        on_update: OnUpdate | None,
        on_done: OnDone | None,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.request = request
        self.state = "waiting"
        self.outputs: dict[str, Any] = {}
        self.error: WorkerError | None = None
        self.cancel_requested = False
        self._client = client
        self._on_update = on_update
        self._on_done = on_done
        self._told_error: dict[str, str] | None = None
        self._deadline: float | None = None

    @property
    def finished(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self) -> None:
        """Ask the worker to stop; without an answer within 4 s it is ended. Calling twice is allowed."""
        if not self.finished and not self.cancel_requested:
            self.cancel_requested = True
            self._deadline = time.monotonic() + ANSWER_TO_CANCEL
            self._client._cancel(self)

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end, without an event loop.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default for ever.

        Returns
        -------
        dict
            The outputs.

        Raises
        ------
        WorkerError
            If the task failed; Cancelled if it was cancelled.
        TimeoutError
            If it has not finished in time; it goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self.finished:
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"The worker has not answered within {timeout:g} s.")
            self._client.poll(_STEP)
        if self.state == "cancelled":
            raise Cancelled()
        if self.error is not None:
            raise self.error
        return self.outputs

    def discard(self) -> None:
        """Free the arrays of the outputs that nobody has fetched."""
        shared.discard(self.outputs)

    def _hear(self, answer: Mapping[str, Any]) -> None:
        """Take an answer of the worker."""
        kind = answer.get("responseType")
        if kind == "LAUNCH":
            self.state = "running"
        elif kind == "UPDATE":
            update = Update(answer)
            if "error" in update.info:
                self._told_error = update.info["error"]
            elif self._on_update is not None and not self.cancel_requested:
                self._on_update(self, update)
        elif kind == "COMPLETION":
            outputs = answer.get("outputs") or {}
            if self.cancel_requested:  # it was through just before it was to stop
                shared.discard(outputs)
                self._end("cancelled")
            else:
                self._end("done", outputs)
        elif kind == "CANCELATION":
            self._end("cancelled")
        elif kind == "FAILURE":
            self._end("cancelled" if self.cancel_requested else "failed", error=self._failure(answer))

    def _failure(self, answer: Mapping[str, Any]) -> WorkerError:
        told = self._told_error
        if told is None:  # not from deepbio: Appose itself, or a script that could not be run
            text = str(answer.get("error") or "").strip()
            last = text.splitlines()[-1] if text else "The worker gave no reason."
            return WorkerError(last, "The log has more.", "WorkerError")
        return WorkerError(told.get("message", ""), told.get("hint", ""), told.get("error", "WorkerError"))

    def _end(
        self, state: str, outputs: dict[str, Any] | None = None, error: WorkerError | None = None
    ) -> None:
        """Come to an end, once."""
        if self.finished:
            return
        self.state = state
        self.outputs = outputs or {}
        self.error = error if state == "failed" else None
        self._client._forget(self)
        if self._on_done is not None:
            self._on_done(self)
