"""Appose's worker with what a host needs besides: whole lines, one end to a task, and a clean end."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Any

import psutil
from appose import NDArray, SharedMemory, python_worker
from appose.util import message

from deepbio.worker.arrays import blocks_of
from deepbio.worker.service import service

__all__ = ["DeepBioWorker"]

_GRACE = 1.5  # seconds that runs get to stop by themselves when the client has gone
_DYING = 1.0  # seconds
_INTERRUPTED = 130


class _Task(python_worker.Task):  # type: ignore[misc]
    """A task that writes each answer as one whole line, and nothing after its end."""

    answers = 1  # file descriptor
    writing = threading.Lock()
    _finished: bool

    def _respond(self, response_type: Any, args: dict[str, Any] | None) -> None:
        told = {**(args or {}), "task": self._uuid, "responseType": response_type.value}
        line = (message.encode(told) + "\n").encode()
        with self.writing:
            if self._finished:
                return  # cancelled or failed; then Appose reports that the script has come to its end
            self._finished = response_type.is_terminal()
            _write(self.answers, line)


class DeepBioWorker(python_worker.Worker):  # type: ignore[misc]
    """Appose's worker on streams of its own.

    Parameters
    ----------
    answers : int
        File descriptor that answers are written to.
    """

    def __init__(self, answers: int) -> None:
        super().__init__()
        self._client = os.getppid()
        _Task.answers = answers
        python_worker.Task = _Task  # what Worker makes of each request
        # Blocks are opened by the task that needs them: one that is missing fails that task only.
        message.register(SharedMemory, "shm", _named, dict)
        message.register(NDArray, "ndarray", _described, dict)
        faulthandler.enable(all_threads=False)  # the last words of a crash in a library go to stderr

    def run(self) -> None:
        """Serve until stdin closes or a signal ends us; never returns."""
        try:
            super().run()
            threading.Event().wait()  # the thread that reads requests ends the process
        except KeyboardInterrupt:  # SIGTERM, too
            self._end(_INTERRUPTED)

    def _process_input(self) -> None:
        """Read requests until stdin closes, then end, and end all that was started."""
        code = 0
        try:
            super()._process_input()
        except BaseException:  # noqa: BLE001 - whatever it is, a worker that does not listen must not stay
            traceback.print_exc()
            code = 1
        self._end(code)

    def _end(self, code: int) -> None:
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel_requested = True
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and any(not task._finished for task in tasks):
            time.sleep(0.02)
        service().runs.arrays.free()
        self._free_for_the_dead()
        for child in psutil.Process().children(recursive=True):
            try:
                child.kill()
            except psutil.Error:  # it has ended meanwhile
                continue
        sys.stderr.flush()
        os._exit(code)

    def _free_for_the_dead(self) -> None:
        """Free the blocks of a client that has crashed or was killed, as it cannot any more."""
        left = blocks_of(self._client)
        deadline = time.monotonic() + _DYING
        while left and os.getppid() == self._client and time.monotonic() < deadline:
            time.sleep(0.01)  # its streams close before the system calls it dead
        if os.getppid() != self._client:
            for path in left:
                with suppress(OSError):  # freed meanwhile, or not ours to free
                    path.unlink()


def _write(file: int, data: bytes) -> None:
    """Write all of a line; a client that has gone is noticed where requests are read."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except BrokenPipeError:
        return


def _named(block: Any) -> dict[str, Any]:
    return {"name": block.name, "rsize": block.rsize}


def _described(array: Any) -> dict[str, Any]:
    return {"dtype": array.dtype, "shape": array.shape, "shm": array.shm}
