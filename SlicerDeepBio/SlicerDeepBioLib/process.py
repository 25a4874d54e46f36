"""Processes whose output comes as lines: with threads, or with the event loop of Qt.

Both have one interface. ``start(argv, env, cwd, on_lines, on_error_lines, on_exit)`` returns at once;
what happens afterwards is told by the callbacks, on the thread of the caller: ``on_lines`` and
``on_error_lines`` get a list of texts, ``on_exit(code, reason)`` comes last and once. ``code`` is as in
`subprocess`, negative for a signal, and None with a `reason` when the process could not be started.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Callable

__all__ = ["QtProcess", "ThreadProcess", "clean_environment"]

OnLines = Callable[[list], None]
OnExit = Callable[[Any, str], None]

_HOST_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
_HOST_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "QT_PLUGIN_PATH")
_LATE = 0.5  # seconds that output may still come after the process has ended


def clean_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for another Python than the one that runs this.

    Parameters
    ----------
    environment : dict, optional
        Where to start from: in 3D Slicer ``slicer.util.startupEnvironment()``; by default that of this
        process.

    Returns
    -------
    dict
        Without what belongs to the Python of the host and, in 3D Slicer, to its libraries.
    """
    cleaned = dict(os.environ if environment is None else environment)
    drop = list(_HOST_PYTHON)
    if environment is None and "SLICER_HOME" in cleaned:
        drop += _HOST_LIBRARIES
    for name in drop:
        cleaned.pop(name, None)
    cleaned["PYTHONNOUSERSITE"] = "1"  # packages for another Python of the user's
    cleaned["PYTHONSAFEPATH"] = "1"  # no package of the working folder
    return cleaned


def kill_tree(pid: int) -> None:
    """End a process and all that it has started, at once.

    A worker leads a group of its own; another process, or one that has just begun, is ended alone.
    """
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/PID", str(pid), "/T", "/F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,  # it may have ended meanwhile
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended meanwhile
        return


