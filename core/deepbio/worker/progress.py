"""What a run tells, as the updates of a task; and where a run is stopped."""

from __future__ import annotations

import json
import time
from typing import Any, Protocol

from deepbio.errors import Cancelled
from deepbio.events import Event, Notice, to_json

__all__ = ["Task", "Updates", "as_text"]

_INTERVAL = 0.05  # seconds: 20 updates a second are more than an eye can follow

_ONE = {  # stage -> what people read
    "load": "Load the model",
    "read": "Read",
    "resample": "Resample",
    "predict": "Predict",
    "instances": "Find objects",
    "frames": "Frames",
    "files": "Files",
    "write": "Write",
}
_MANY = {  # the same for stages of several steps
    "predict": "Predict, tile {} of {}",
    "frames": "{} of {} frames",
    "files": "{} of {} files",
}


class Task(Protocol):
    """What is asked of an Appose task."""

    outputs: dict[str, Any]
    cancel_requested: bool

    def update(
        self,
        message: str | None = None,
        current: int | None = None,
        maximum: int | None = None,
        info: dict[str, Any] | None = None,
    ) -> None: ...
    def cancel(self) -> None: ...
    def fail(self, error: str | None = None) -> None: ...


class Updates:
    """A listener that passes events on as updates of a task, and stops the run when the client asks.

    Steps are passed on at most 20 times a second; notices, the first step of each kind and the last one
    of the whole always (that of a frame or file among many is followed by others at once).

    Parameters
    ----------
    task : Task
        Appose's.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._last = -_INTERVAL
        self._stages: set[str] = set()

    def __call__(self, event: Event) -> None:
        self.check()
        info = {"event": json.loads(to_json(event))}
        if isinstance(event, Notice):
            self._task.update(event.message, info=info)
            return
        now = time.monotonic()
        matters = event.stage not in self._stages or (event.current == event.total and not event.item)
        if not matters and now - self._last < _INTERVAL:
            return
        self._stages.add(event.stage)
        self._last = now
        self._task.update(as_text(event), event.current, event.total, info)

    def check(self) -> None:
        """Raise Cancelled if the client asked for it."""
        if self._task.cancel_requested:
            raise Cancelled

    def tell(self, message: str, **info: Any) -> None:
        """Send an update that is no event."""
        self._task.update(message, info=info)


def as_text(event: Event) -> str:
    """An event as people read it.

    Examples
    --------
    >>> from deepbio.events import Progress
    >>> as_text(Progress("predict", 3, 12, item="frame 2"))
    'Frame 2: predict, tile 3 of 12'
    >>> as_text(Progress("load", 0, 0))
    'Load the model'
    """
    if isinstance(event, Notice):
        return event.message
    words = _ONE.get(event.stage, event.stage.capitalize())
    if event.total > 1:
        words = _MANY.get(event.stage, words + ", {} of {}").format(event.current, event.total)
    if not event.item:
        return words
    if event.item.startswith(("frame ", "slice ")):
        return f"{event.item.capitalize()}: {words[:1].lower()}{words[1:]}"
    return f"{words}: {event.item}"
