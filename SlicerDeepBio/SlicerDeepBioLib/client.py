"""The client of ``deepbio worker``: starts it, sends requests, tells progress, cancels, survives its end.

Everything happens on the thread of the caller: with QtProcess in signals of the event loop, with
ThreadProcess in :meth:`WorkerClient.poll`. Needs only the standard library (and numpy, for the arrays).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable

from SlicerDeepBioLib import shared
from SlicerDeepBioLib.process import ThreadProcess, clean_environment
from SlicerDeepBioLib.task import ANSWER_TO_CANCEL, Cancelled, OnDone, OnUpdate, Task, Update, WorkerError

__all__ = ["Cancelled", "Task", "Update", "WorkerClient", "WorkerError"]

SCRIPT = "from deepbio.worker import serve; serve(task, request)"
_STEP = 0.02  # seconds that waiting sleeps at most
_LAST_WORDS = 8  # lines of stderr that are told when a worker dies
_REMEMBERED = 300  # a crash in a library is told first and then where each thread was
_INSTALL = (
    "Choose a Python in which DeepBio is installed, or install DeepBio (with the extra 'slicer') into it."
)


class WorkerClient:
    """Starts a worker when there is something to do, and talks to it.

    Parameters
    ----------
    python : str or Path
        A Python in which deepbio is installed.
    process : callable
        Makes the transport: ThreadProcess (headless) or QtProcess (in 3D Slicer).
    environment : dict, optional
        Of the worker; in 3D Slicer ``clean_environment(slicer.util.startupEnvironment())``.
    on_log : callable, optional
        Gets each line that the worker writes besides its answers.

    Attributes
    ----------
    starts : int
        How often a process was started.
    """

    def __init__(
        self,
        python: str | Path,
        process: Callable[[], Any] = ThreadProcess,
        environment: Mapping[str, str] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.python = str(python)
        self.starts = 0
        self._make_process = process
        self._environment = clean_environment() if environment is None else dict(environment)
        self._on_log = on_log
        self._process: Any = None
        self._tasks: dict[str, Task] = {}
        self._last_words: deque[str] = deque(maxlen=_REMEMBERED)
        self._answered = False
        self._ended_by_us = ""

    @property
    def alive(self) -> bool:
        """Whether a worker runs."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Number of the worker's process, or None."""
        return None if self._process is None else self._process.pid

    @property
    def tasks(self) -> list[Task]:
        """Tasks that have not finished, oldest first."""
        return list(self._tasks.values())

    def submit(
        self,
        request: dict[str, Any],
        on_update: OnUpdate | None = None,
        on_done: OnDone | None = None,
    ) -> Task:
        """Send a request; starts the worker if there is none.

        Parameters
        ----------
        request : dict
            ``{"command": NAME, ...}``; docs/worker.md lists them.
        on_update : callable, optional
            ``on_update(task, update)``, with an :class:`Update`.
        on_done : callable, optional
            ``on_done(task)``, once, when it is done, failed or cancelled. Never called from here.

        Returns
        -------
        Task
        """
        task = Task(self, request, on_update, on_done)
        message = _message(task, "EXECUTE", script=SCRIPT, inputs={"request": request})
        self._tasks[task.id] = task
        if self._process is None:
            self._start()
        self._process.write(message)
        return task

    def poll(self, timeout: float = 0.0) -> None:
        """Deliver what has happened (with ThreadProcess), and end a worker that ignores Cancel.

        Parameters
        ----------
        timeout : float
            Seconds to wait for something to happen.
        """
        if self._process is not None:
            self._process.poll(timeout)
        elif timeout:
            time.sleep(timeout)
        self._check_deadlines()

    def stop(self, grace: float = 5.0) -> None:
        """End the worker; tasks under way are cancelled.

        Parameters
        ----------
        grace : float
            Seconds that it gets to end by itself.
        """
        process = self._process
        if process is None:
            return
        self._ended_by_us = "DeepBio's worker was stopped."
        for task in self.tasks:
            task.cancel_requested = True
        process.close_input()
        end = time.monotonic() + grace
        while self._process is process and time.monotonic() < end:
            process.poll(_STEP)
        if self._process is process:
            process.kill_tree()
            end = time.monotonic() + 1.0
            while self._process is process and time.monotonic() < end:
                process.poll(_STEP)
        if self._process is process:  # the system has not told its end yet; it is ours no longer
            self._gone(process, None, "it did not end when it was killed")

    def _start(self) -> None:
        process = self._process = self._make_process()
        self.starts += 1
        self._last_words.clear()
        self._answered = False
        self._ended_by_us = ""
        process.start(
            [self.python, "-X", "utf8", "-m", "deepbio", "worker"],
            self._environment,
            None,
            lambda lines: self._hear(process, lines),
            lambda lines: self._log(process, lines),
            lambda code, reason: self._gone(process, code, reason),
        )

    def _cancel(self, task: Task) -> None:
        if self._process is not None:
            self._process.write(_message(task, "CANCEL"))
            self._process.later(ANSWER_TO_CANCEL, self._watch_deadlines)

    def _watch_deadlines(self) -> None:
        """Look, and look again when the next deadline comes: timers of Qt may be early by a twentieth."""
        self._check_deadlines()
        open_ = [task._deadline for task in self.tasks if task._deadline is not None]
        if open_ and self._process is not None:
            self._process.later(max(0.02, min(open_) - time.monotonic()), self._watch_deadlines)

    def _check_deadlines(self) -> None:
        """End a worker that has not answered to Cancel in time."""
        now = time.monotonic()
        if self._process is not None and any(
            task._deadline is not None and now >= task._deadline for task in self.tasks
        ):
            self._ended_by_us = "DeepBio's worker was ended because it did not react to Cancel."
            for task in self.tasks:
                task._deadline = None
            self._process.kill_tree()

    def _hear(self, process: Any, lines: list[str]) -> None:
        if process is not self._process:
            return  # words of one that was given up
        for line in lines:
            answer = _parsed(line)
            if answer is None:
                self._log(process, [line])
                continue
            self._answered = True
            task = self._tasks.get(answer["task"])
            if task is not None:
                task._hear(answer)

    def _log(self, process: Any, lines: list[str]) -> None:
        for line in lines:
            if process is self._process:
                self._last_words.append(line)
            if self._on_log is not None:
                self._on_log(line)

    def _gone(self, process: Any, code: int | None, reason: str) -> None:
        """Tell all tasks that the worker has ended."""
        if process is not self._process:
            return
        self._process = None
        if process.pid is not None:
            shared.sweep(process.pid)
        error = self._obituary(code, reason)
        troubles = [self._bury(task, error) for task in self.tasks]
        for trouble in filter(None, troubles):
            raise trouble

    def _bury(self, task: Task, error: WorkerError) -> Exception | None:
        """End a task whose worker has ended; an error of its callback must not keep others from theirs."""
        try:
            task._end("cancelled" if task.cancel_requested else "failed", error=error)
        except Exception as trouble:  # noqa: BLE001 - raised when all tasks have ended
            return trouble
        return None

    def _obituary(self, code: int | None, reason: str) -> WorkerError:
        """The error of a worker that has ended before it had answered."""
        if self._ended_by_us:
            return WorkerError(self._ended_by_us, "Try again.", "WorkerStopped")
        words = _last_words(self._last_words)
        if code is None:
            why = reason.rstrip(".")
            return WorkerError(f"'{self.python}' cannot be started: {why}.", _INSTALL, "WorkerNotStarted")
        if not self._answered:
            return _not_started(self.python, code, words)
        message = f"DeepBio's worker {_how(code)}."
        kind, hint = "WorkerDied", "Run it again; if it happens again, please report it."
        if code == -getattr(signal, "SIGKILL", 9):
            message = "DeepBio's worker was killed, most likely because memory ran out."
            kind, hint = "OutOfMemory", "Close other programs, choose a smaller tile, or crop the image."
        return WorkerError(message + ("\nIts last words:\n" + words if words else ""), hint, kind)

    def _forget(self, task: Task) -> None:
        self._tasks.pop(task.id, None)


