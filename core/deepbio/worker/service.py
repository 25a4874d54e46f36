"""The commands of the worker: one request in, updates and one answer out."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from deepbio.errors import Cancelled, DeepBioError, OptionError, OutOfMemory
from deepbio.worker import facts
from deepbio.worker.arrays import Arrays
from deepbio.worker.progress import Task, Updates
from deepbio.worker.runs import Runs
from deepbio.worker.values import describe_error

__all__ = ["Service", "serve", "service"]

Answer = dict[str, Any]
_LOOK = 0.05  # seconds between two looks at Cancel while another run is under way


class Service:
    """Answers requests; those that compute or change models one at a time."""

    def __init__(self) -> None:
        self.runs = Runs(Arrays())
        self._turn = threading.Lock()
        self._at_once: dict[str, Callable[[Mapping[str, Any], Updates], Answer]] = {
            "hello": lambda request, updates: facts.hello(),
            "models": lambda request, updates: facts.models(),
            "fits": _fits,
            "inputs": lambda request, updates: facts.inputs(request),
        }
        self._in_turn: dict[str, Callable[[Mapping[str, Any], Updates], Answer]] = {
            "run": self.runs.run,
            "batch": self.runs.batch,
            "add_model": self._add_model,
            "remove_model": self._remove_model,
            "release": lambda request, updates: {"released": self.runs.models.release()},
        }

    def answer(self, request: Any, task: Task) -> Answer:
        """Carry out a request.

        Parameters
        ----------
        request : mapping
            ``command``, and what docs/worker.md lists for it.
        task : Task
            Hears updates, says whether to stop.

        Returns
        -------
        dict
            Plain values, and messages of arrays in shared memory.

        Raises
        ------
        DeepBioError
            As the command does; OptionError for an unknown one; Cancelled.
        """
        name = request.get("command") if isinstance(request, Mapping) else None
        updates = Updates(task)
        if name in self._at_once:
            return self._at_once[name](request, updates)
        if name in self._in_turn:
            with self._waiting(updates):
                return self._in_turn[name](request, updates)
        known = ", ".join([*self._at_once, *self._in_turn])
        raise OptionError(f"There is no command {name!r}.", f"Known: {known}.")

    @contextmanager
    def _waiting(self, updates: Updates) -> Iterator[None]:
        while not self._turn.acquire(timeout=_LOOK):
            updates.check()
        try:
            updates.check()
            yield
        finally:
            self._turn.release()

    def _add_model(self, request: Mapping[str, Any], updates: Updates) -> Answer:
        from deepbio.importing import add_model

        path = Path(_text(request, "path"))
        card = add_model(path, name=request.get("name") or None, replace=request.get("replace") is True)
        return {"model": facts.card_values(card)}

    def _remove_model(self, request: Mapping[str, Any], updates: Updates) -> Answer:
        from deepbio.library import remove_model

        name = _text(request, "name")
        self.runs.models.forget(name)  # Windows removes no file that is open
        remove_model(name)
        return {"removed": name}


def _fits(request: Mapping[str, Any], updates: Updates) -> Answer:
    return facts.fits(request.get("image"), facts.parse_options(request.get("options")))


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise OptionError(f"The request needs {name!r}, a text; found {value!r}.")
    return value


@cache
def service() -> Service:
    """The one service of this process."""
    return Service()


def serve(task: Task, request: Any) -> None:
    """Answer a request: what the script of every Appose task calls.

    The task completes with the answer as its outputs, is cancelled when the client asked for it, or
    fails: with an update whose info has ``{"error": {"error", "message", "hint"}}``, then with message
    and hint (for a bug: the traceback).

    Parameters
    ----------
    task : Task
        Appose's.
    request : mapping
        ``{"command": NAME, ...}``.
    """
    try:
        task.outputs.update(service().answer(request, task))
    except Cancelled:
        task.cancel()
    except DeepBioError as error:
        _fail(task, error, str(error))
    except Exception as error:  # noqa: BLE001 - the last line of defence, told as what it is
        from deepbio.engine.ladder import is_out_of_memory

        if is_out_of_memory(error):
            ours = OutOfMemory(f"Memory ran out: {error}.", "Close other programs, or choose a smaller tile.")
            _fail(task, ours, str(ours))
        else:
            _fail(task, error, "".join(traceback.format_exception(error)))


def _fail(task: Task, error: BaseException, text: str) -> None:
    told = describe_error(error)
    task.update(told["message"], info={"error": told})
    task.fail(text)