def _kill_orphans(pid: int) -> None:
    """End what a process that was ended itself has left running in the group that it led."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # there is no such group
            os.killpg(pid, signal.SIGKILL)


class ThreadProcess:
    """A process whose output is read by threads and delivered by :meth:`poll`; for use without Qt."""

    def __init__(self) -> None:
        self._process = None
        self._events = queue.Queue()
        self._callbacks = {}
        self._writing = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the process runs, or its end has not been told yet."""
        return "exit" in self._callbacks

    @property
    def pid(self) -> int | None:
        """Number of the process; None before it runs."""
        return None if self._process is None else self._process.pid

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | None,
        on_lines: OnLines,
        on_error_lines: OnLines,
        on_exit: OnExit,
    ) -> None:
        """Start the process; see the module for the callbacks."""
        self._callbacks = {"out": on_lines, "error": on_error_lines, "exit": on_exit}
        flags = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
        try:
            self._process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                cwd=cwd,
                **flags,
            )
        except (OSError, ValueError) as error:
            self._events.put(("exit", (None, str(error))))
            return
        readers = [
            threading.Thread(target=self._read, args=(kind, stream), daemon=True)
            for kind, stream in (("out", self._process.stdout), ("error", self._process.stderr))
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._await, args=(self._process, readers), daemon=True).start()

    def write(self, text: str) -> None:
        """Send text to the process; what one that has ended cannot take is dropped, `on_exit` tells."""
        if self._process is None:
            return
        with self._writing:
            try:
                self._process.stdin.write(text.encode("utf-8"))
                self._process.stdin.flush()
            except (OSError, ValueError):
                return

    def close_input(self) -> None:
        """Close the stdin of the process: a worker then ends by itself."""
        if self._process is None:
            return
        with self._writing:
            try:
                self._process.stdin.close()
            except OSError:  # what was left to write cannot be written any more
                return

    def poll(self, timeout: float = 0.0) -> None:
        """Deliver what has happened; waits up to `timeout` seconds for the first event."""
        while True:
            try:
                kind, content = self._events.get(timeout=timeout) if timeout else self._events.get_nowait()
            except queue.Empty:
                return
            timeout = 0.0
            callback = self._callbacks.get(kind)
            if kind == "exit":
                self._callbacks = {}
                callback(*content)
            elif callback is not None:
                callback([content])

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Nothing: whoever uses this class polls."""

    def kill_tree(self) -> None:
        """End the process and all that it has started."""
        if self._process is not None and self._process.poll() is None:
            kill_tree(self._process.pid)

    def _read(self, kind: str, stream: Any) -> None:
        with stream:
            for line in stream:
                self._events.put((kind, line.decode("utf-8", "replace").rstrip("\r\n")))

    def _await(self, process: subprocess.Popen, readers: list[threading.Thread]) -> None:
        code = process.wait()
        if code:
            _kill_orphans(process.pid)
        self.close_input()
        deadline = time.monotonic() + _LATE
        for reader in readers:  # a child of the process may keep its streams open
            reader.join(max(0.0, deadline - time.monotonic()))
        self._events.put(("exit", (code, "")))


class _Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._parts = []

    def feed(self, data: bytes) -> list[str]:
        """Lines that are complete now."""
        head, *rest = data.split(b"\n")
        self._parts.append(head)
        if not rest:
            return []
        whole = [b"".join(self._parts), *rest[:-1]]
        self._parts = [rest[-1]]
        return [line.decode("utf-8", "replace").rstrip("\r") for line in whole]

    def rest(self) -> list[str]:
        """What comes after the last line end."""
        left, self._parts = b"".join(self._parts), []
        return [left.decode("utf-8", "replace")] if left else []


class QtProcess:
    """A process that the event loop of Qt serves.

    Python threads get no time while 3D Slicer waits for events, so output that threads read would come
    in jerks; a QProcess wakes the event loop. Only what PythonQt and PySide have in common is used:
    signals without overloads, no enums as arguments.
    """

    def __init__(self) -> None:
        self._process = None
        self._callbacks = {}
        self._started = False
        self._pid = None
        self._lines = {"out": _Lines(), "error": _Lines()}

    @property
    def running(self) -> bool:
        """Whether the process runs, or its end has not been told yet."""
        return "exit" in self._callbacks

    @property
    def pid(self) -> int | None:
        """Number of the process; None before it runs."""
        return self._pid

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | None,
        on_lines: OnLines,
        on_error_lines: OnLines,
        on_exit: OnExit,
    ) -> None:
        """Start the process; see the module for the callbacks."""
        import qt

        self._callbacks = {"out": on_lines, "error": on_error_lines, "exit": on_exit}
        process = self._process = qt.QProcess()
        environment = qt.QProcessEnvironment()
        for name, value in (os.environ if env is None else env).items():
            environment.insert(str(name), str(value))
        process.setProcessEnvironment(environment)
        if cwd:
            process.setWorkingDirectory(str(cwd))
        process.started.connect(self._on_started)
        process.readyReadStandardOutput.connect(self._on_output)
        process.readyReadStandardError.connect(self._on_error_output)
        process.errorOccurred.connect(self._on_trouble)
        process.stateChanged.connect(self._on_state)
        process.start(str(argv[0]), [str(word) for word in argv[1:]])

    def write(self, text: str) -> None:
        """Send text to the process; what one that has ended cannot take is dropped, `on_exit` tells."""
        import qt

        if self.running:
            self._process.write(qt.QByteArray(text.encode("utf-8")))

    def close_input(self) -> None:
        """Close the stdin of the process: a worker then ends by itself."""
        if self.running:
            self._process.closeWriteChannel()

    def poll(self, timeout: float = 0.0) -> None:
        """Wait up to `timeout` seconds for output or the end; without it do nothing: signals come."""
        if timeout and self.running:
            self._process.waitForFinished(max(1, int(timeout * 1000)))

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back from the event loop."""
        import qt

        qt.QTimer.singleShot(int(seconds * 1000), callback)

    def kill_tree(self) -> None:
        """End the process and all that it has started."""
        if self.running and self._pid:
            kill_tree(self._pid)

    def _on_started(self) -> None:
        self._started = True
        self._pid = int(self._process.processId())

    def _on_output(self) -> None:
        self._deliver("out", self._lines["out"].feed(_bytes(self._process.readAllStandardOutput())))

    def _on_error_output(self) -> None:
        self._deliver("error", self._lines["error"].feed(_bytes(self._process.readAllStandardError())))

    def _on_trouble(self, *error: object) -> None:
        if not self._started:
            reason = str(self._process.errorString())
            self.later(0.0, lambda: self._end(None, reason))  # on Windows we are still within start()

    def _on_state(self, *state: object) -> None:
        import qt

        if self._started and self._process.state() == qt.QProcess.NotRunning:
            self._on_output()
            self._on_error_output()
            crashed = self._process.exitStatus() == qt.QProcess.CrashExit
            code = int(self._process.exitCode())
            if crashed or code:
                _kill_orphans(self._pid)
            self._end(-code if crashed and os.name == "posix" else code, "")

    def _deliver(self, kind: str, lines: list[str]) -> None:
        callback = self._callbacks.get(kind)
        if lines and callback is not None:
            callback(lines)

    def _end(self, code: int | None, reason: str) -> None:
        for kind, lines in self._lines.items():
            self._deliver(kind, lines.rest())
        on_exit = self._callbacks.pop("exit", None)
        self._callbacks = {}
        self.later(0.0, self._let_go)  # not within a signal of the process itself
        if on_exit is not None:
            on_exit(code, reason)

    def _let_go(self) -> None:
        self._process = None


def _bytes(data: Any) -> bytes:
    """Bytes of a QByteArray, whose data() PythonQt and PySide give as different types."""
    data = data.data() if hasattr(data, "data") else data
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)
