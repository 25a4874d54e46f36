"""What a long job tells while it runs, as objects and as JSON lines.

A listener is any callable that takes an event. It is called between tiles, epochs and files,
never in the middle of one, so it is also where a job is stopped: a listener that raises
:class:`~deepbio.errors.Cancelled` ends the job before anything is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from deepbio.errors import Cancelled

__all__ = ["Cancelled", "Event", "Listener", "Notice", "Progress", "Stage", "from_json", "silent", "to_json"]


@dataclass(frozen=True)
class Progress:
    """A step of a stage is done.

    Attributes
    ----------
    stage : str
        What is being done: ``"load"``, ``"resample"``, ``"predict"``, ``"instances"``, ``"write"``, ``"fit"``...
    current, total : int
        Steps done, and steps in all (0 when the number is not known).
    eta : float or None
        Seconds that are left in this stage, or None while that cannot be said.
    item : str
        The file, frame or epoch this belongs to, for people.
    """

    stage: str
    current: int
    total: int
    eta: float | None = None
    item: str = ""


@dataclass(frozen=True)
class Notice:
    """Something the user should know: a fallback, a choice made, a file that was skipped."""

    message: str
    level: str = "info"  # or "warning"


Event = Progress | Notice
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing: the default listener."""


class Stage:
    """Counts the steps of one stage and reports each with the time that is left.

    Parameters
    ----------
    listener : Listener
        Who is told.
    name : str
        The stage.
    total : int
        Steps in all.
    item : str
        The file or frame this belongs to.

    Examples
    --------
    >>> heard = []
    >>> stage = Stage(heard.append, "predict", total=2)
    >>> stage.step()
    >>> stage.step()
    >>> [(event.current, event.total) for event in heard]
    [(0, 2), (1, 2), (2, 2)]
    """

    def __init__(self, listener: Listener, name: str, total: int, item: str = "") -> None:
        self._listener = listener
        self._name = name
        self._total = total
        self._item = item
        self._done = 0
        self._start = time.perf_counter()
        listener(Progress(name, 0, total, None, item))

    def step(self, count: int = 1) -> None:
        """Report that `count` more steps are done."""
        self._done += count
        elapsed = time.perf_counter() - self._start
        left = self._total - self._done
        eta = elapsed / self._done * left if self._done and self._total else None
        self._listener(Progress(self._name, self._done, self._total, eta, self._item))


_KINDS: dict[str, type[Progress] | type[Notice]] = {"progress": Progress, "notice": Notice}


def to_json(event: Event) -> str:
    """Write an event as one line of JSON, without a line end.

    Examples
    --------
    >>> to_json(Notice("Tile 256 instead of 512.", "warning"))
    '{"event": "notice", "message": "Tile 256 instead of 512.", "level": "warning"}'
    """
    name = next(name for name, kind in _KINDS.items() if isinstance(event, kind))
    return json.dumps({"event": name, **asdict(event)})


def from_json(line: str) -> Event:
    """Read back what :func:`to_json` wrote.

    Raises
    ------
    ValueError
        If the line is not such an event.

    Examples
    --------
    >>> from_json(to_json(Progress("predict", 1, 4, 0.5, "a.tif")))
    Progress(stage='predict', current=1, total=4, eta=0.5, item='a.tif')
    """
    fields = json.loads(line)
    kind = _KINDS.get(fields.pop("event", None)) if isinstance(fields, dict) else None
    if kind is None:
        raise ValueError(f"expected a JSON object with 'event' one of {sorted(_KINDS)}, found {line!r}")
    return kind(**fields)
