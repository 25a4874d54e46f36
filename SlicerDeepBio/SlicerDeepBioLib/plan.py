"""What would be installed for deepbio, where, and how large: said before anything is done.

Standard library only. :func:`plan_environment` makes a :class:`Plan` from the settings and from what
`nvidia-smi` says; :class:`Preparation` does the same without blocking, after looking for a Python.
"""

from __future__ import annotations

import os
import shutil
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from SlicerDeepBioLib.interpreters import (
    OURS,
    Question,
    Search,
    Settings,
    environment_python,
    host_python,
    other_environment,
)
from SlicerDeepBioLib.torch_build import GPU_QUERY, ask_gpus, parse_gpus, torch_build

__all__ = ["Plan", "Preparation", "Step", "find_uv", "plan_environment", "proxies", "size"]

PYTHONS = ">=3.11,<3.14"  # what deepbio runs on

# MB to download and on the disk: measured on Linux (x86-64, Python 3.11, November 2026), those of CUDA estimated.
SIZES = {"none": (230, 900), "cpu": (430, 1650), "cuda": (3000, 7000)}


@dataclass(frozen=True)
class Step:
    """One command of an installation and what people read while it runs."""

    text: str
    argv: tuple


@dataclass(frozen=True)
class Plan:
    """What will be installed; nothing has been done yet.

    Attributes
    ----------
    folder : Path
        The environment.
    what : tuple of str
        Packages as pip names them.
    torch : str
        "none", "cpu" or such as "cu126".
    why_torch : str
        Why this build.
    source : str
        Where the packages come from, for people.
    download_mb, disk_mb : int
        Estimated sizes in MB.
    steps : tuple of Step
        The commands, in order.
    environment : dict
        Environment variables of the commands.
    problem : str
        Why it cannot be done; empty if it can.
    """

    folder: Path
    what: tuple
    torch: str
    why_torch: str
    source: str
    download_mb: int
    disk_mb: int
    steps: tuple
    environment: dict = field(repr=False, default_factory=dict)
    problem: str = ""

    @property
    def text(self):
        """What a person is asked to agree to."""
        torch = {"none": "without PyTorch", "cpu": "with PyTorch for the CPU"}.get(
            self.torch, f"with PyTorch for NVIDIA GPUs ({self.torch})"
        )
        download = (
            "nothing to download" if not self.download_mb else f"about {size(self.download_mb)} to download"
        )
        return (
            f"DeepBio and what it needs, {torch}: {self.why_torch}.\n"
            f"Where: {self.folder}, a Python environment of its own; Slicer's packages are not touched.\n"
            f"How large: {download}, about {size(self.disk_mb)} on the disk (estimated).\n"
            f"From: {self.source}."
        )


class Preparation:
    """Look for a Python that has deepbio and, where there is none, plan an environment; without blocking.

    Parameters
    ----------
    settings : Settings
    process : callable
        Makes a transport of ``process.py``.
    on_done : callable
        Called once with (Found or None, list of str: what was tried, Plan or None). There is a plan
        when no Python was found.
    """

    def __init__(self, settings, process, on_done):
        self.finished = False
        self._settings = settings
        self._process = process
        self._on_done = on_done
        self._tried = []
        self._at_work = Search(settings, process, self._searched)

    def start(self):
        """Begin."""
        self._at_work.start()

    def poll(self):
        """Take what has come; to be called every now and then."""
        self._at_work.poll()

    def cancel(self):
        """End; ``on_done`` is not called."""
        self.finished = True
        self._at_work.cancel()

    def _searched(self, found, tried):
        self._tried = tried
        if found is not None:
            self._done(found, None)
            return
        self._at_work = Question(GPU_QUERY, self._asked, self._process)
        self._at_work.start()

    def _asked(self, text, why):
        self._done(None, plan_environment(self._settings, parse_gpus(text)))

    def _done(self, found, plan):
        if not self.finished:
            self.finished = True
            self._on_done(found, self._tried, plan)


def plan_environment(settings=None, gpus=None):
    """Plan the environment of deepbio.

    Parameters
    ----------
    settings : Settings, optional
    gpus : sequence of Gpu, optional
        By default `nvidia-smi` is asked, for at most 10 s.

    Returns
    -------
    Plan
        With ``problem`` where it cannot be done as it is.
    """
    settings = settings or Settings()
    root = Path(settings.root)
    build, why = torch_build(ask_gpus() if gpus is None else gpus, settings.torch)
    wheels = Path(settings.wheels).expanduser() if settings.wheels else None
    checkout = None if wheels else _checkout()
    if wheels is not None:
        build, why = _build_in(wheels, build, why)
    extras = ["slicer", *(["torch"] if build != "none" else [])]
    if build in ("none", "cpu") and (wheels is None or _has(wheels, "openvino")):
        extras.append("openvino")
    wanted = f"{OURS}[{','.join(extras)}]" + (f" @ {checkout.as_uri()}" if checkout else "")
    download, disk = SIZES["cuda" if build.startswith("cu") else build]
    return Plan(
        folder=root / "env",
        what=(wanted,),
        torch=build,
        why_torch=why,
        source=_source(wheels, checkout, settings.index),
        download_mb=0 if wheels else download,
        disk_mb=disk,
        steps=_steps(settings, wanted, build),
        environment=_environment(settings),
        problem=_problem(root, wheels, disk),
    )


