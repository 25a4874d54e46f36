"""What the tests of the bridge need, and whether it is there."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

JAR = Path(os.environ.get("DEEPBIO_IJ_JAR", "/usr/share/java/ij.jar"))


def missing() -> str:
    """What is not installed, or nothing."""
    if not JAR.exists():
        return f"ImageJ is not installed: there is no {JAR} (set DEEPBIO_IJ_JAR)"
    for name, module in (("JPype", "jpype"), ("roifile", "roifile")):
        if importlib.util.find_spec(module) is None:
            return f"{name} is not installed"
    for name, command in (("Java", "java"), ("Xvfb", "Xvfb")):
        if not shutil.which(command):
            return f"{name} is not installed: there is no command {command}"
    return ""
