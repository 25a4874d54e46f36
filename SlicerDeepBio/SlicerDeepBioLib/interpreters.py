"""Which Python has deepbio: the user's choice, ~/.deepbio/env, or Slicer's own; each is really asked.

Standard library only. Nothing blocks: :class:`Search` is advanced by the processes' events and by its
``poll``; :func:`find_python` waits for one, for scripts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from SlicerDeepBioLib.process import ThreadProcess, clean_environment

__all__ = [
    "PROBE",
    "Found",
    "Question",
    "Search",
    "Settings",
    "environment_python",
    "find_python",
    "home",
    "host_python",
    "other_environment",
]

LIMIT = 20.0  # seconds that a Python may take to answer
RUNTIMES = ("torch", "openvino", "onnxruntime")
OURS = "deepbio-imaging"

# Runs in whatever Python the user named, so in the syntax of all of them; one line of JSON at the end.
PROBE = """
import json, sys
told = {"python": "%d.%d.%d" % sys.version_info[:3], "deepbio": "", "worker": False, "runtimes": [], "why": ""}
try:
    from importlib.util import find_spec
    import deepbio
    told["deepbio"] = str(getattr(deepbio, "__version__", "?"))
    told["where"] = str(getattr(deepbio, "__file__", ""))
    told["worker"] = find_spec("deepbio.worker") is not None
    told["appose"] = find_spec("appose") is not None
    told["runtimes"] = [name for name in ("torch", "openvino", "onnxruntime") if find_spec(name)]
except Exception as error:
    told["why"] = "%s: %s" % (type(error).__name__, error)
