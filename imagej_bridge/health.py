"""What the bridge finds on this machine: Java, JPype, pyimagej, Fiji."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from deepbio.doctor import Finding
from deepbio.errors import DeepBioError
from imagej_bridge.hosts import find_host, has_screen

__all__ = ["examine"]

_TOPIC = "Fiji"
_PACKAGES = {  # module -> distribution, and what it is for
    "jpype": ("jpype1", "Java in this process"),
    "roifile": ("roifile", "ROI files"),
    "imagej": ("pyimagej", "Fiji in this process"),
}


def examine(fiji: str | None = None, ij_jar: Path | None = None) -> list[Finding]:
    """Look at what the bridge needs, in the order in which it needs it.

    Nothing is started but ``java -version``.
    """
    return [_java(), *_packages(), _host(fiji, ij_jar), _screen()]


def _java() -> Finding:
    home = os.environ.get("JAVA_HOME", "")
    command = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    command = command or shutil.which("java")
    if command is None:
        return Finding(
            _TOPIC, "Java", "not found", "error", "Install Java 11 or newer (Debian: openjdk-17-jre)."
        )
    try:
        told = subprocess.run([command, "-version"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(_TOPIC, "Java", f"{command} does not run: {error}", "error", "Install Java again.")
    lines = (told.stderr or told.stdout).splitlines()
    return Finding(_TOPIC, "Java", f"{lines[0] if lines else '?'} ({command})")


def _packages() -> list[Finding]:
    found = []
    for module, (name, purpose) in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            status = "error" if module == "jpype" else "missing"
            hint = 'Install it with: pip install "deepbio-imaging[fiji]"'
            found.append(Finding(_TOPIC, name, f"not installed ({purpose})", status, hint))
        else:
            found.append(Finding(_TOPIC, name, metadata.version(name)))
    return found


def _host(fiji: str | None, ij_jar: Path | None) -> Finding:
    try:
        kind, place = find_host(fiji, ij_jar)
    except DeepBioError as error:
        return Finding(_TOPIC, "ImageJ", error.message, "error", error.hint)
    return Finding(_TOPIC, "Fiji" if kind == "fiji" else "ImageJ", place)


def _screen() -> Finding:
    if has_screen():
        return Finding(_TOPIC, "screen", "there is one")
    hint = "Macros run without windows; for those that need some, start them with xvfb-run."
    return Finding(_TOPIC, "screen", "none", "missing", hint)
