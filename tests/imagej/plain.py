"""A plain ImageJ for tests: started as a user starts it, a Java process of its own on a screen of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagej_bridge.menu import install
from imagej_bridge.resident import stop
from tests.imagej.hosts import JAR, missing

__all__ = ["Macro", "plain_home", "plain_screen", "run_plain"]

TIMEOUT = 60  # seconds: a window that nobody sees may wait for an answer

Macro = Callable[..., list[str]]


@pytest.fixture
def plain_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder of its own, so that no resident process of another test is met."""
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    stop()


@pytest.fixture(scope="session")
def plain_screen() -> Iterator[str]:
    """A screen that stays from one ImageJ to the next: the value for DISPLAY."""
    if missing():
        pytest.skip(missing())
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        assert number, f"Xvfb did not start: {server.poll()}"
        yield f":{number}"
        server.terminate()


@pytest.fixture
def run_plain(tmp_path: Path, plain_screen: str, plain_home: Path) -> Macro:
    """Run a macro in an ImageJ of its own; returns what it told with ``say(...)``.

    With ``charset`` Java reads and writes texts as it does where that is the system's. With ``aborts`` there is no
    window (``-batch``), so that an error waits for nobody, and what comes after it would be told; its line is in
    ``java.txt``.
    """
    (tmp_path / "ij" / "plugins").mkdir(parents=True)
    install(tmp_path / "ij")
    said, java = tmp_path / "said.txt", shutil.which("java") or "java"

    def start(macro: str, *, charset: str = "UTF-8", aborts: bool = False) -> list[str]:
        path = tmp_path / "macro.ijm"
        said.unlink(missing_ok=True)
        head = f'function say(text) {{ File.append("" + text, "{said}"); }}\nsay("begin");\n'
        path.write_text(f'{head}{macro}\nsay("end");\n', encoding=charset)
        # port 0: an ImageJ that is open already would else be asked to run the macro
        command = [java, f"-Dplugins.dir={tmp_path / 'ij'}", f"-Dfile.encoding={charset}", "-cp", str(JAR)]
        command += ["ij.ImageJ", "-port0", "-batch" if aborts else "-macro", str(path)]
        with (tmp_path / "java.txt").open("wb") as log:
            process = subprocess.Popen(
                command, env={**os.environ, "DISPLAY": plain_screen}, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                _await(process, said, tmp_path / "java.txt")
            finally:
                process.kill()
                process.wait(10)
        return said.read_text(encoding=charset).splitlines()[1:]

    return start


def _await(process: subprocess.Popen[bytes], said: Path, log: Path) -> None:
    """Wait until the macro has told its end, or ImageJ is gone by itself.

    A macro's own ``Quit`` is a thread of ImageJ's that races with the end of a macro in batch mode (a null pointer in
    ``Interpreter.getBatchModeImageIDs``, seen in one of fifty runs), and then ImageJ stays.
    """
    last = time.monotonic() + TIMEOUT
    while process.poll() is None:
        if said.exists() and said.read_bytes().endswith(b"end\n"):
            return
        if time.monotonic() > last:
            process.send_signal(signal.SIGQUIT)  # Java writes what each thread waits for
            time.sleep(2)
            told = [file.read_text(errors="replace") for file in (said, log) if file.exists()]
            pytest.fail("\n".join([f"ImageJ was not done after {TIMEOUT} s.", *told]))
        time.sleep(0.05)
