"""The bridge on the real ImageJ, with windows on a screen of its own (Xvfb), in a process of its own (apart.py).

Needs ImageJ's ``ij.jar``, Java, Xvfb and JPype: on Debian ``apt-get install libij-java openjdk-17-jre xvfb`` and
``pip install "deepbio-imaging[fiji]"``; elsewhere name the jar in ``DEEPBIO_IJ_JAR``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.imagej.apart import PIPE, Apart, Reporter
from tests.imagej.hosts import JAR, missing
from tests.imagej.plain import plain_home, plain_screen, run_plain  # noqa: F401 - fixtures of several files

if TYPE_CHECKING:
    from imagej_bridge import Session


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    if config.pluginmanager.has_plugin("imagej-apart") or config.option.collectonly:
        return
    if PIPE in os.environ:
        config.pluginmanager.register(Reporter(config), "imagej-apart")
    elif not missing():
        folder = config._tmp_path_factory.mktemp("imagej")  # type: ignore[attr-defined]
        config.pluginmanager.register(Apart(config, "session", folder), "imagej-apart")


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """A screen that nobody sees: the value for DISPLAY."""
    reading, writing = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-noreset",
        "-screen",
        "0",
        "1280x1024x24",
        "-nolisten",
        "tcp",
    ]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    assert number, f"Xvfb did not start: {server.poll()}"
    yield f":{number}"
    if PIPE in os.environ:
        server.returncode = 0  # ends with this process: Java would end that at once, before its last report
    else:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def _one_session(request: pytest.FixtureRequest) -> Iterator[Session]:
    if missing():
        pytest.skip(missing())
    from imagej_bridge import start

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", request.getfixturevalue("screen"))
        patch.delenv("DEEPBIO_FIJI", raising=False)
        session = start(ij_jar=JAR, headless=False, java_options=["-Xmx1g", "-Xss4m"])
        yield session
        session.close()


@pytest.fixture
def session(_one_session: Session) -> Iterator[Session]:
    """ImageJ with our commands, as it is when it has just been started; afterwards it has to be tidy."""
    _tidy(_one_session)
    yield _one_session
    stray = stray_dialogs()
    _tidy(_one_session)
    assert stray == []


@pytest.fixture
def ij(session: Session) -> Any:
    """The class ``ij.IJ``."""
    return java("ij.IJ")


@pytest.fixture
def model(threshold_model: Path) -> str:
    """The model of bright spots as a macro names it: fast and exact."""
    return f"model=[{threshold_model}] runtime=onnx device=cpu"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20200227)


def java(name: str) -> Any:
    from imagej_bridge.java import java as find

    return find(name)


def _tidy(session: Session) -> None:
    """Close all windows but ImageJ's own, and forget results, selections and what was recorded."""
    java("ij.macro.Interpreter").batchMode = False
    session.close_images()
    session.bridge.errors.clear()
    session.bridge.desk.last.clear()
    own = java("ij.IJ").getInstance()
    manager = java("ij.plugin.frame.RoiManager").getRawInstance()
    if manager is not None:
        manager.reset()
        manager.close()
    java("ij.measure.ResultsTable").getResultsTable().reset()
    recorder = java("ij.plugin.frame.Recorder").getInstance()
    if recorder is not None:
        recorder.close()
    for window in java("java.awt.Window").getWindows():
        if window.isVisible() and not window.equals(own):
            close = getattr(window, "close", None)
            if isinstance(window, java("ij.text.TextWindow")):
                window.close(False)
            elif close is not None:
                close()
            else:
                window.dispose()
    java("ij.IJ").resetEscape()


def stray_dialogs() -> list[str]:
    """Titles of dialogs that are open."""
    kind = java("java.awt.Dialog")
    windows = java("java.awt.Window").getWindows()
    return [str(one.getTitle()) for one in windows if isinstance(one, kind) and one.isVisible()]
