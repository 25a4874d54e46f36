"""The process that keeps models loaded for a Fiji without Python, and how the macros of that Fiji reach it.

It listens on 127.0.0.1, answers only who knows the random token that lies in a file which only its user can read,
and ends by itself after a quarter of an hour without work. What is sent is JSON: nothing is ever unpickled.

Only the standard library is imported here, so that a macro waits for its result and not for Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["Server", "ask", "ask_or_run", "state_file", "stop"]

IDLE = 15 * 60.0  # seconds
START = 60.0  # seconds that a new process may take until it answers
_LOOK = 0.05
_ENDING = 10.0  # seconds that one which was told to stop may take
_EACH = 1.0  # seconds between two looks whether clients still find the way
_STATE = "imagej-bridge.json"
_GREETING = "deepbio imagej bridge"
_LONGEST = 2**20  # bytes of a message

Work = Callable[[Path], str]


def state_file() -> Path:
    """Where port and token of this user's process stand."""
    # as deepbio.library.store.user_folder has it, which needs half a second for numpy; a test compares them
    home = os.environ.get("DEEPBIO_HOME")
    if home:
        return Path(home).expanduser() / _STATE
    import platformdirs

    return platformdirs.user_data_path("deepbio", appauthor=False) / _STATE


def ask(folder: Path) -> dict[str, Any]:
    """Have a folder carried out by the resident process, which is started if there is none.

    Returns
    -------
    dict
        ``{"result": PATH}`` or ``{"error": LINE}``.

    Raises
    ------
    OSError
        If no process can be started or reached.
    """
    return _ask({"folder": str(folder)}, start=True)


def stop() -> bool:
    """End the resident process and wait until it no longer listens; say whether there was one."""
    state = _read_state()
    try:
        stopped = "stopped" in _ask({"stop": True}, start=False)
    except OSError:
        return False
    end = time.monotonic() + _ENDING
    while stopped and state is not None and _read_state() == state and time.monotonic() < end:
        time.sleep(_LOOK)  # it takes its file away last
    return stopped


def ask_or_run(folder: Path) -> dict[str, Any]:
    """Have a folder carried out; here, where no resident process can be had, which is told on stderr."""
    try:
        return ask(folder)
    except OSError as error:
        sys.stderr.write(f"DeepBio: the model is loaded anew, there is no resident process ({error}).\n")
        return _guarded(_work(), folder)


def _ask(request: dict[str, Any], *, start: bool) -> dict[str, Any]:
    state = _read_state()
    if state is not None and start and state.get("version") != _version():
        stop()  # of another version of deepbio, which would answer differently
        state = None
    connection = None if state is None else _connect(state)
    if connection is None:
        if not start:
            raise ConnectionError("there is no resident process")
        state, connection = _start()
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        stream.write(json.dumps({"token": (state or {}).get("token", ""), **request}) + "\n")
        stream.flush()
        line = stream.readline()
    if not line:
        raise ConnectionError("the resident process ended in the middle of the work")
    try:
        answer: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise ConnectionError("what it answers is not understood") from error
    return answer


def _read_state() -> dict[str, Any] | None:
    try:
        found = json.loads(state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("port"), int) else None


def _connect(state: dict[str, Any]) -> socket.socket | None:
    """Reach the process, if it is still the one that listens there: ports are given anew."""
    try:
        connection = socket.create_connection(("127.0.0.1", state["port"]), timeout=5)
    except OSError:
        return None
    told = b""
    try:
        while not told.endswith(b"\n") and len(told) < len(_GREETING) + 1 and (part := connection.recv(1)):
            told += part
    except OSError:
        told = b""
    if told.decode("ascii", "replace").strip() != _GREETING:
        connection.close()
        return None
    connection.settimeout(None)  # a run takes as long as it takes
    return connection


def _start() -> tuple[dict[str, Any], socket.socket]:
    """Start a process that outlives this one, and wait until it answers."""
    before = _read_state()
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "imagej_bridge", "serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **detached,
    )
    end = time.monotonic() + START
    while time.monotonic() < end:
        state = _read_state()
        connection = _connect(state) if state is not None and state != before else None
        if state is not None and connection is not None:
            return state, connection
        if process.poll() is not None:
            raise ConnectionError(f"it ended at once, with {process.returncode}")
        time.sleep(_LOOK)
    process.kill()
    raise ConnectionError(f"it did not answer within {START:g} s")