def _message(task: Task, kind: str, **fields: Any) -> str:
    """A line of Appose's protocol."""
    return json.dumps({"task": task.id, "requestType": kind, **fields}, allow_nan=False) + "\n"


def _parsed(line: str) -> dict[str, Any] | None:
    """An answer of Appose's protocol; None for anything else that was printed."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    if isinstance(answer, dict) and isinstance(answer.get("task"), str) and "responseType" in answer:
        return answer
    return None


def _last_words(lines: Iterable[str]) -> str:
    """The lines of stderr that say most about an end: from a crash on, or else the last ones."""
    told = [line for line in lines if line.strip() and not line.startswith("Extension modules:")]
    crashes = [at for at, line in enumerate(told) if line.startswith("Fatal Python error")]
    return "\n".join(told[crashes[-1] :][:_LAST_WORDS] if crashes else told[-_LAST_WORDS:])


def _not_started(python: str, code: int, words: str) -> WorkerError:
    if "No module named deepbio" in words or "No module named 'deepbio" in words:
        return WorkerError(f"'{python}' has no DeepBio.", _INSTALL, "WorkerNotStarted")
    told = "\nIt says:\n" + words if words else ""
    message = f"'{python}' cannot run DeepBio's worker: the process {_how(code)}.{told}"
    return WorkerError(message, _INSTALL, "WorkerNotStarted")


def _how(code: int) -> str:
    """How a process ended."""
    if code < 0 and os.name == "posix":
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was ended by {name}"
    told = f" (0x{code:08X})" if code > 0xFFFF else ""  # how Windows tells of a crash
    return f"ended with exit code {code}{told}"
