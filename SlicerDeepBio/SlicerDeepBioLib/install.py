"""Install deepbio for Slicer into an environment of its own, and remove it again.

Standard library only. The parts: ``interpreters`` finds a Python that has deepbio, ``plan`` says what would
be installed, and here it is done, by other processes and without blocking. Slicer's packages are never
touched. All is made under ``~/.deepbio`` (or ``$DEEPBIO_HOME``)::

    env          the environment; it appears when it is complete and has been checked
    env.partial  while it is made
    tools, python, downloads    uv, a Python, and files on their way, where they had to be fetched
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from SlicerDeepBioLib.install_errors import InstallError, doctor_says, explain
from SlicerDeepBioLib.interpreters import (
    Found,
    Search,
    Settings,
    environment_python,
    find_python,
    home,
    host_python,
    other_environment,
)
from SlicerDeepBioLib.plan import Plan, Preparation, plan_environment, size
from SlicerDeepBioLib.process import ThreadProcess

__all__ = [
    "Found",
    "InstallError",
    "Installation",
    "Plan",
    "Preparation",
    "Removal",
    "Search",
    "Settings",
    "environment_python",
    "find_python",
    "home",
    "other_environment",
    "plan_environment",
    "remove_environment",
]

LOCK_AGE = 60.0  # seconds after which the lock of an installation that died is not heeded
_UNITS = {"B": 1e-6, "KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}
# Folders are removed by a process of their own: many thousand files take seconds, and a window must not wait.
_REMOVE = """
import os, shutil, stat, sys, time
def again(function, path, *_):
    os.chmod(path, stat.S_IWRITE)
    function(path)
for folder in sys.argv[1:]:
    for left in (4, 3, 2, 1, 0):  # a process that was ended may hold its files a moment longer
        try:
            if os.path.isdir(folder):
                shutil.rmtree(folder, onerror=again)
            break
        except OSError:
            if not left:
                raise
            time.sleep(0.5)