def find_uv(root):
    """Path of the `uv` to use: ours, or one on the PATH; "" if there is none."""
    suffix = ".exe" if os.name == "nt" else ""
    for folder in (Path(root) / "bin", Path(root) / "tools" / "bin", Path(root) / "tools" / "Scripts"):
        if (folder / f"uv{suffix}").is_file():
            return str(folder / f"uv{suffix}")
    return shutil.which("uv", path=other_environment().get("PATH")) or ""


def proxies(settings, environment):
    """Proxy variables for the tools: the user's setting, the environment's, or the system's."""
    if settings.proxy:
        told = {"http_proxy": settings.proxy, "https_proxy": settings.proxy}
    else:  # the registry on Windows, the network settings on a Mac, as Slicer's own connections use them
        found = urllib.request.getproxies()
        told = {f"{kind}_proxy": found[kind] for kind in ("http", "https", "all", "no") if found.get(kind)}
        told.update({k.lower(): v for k, v in environment.items() if k.lower() in _PROXY_NAMES and v})
    return {name: value for low, value in told.items() for name in (low, low.upper())}


_PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def _checkout():
    """The source tree that this file lies in, or None in an installed extension."""
    root = Path(__file__).resolve().parents[2]
    project = root / "pyproject.toml"
    try:
        ours = f'name = "{OURS}"' in project.read_text(encoding="utf-8")
    except OSError:
        return None
    return root if ours and (root / "core" / "deepbio").is_dir() else None


def _has(wheels, package):
    return any(wheels.glob(f"{package}-*.whl"))


def _build_in(wheels, build, why):
    """Build of PyTorch that a folder of wheels allows."""
    if not _has(wheels, "torch"):
        return "none", f"there is no torch-*.whl in {wheels}"
    return ("cpu", f"as in {wheels}") if build == "none" else (build, f"as in {wheels}; {why}")


def _source(wheels, checkout, index):
    if wheels is not None:
        return f"the folder {wheels}, without any network"
    where = index or "the Python package index (pypi.org)"
    return f"{checkout} (this source tree); what it needs from {where}" if checkout else where


def _steps(settings, wanted, build):
    root = Path(settings.root)
    partial = root / "env.partial"
    uv = find_uv(root)
    steps = []
    if not uv:
        tools = root / "tools"
        get = [
            host_python(),
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
            "--upgrade",
        ]
        get += ["--target", str(tools), *_pip_source(settings), "uv"]
        steps.append(Step("Getting uv, which installs the rest", tuple(get)))
        uv = str(tools / "bin" / ("uv.exe" if os.name == "nt" else "uv"))
    make = [uv, "venv", "--no-progress", "--relocatable", "--python", settings.base or PYTHONS]
    make += ["--no-python-downloads"] if settings.wheels else []
    steps.append(Step("Making the environment", (*make, str(partial))))
    python = str(environment_python(partial))
    install = [uv, "pip", "install", "--python", python]
    if settings.wheels:
        install += ["--offline", "--no-index", "--find-links", str(Path(settings.wheels).expanduser())]
    else:
        install += ["--default-index", settings.index] if settings.index else []
        # PyPI has one build of torch for each system; the others are on PyTorch's own index
        install += ["--torch-backend", build] if build != "none" and sys.platform != "darwin" else []
    steps.append(Step("Installing", (*install, wanted)))
    steps.append(Step("Checking that it works", (python, "-I", "-m", "deepbio", "doctor", "--json")))
    return tuple(steps)


def _pip_source(settings):
    if settings.wheels:
        return ["--no-index", "--find-links", str(Path(settings.wheels).expanduser())]
    return ["--index-url", settings.index] if settings.index else []


def _environment(settings):
    environment = other_environment()
    environment.update(proxies(settings, environment))
    root = Path(settings.root)
    environment["UV_CACHE_DIR"] = str(
        root / "downloads"
    )  # beside the environment: files are linked, not copied
    environment["UV_PYTHON_INSTALL_DIR"] = str(root / "python")
    environment["PYTHONUTF8"] = "1"
    environment.pop("VIRTUAL_ENV", None)  # uv would make the environment from it
    if sys.platform in ("win32", "darwin"):  # proxies that inspect traffic have their certificates there
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    return environment


def _problem(root, wheels, disk):
    if wheels is not None and not wheels.is_dir():
        return f"There is no folder {wheels}. Choose the folder that holds the wheels."
    if wheels is not None and not _has(wheels, OURS.replace("-", "_")):
        return (
            f"There is no {OURS.replace('-', '_')}-*.whl in {wheels}. Put it there, with all that it needs."
        )
    if not host_python() and not find_uv(root):
        return (
            "Neither uv nor Slicer's Python was found. Install uv (https://docs.astral.sh/uv) and try again."
        )
    there = next(parent for parent in (root, *root.parents) if parent.exists())
    free = shutil.disk_usage(there).free // 2**20
    if free < disk:
        return f"{there} has {size(free)} free; about {size(disk)} are needed. Free some space."
    if not os.access(there, os.W_OK):
        return f"{there} cannot be written. Set DEEPBIO_HOME to a folder that you may write to."
    return ""


def size(mb):
    """A size in MB, for people."""
    return f"{mb / 1000:.1f} GB" if mb >= 1000 else f"{mb:.0f} MB"