sys.stdout.write("\\n" + json.dumps(told) + "\\n")
"""


def home():
    """Folder of everything that is installed for a user: ``$DEEPBIO_HOME``, or ``~/.deepbio``."""
    named = os.environ.get("DEEPBIO_HOME")
    return Path(named).expanduser() if named else Path.home() / ".deepbio"


@dataclass(frozen=True)
class Settings:
    """What a user may set about the Python that computes; empty means: decide for me.

    Attributes
    ----------
    python : str
        Python to use as it is; nothing is ever installed into it.
    wheels : str
        Folder with wheels to install from, without any network.
    index : str
        Address of a package index to use in the place of the public one.
    proxy : str
        ``http://host:port``; by default that of the environment or of the system.
    torch : str
        Build of PyTorch: "auto", "none", "cpu" or such as "cu126".
    base : str
        Python that the environment is made from: a path or a version; by default any of 3.11 to 3.13
        that uv finds or, where it finds none, fetches.
    """

    python: str = ""
    wheels: str = ""
    index: str = ""
    proxy: str = ""
    torch: str = "auto"
    base: str = ""
    root: Path = field(default_factory=home)


@dataclass(frozen=True)
class Found:
    """A Python that can compute.

    Attributes
    ----------
    path : str
        Of the interpreter.
    version : str
        Of deepbio in it.
    why : str
        Why it was chosen, for people.
    python : str
        Version of the interpreter.
    runtimes : tuple of str
        Which of torch, openvino and onnxruntime it has.
    """

    path: str
    version: str
    why: str
    python: str = ""
    runtimes: tuple = ()


def environment_python(folder):
    """Interpreter of a virtual environment."""
    folder = Path(folder)
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def host_python():
    """Interpreter of the program that we run in: Slicer's `PythonSlicer`, else Python itself; "" if unknown.

    In Slicer ``sys.executable`` may be Slicer itself, which would open a second window.
    """
    slicer_python = shutil.which("PythonSlicer")
    if slicer_python:
        return slicer_python
    name = Path(sys.executable or "").name.lower()
    return sys.executable if name.startswith(("python", "pypy")) else ""


def other_environment():
    """Environment for a Python that is not Slicer's: as it was before Slicer's launcher changed it.

    The launcher keeps what it found as ``APPLAUNCHER_0_NAME``. It is what
    ``slicer.util.startupEnvironment()`` gives, also where there is no application (the scripted
    command-line module).
    """
    saved = "APPLAUNCHER_0_"
    before = {name[len(saved) :]: value for name, value in os.environ.items() if name.startswith(saved)}
    if not before:
        return clean_environment()
    ours = {name: value for name, value in os.environ.items() if name.startswith("DEEPBIO_")}
    return clean_environment({**before, **ours})


class Question:
    """One short command and what it printed, without waiting for it.

    Parameters
    ----------
    argv : sequence of str
        The command.
    on_answer : callable
        Called once with (text of stdout, "") or, where it failed, ("", reason).
    process : callable
        Makes a transport of ``process.py``.
    environment : mapping, optional
        By default :func:`other_environment`.
    """

    def __init__(self, argv, on_answer, process, environment=None, limit=LIMIT):
        self.argv = [str(word) for word in argv]
        self.finished = False
        self._on_answer = on_answer
        self._process = process()
        self._environment = other_environment() if environment is None else dict(environment)
        self._limit = limit
        self._until = 0.0
        self._out, self._err = [], []

    def start(self):
        """Start the command; one that cannot be started answers with the reason."""
        self._until = time.monotonic() + self._limit
        self._process.start(
            self.argv, self._environment, None, self._out.extend, self._err.extend, self._exited
        )
        if self._process.pid is not None:
            self._process.close_input()

    def poll(self):
        """Take what has come; to be called every now and then."""
        if self.finished:
            return
        self._process.poll()
        if not self.finished and time.monotonic() > self._until:
            self._process.kill_tree()
            self._answer("", f"it gave no answer in {self._limit:g} s")

    def cancel(self):
        """End the command; there will be no answer."""
        if not self.finished:
            self.finished = True
            self._process.kill_tree()

    def _exited(self, code, reason):
        last = next((line.strip() for line in reversed(self._err) if line.strip()), "")
        if code is None:
            self._answer("", f"it cannot be started ({reason})")
        elif code == 0:
            self._answer("\n".join(self._out), "")
        else:
            self._answer("", last or f"it ended with exit code {code}")

    def _answer(self, text, why):
        if not self.finished:
            self.finished = True
            self._on_answer(text, why)


class Search:
    """Ask one Python after the other until one has deepbio, its worker and something to compute with.

    Parameters
    ----------
    settings : Settings
    process : callable
        Makes a transport of ``process.py``.
    on_done : callable
        Called once with (:class:`Found` or None, list of str: what was tried and why it was not taken).
    """

    def __init__(self, settings, process, on_done):
        self.finished = False
        self.tried = []
        self._process = process
        self._on_done = on_done
        self._candidates = _candidates(settings)
        self._question = None

    def start(self):
        """Ask the first."""
        self._next()

    def poll(self):
        """Take what has come; to be called every now and then."""
        if self._question is not None:
            self._question.poll()

    def cancel(self):
        """End the search; ``on_done`` is not called."""
        self.finished = True
        if self._question is not None:
            self._question.cancel()

    def _next(self):
        while self._candidates:
            path, why = self._candidates.pop(0)
            if not path or not Path(path).exists():
                self.tried.append(f"{why}: {path or 'it'} does not exist.")
                continue
            self._question = Question(
                [path, "-I", "-c", PROBE],
                partial(self._answered, path, why),
                self._process,
            )
            self._question.start()
            return
        self._done(None)

    def _answered(self, path, why, text, bad):
        verdict = bad and f"{why}: {path} is no Python that works: {bad}."
        verdict = verdict or _judge(path, why, text)
        if isinstance(verdict, Found):
            self._done(verdict)
        else:
            self.tried.append(verdict)
            self._next()

    def _done(self, found):
        if not self.finished:
            self.finished = True
            self._on_done(found, list(self.tried))


def find_python(settings=None, tried=None, process=None):
    """Find the Python that computes, and wait for the answer.

    Parameters
    ----------
    settings : Settings, optional
    tried : list, optional
        Gets a sentence about each Python that was asked and not taken.

    Returns
    -------
    Found or None
    """
    answer = []
    search = Search(settings or Settings(), process or ThreadProcess, lambda *got: answer.extend(got))
    search.start()
    while not search.finished:
        search.poll()
        time.sleep(0.005)
    found, told = answer
    if tried is not None:
        tried.extend(told)
    return found


def _candidates(settings):
    """(path, what it is) of the Pythons to ask, the first that fits is taken."""
    if settings.python:  # who names one means this one, and wants to hear when it does not work
        return [(str(Path(settings.python).expanduser()), "The Python that you chose")]
    ours = environment_python(Path(settings.root) / "env")
    return [
        (str(ours), "The environment that was installed for DeepBio"),
        (host_python(), "Slicer's own Python"),
    ]


def _judge(path, why, text):
    """Return Found, or a sentence that says what is missing."""
    try:
        told = json.loads(text.strip().splitlines()[-1])
        version, runtimes = told["deepbio"], tuple(told["runtimes"])
    except (ValueError, IndexError, KeyError, TypeError):
        return f"{why}: {path} did not answer as a Python does, but with {text.strip()[-80:]!r}."
    python = told.get("python", "")
    if not version:
        return f"{why} ({path}, Python {python}) has no deepbio ({told.get('why') or 'not installed'})."
    if not told.get("worker"):
        return (
            f"{why} ({path}) has a deepbio without a worker, {version} in {told.get('where', '?')}: it is too old, "
            f"or the other project of this name; this one is '{OURS}'."
        )
    if not told.get("appose"):
        return (
            f'{why} ({path}) lacks the package appose. Install it there with: pip install "{OURS}[slicer]".'
        )
    if not runtimes:
        return f"{why} ({path}) has none of {', '.join(RUNTIMES)} to compute with."
    return Found(path, version, f"{why}: deepbio {version} in Python {python}", python, runtimes)