def _version() -> str:
    import deepbio

    return deepbio.__version__


class Server:
    """Carries folders out, one at a time.

    Parameters
    ----------
    work : callable
        Carries out a folder and returns the macro that shows the result; by default with models that stay loaded.
    idle : float
        Seconds without work after which it ends.
    """

    def __init__(self, work: Work | None = None, *, idle: float = IDLE) -> None:
        self._work, self._idle = work, idle
        self._token = secrets.token_urlsafe(32)
        self._turn = threading.Lock()
        self._stopped = threading.Event()
        self._counting = threading.Lock()
        self._busy = 0
        self._last = self._looked = time.monotonic()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(_LOOK)

    def serve(self) -> None:
        """Answer until told to stop, or idle for long."""
        if self._work is None:
            self._work = _work()
        with _announced({"port": self._socket.getsockname()[1], "token": self._token}), self._socket:
            while not self._stopped.is_set():
                if not self._busy and (self._is_idle() or self._is_forgotten()):
                    return
                try:
                    connection, _ = self._socket.accept()
                except TimeoutError:
                    continue
                with self._counting:
                    self._busy += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
            while self._busy:  # who waits for a result still gets it
                time.sleep(_LOOK)

    def _is_idle(self) -> bool:
        return time.monotonic() - self._last > self._idle

    def _is_forgotten(self) -> bool:
        """Whether another process was started at the same time, and clients go there."""
        if time.monotonic() - self._looked < _EACH:
            return False
        self._looked = time.monotonic()
        state = _read_state()
        return state is None or state.get("token") != self._token

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(10)  # for the request, which is sent at once
        try:
            with connection, connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(f"{_GREETING}\n")
                stream.flush()
                answer = self._reply(stream.readline(_LONGEST))
                stream.write(json.dumps(answer) + "\n")
                stream.flush()
        except OSError:
            pass  # who asked has gone: nobody is left to tell
        finally:
            with self._counting:
                self._busy -= 1
                self._last = time.monotonic()

    def _reply(self, line: str) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except ValueError:
            return {"error": "The request is no JSON."}
        token = request.get("token") if isinstance(request, dict) else None
        if not isinstance(token, str) or not secrets.compare_digest(token.encode(), self._token.encode()):
            return {"error": "The token is not that of this process."}
        if request.get("stop") is True:
            self._stopped.set()
            return {"stopped": True}
        if self._work is None or not isinstance(request.get("folder"), str):
            return {"error": "The request names no folder."}
        with self._turn:
            return _guarded(self._work, Path(request["folder"]))


def _work() -> Work:
    """Carry out folders with models that stay loaded."""
    from deepbio import LoadedModels
    from imagej_bridge.handover import carry_out

    models = LoadedModels()
    return lambda folder: carry_out(folder, models)


def _guarded(work: Work, folder: Path) -> dict[str, Any]:
    """Carry out a folder; an error becomes a line, and where it is one of ours a file with the traceback."""
    from deepbio.errors import DeepBioError

    try:
        return {"result": work(folder)}
    except DeepBioError as error:
        return {"error": " ".join(str(error).split())}
    except Exception as error:  # noqa: BLE001 - the last line of defence, told as what it is
        told = f"This is an error in DeepBio itself: {type(error).__name__}: {' '.join(str(error).split())}"
        with contextlib.suppress(OSError):
            log = state_file().with_suffix(".log")
            log.write_text(traceback.format_exc(), encoding="utf-8")
            told += f" (details are in {log})"
        return {"error": told}


@contextlib.contextmanager
def _announced(state: dict[str, Any]) -> Iterator[None]:
    """Say in a file that only this user can read how the process is reached; remove it at the end if it is ours."""
    path = state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps({**state, "pid": os.getpid(), "version": _version()})
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == text:  # another process may have taken over
                path.unlink()
