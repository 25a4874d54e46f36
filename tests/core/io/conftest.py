"""The real ImageJ, without a window.

Needs ImageJ's ``ij.jar`` and a JDK: on Debian ``apt-get install libij-java openjdk-17-jdk-headless``,
elsewhere name the jar in ``DEEPBIO_IJ_JAR``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "imagej" / "Probe.java"
JAR = Path(os.environ.get("DEEPBIO_IJ_JAR", "/usr/share/java/ij.jar"))


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run Probe.java with some arguments; gives what it prints."""
    if not JAR.exists():
        pytest.skip(f"ImageJ is not installed: there is no {JAR} (set DEEPBIO_IJ_JAR)")
    if not shutil.which("javac"):
        pytest.skip("a JDK is not installed: there is no javac")
    classes = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-cp", str(JAR), "-d", str(classes), str(PROBE)], check=True, timeout=120)

    def run(*arguments: object) -> str:
        path = os.pathsep.join([str(JAR), str(classes)])
        command = [
            "java",
            "-Djava.awt.headless=true",
            "-Dfile.encoding=UTF-8",
            "-cp",
            path,
            "Probe",
            *map(str, arguments),
        ]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8")

    return run