"""
FETCHED = ("tools", "python", "downloads")


class _Steps:
    """Run commands one after the other; subclasses say which and what comes of them."""

    def __init__(self, process, on_progress, on_done):
        self.finished = False
        self.cancelled = False
        self.error = None
        self._make_process = process
        self._process = None
        self._on_progress = on_progress or (lambda text, fraction: None)
        self._on_done = on_done or (lambda error: None)
        self._killed = []
        self._out, self._err = [], []
        self._environment = other_environment()

    def wait(self):
        """Wait for the end, for scripts; raise what went wrong."""
        while not self.finished:
            self.poll()
            time.sleep(0.01)
        if self.error is not None:
            raise self.error

    def poll(self):
        """Take what has come; to be called every now and then, also where events drive the processes."""
        if self._process is not None and not self.finished:
            self._process.poll()

    def _start(self, text, argv, then):
        """Start a command; ``then(code)`` follows its end."""
        self._out, self._err = [], []
        self._process = process = self._make_process()
        self._on_progress(text, None)

        def ended(code, reason):
            if process is self._process:  # of one that was killed we want no more
                self._process = None
                self._err += [f"{argv[0]}: {reason}"] if reason else []
                then(127 if code is None else code)

        process.start(list(argv), self._environment, None, self._out.extend, self._line, ended)
        if process.pid is not None:
            process.close_input()  # nobody is there to answer questions

    def _line(self, lines):
        self._err.extend(lines)

    def _remove(self, folders, then):
        """Remove folders in a process of their own; ``then(code)`` follows."""
        folders = [str(folder) for folder in folders if Path(folder).exists()]
        python = host_python()
        if not folders:
            then(0)
        elif python:
            self._start("Removing files", (python, "-I", "-c", _REMOVE, *folders), then)
        else:
            for folder in folders:
                shutil.rmtree(folder)
            then(0)

    def _end(self, error=None):
        if not self.finished:
            self.finished = True
            self.error = error
            self._on_done(error)


class Installation(_Steps):
    """Make the environment of a plan. Nothing is there until all is there.

    Parameters
    ----------
    plan : Plan
    process : callable, optional
        Makes a transport of ``process.py``; ``QtProcess`` in a window, by default ``ThreadProcess``.
    on_progress : callable, optional
        Called with (text, fraction of 0 to 1 or None where it is not known).
    on_done : callable, optional
        Called once with the InstallError, or None when it went well or was cancelled.

    Attributes
    ----------
    finished, cancelled : bool
    error : InstallError or None
    log : list of str
        What the commands said.

    Notes
    -----
    Cancelling ends the processes and removes all that this installation made, downloads included. After
    a failure downloads are kept, so that another try goes on from there.
    """

    def __init__(self, plan, process=None, on_progress=None, on_done=None):
        super().__init__(process or ThreadProcess, on_progress, on_done)
        self.plan = plan
        self.log = []
        self._root = plan.folder.parent
        self._partial = self._root / "env.partial"
        self._lock = self._root / "install.lock"
        self._environment = dict(plan.environment)
        self._steps = list(plan.steps)
        self._meter = _Meter(self._root, plan.disk_mb)
        self._new, self._made_root = (), False
        self._step = None
        self._in_place = False

    def start(self):
        """Begin; a plan that has a problem ends at once with it."""
        if self.plan.problem:
            self._end(InstallError(self.plan.problem))
            return
        self._new = tuple(name for name in FETCHED if not (self._root / name).exists())
        self._made_root = not self._root.exists()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            self._end(
                InstallError(
                    f"{self._root} cannot be written ({error.strerror}).",
                    "Set DEEPBIO_HOME to another folder.",
                )
            )
        except InstallError as error:
            self._end(error)
        else:
            self._remove([self._partial], lambda code: self._next())  # of one that died

    def poll(self):
        """Take what has come and tell how far it is."""
        super().poll()
        if not self.finished and self._process is not None and self._meter.due():
            if self._root.is_dir():
                self._lock.touch()
            if self._step is not None and self._step.text == "Installing":
                self._on_progress(*self._meter.reading())

    def cancel(self):
        """Stop and remove what was made; ``finished`` follows a moment later."""
        if self.finished or self.cancelled or self._in_place:
            return
        self.cancelled = True
        if self._process is not None:
            process, self._process = self._process, None
            self._killed.append(process)  # Qt wants its object to live until the process has ended
            if process.pid is None:
                process.poll(0.05)  # Qt has begun to start it but has not told its number
            process.kill_tree()
        made = [self._root / name for name in ("env.partial", *self._new)]
        self._remove(made, lambda code: self._end_clean())

    def _next(self):
        if self.cancelled:
            return
        if not self._steps:
            self._put_in_place()
            return
        self._step = self._steps.pop(0)
        self._start(self._step.text, self._step.argv, self._step_ended)

    def _line(self, lines):
        super()._line(lines)
        self.log.extend(lines)
        self._meter.read(lines)

    def _step_ended(self, code):
        if self._step.argv[-2:] == ("doctor", "--json"):
            bad = doctor_says(self._out, self._err, code)
        else:
            bad = None if code == 0 else explain(self._step, code, self._err)
        if bad is None:
            self._next()
        else:
            self._remove([self._partial], lambda _: self._end_clean(bad))

    def _put_in_place(self):
        """Let the environment appear; one that was there before goes when the new one is in its place."""
        old = self._root / "env.old"
        try:
            if self.plan.folder.exists():
                self.plan.folder.replace(old)
            self._partial.replace(self.plan.folder)
        except OSError as error:
            if old.exists() and not self.plan.folder.exists():
                old.replace(self.plan.folder)
            bad = InstallError(
                f"{self.plan.folder} cannot be replaced ({error.strerror}).",
                "Is its Python still running? Close other windows of Slicer, then try again.",
            )
            self._remove([self._partial], lambda _: self._end_clean(bad))
            return
        self._in_place = True
        self._remove([old, self._root / "downloads"], lambda _: self._end_clean())

    def _end_clean(self, error=None):
        self._lock.unlink(missing_ok=True)
        if self.cancelled and self._made_root and not any(self._root.iterdir()):
            self._root.rmdir()
        if not self.cancelled and error is None:
            self._on_progress("Ready", 1.0)
        self._end(error)

    def _take_lock(self):
        """Refuse while another Slicer installs; its lock is touched as long as it lives."""
        try:
            if time.time() - self._lock.stat().st_mtime < LOCK_AGE:
                raise InstallError(
                    f"Another installation is at work in {self._root}.",
                    f"Wait for it; or, if Slicer was closed in it, try again in {LOCK_AGE:.0f} s.",
                )
        except FileNotFoundError:
            pass  # as it should be
        self._lock.write_text(str(os.getpid()), encoding="utf-8")


class Removal(_Steps):
    """Remove the environment and all that was fetched for it; models of the user stay.

    Parameters
    ----------
    root : Path, optional
        By default :func:`~SlicerDeepBioLib.interpreters.home`.
    process, on_progress, on_done
        As in :class:`Installation`.
    """

    def __init__(self, root=None, process=None, on_progress=None, on_done=None):
        super().__init__(process or ThreadProcess, on_progress, on_done)
        self._root = Path(root) if root else home()

        self._folders = [self._root / name for name in ("env", "env.partial", "env.old", *FETCHED)]

    def start(self):
        """Begin."""
        self._remove(self._folders, self._removed)

    def _removed(self, code):
        left = [str(folder) for folder in self._folders if folder.exists()]
        if not left:
            self._end()
            return
        why = self._err[-1] if self._err else f"exit code {code}"
        self._end(
            InstallError(
                f"{', '.join(left)} could not be removed ({why}).",
                "Is its Python still running? Close other windows of Slicer, then try again.",
            )
        )


def remove_environment(root=None):
    """Remove the environment and wait for it; see :class:`Removal`."""
    removal = Removal(root)
    removal.start()
    removal.wait()


class _Meter:
    """How far an installation is, from what uv announces and from what has been written to the disk."""

    def __init__(self, root, expected_mb):
        self._root = root
        self._expected = max(1, expected_mb)
        self._there = next(parent for parent in (root, *root.parents) if parent.exists())
        self._free = self._free_mb()
        self._announced, self._come = {}, set()
        self._fraction = 0.0
        self._next = 0.0

    def due(self):
        """Whether a second has passed since the last time."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + 1.0
        return True

    def read(self, lines):
        """Note the downloads that uv tells of: "Downloading torch (190.2MiB)", then " Downloaded torch"."""
        for line in lines:
            begun = re.match(r"\s*Downloading (\S+) \(([\d.]+)\s*(B|KiB|MiB|GiB)\)", line)
            ended = re.match(r"\s*Downloaded (\S+)", line)
            if begun:
                self._announced[begun.group(1)] = float(begun.group(2)) * _UNITS[begun.group(3)]
            elif ended:
                self._come.add(ended.group(1))

    def reading(self):
        """(text, fraction); the fraction never falls."""
        written = max(0.0, self._free - self._free_mb())  # of all programs: rough, but free to ask for
        self._fraction = max(self._fraction, min(0.95, written / self._expected))
        open_ones = [name for name in self._announced if name not in self._come]
        if not self._announced and self._fraction < 0.05:
            return "Installing: finding out what is needed", self._fraction
        text = f"Installing, {size(min(written, self._expected))} of about {size(self._expected)}"
        open_ones = [name for name in self._announced if name not in self._come]
        if open_ones:
            largest = max(open_ones, key=self._announced.get)
            more = f" and {len(open_ones) - 1} more" if len(open_ones) > 1 else ""
            text += f": downloading {largest} ({self._announced[largest]:.0f} MB){more}"
        return text, self._fraction

    def _free_mb(self):
        return shutil.disk_usage(self._there).free / 2**20
