"""The client on a QProcess: what happens comes by signals of the event loop, nobody polls.

The QProcess is that of PySide6 behind the shim, in place of PythonQt's.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepbio
from deepbio.options import RunOptions

pytest.importorskip("appose")
pytest.importorskip("PySide6")
pytest.importorskip("SlicerDeepBioLib.client")

from SlicerDeepBioLib.client import Task, Update, WorkerClient
from SlicerDeepBioLib.process import QtProcess
from SlicerDeepBioLib.shared import fetch, share

VOLUME = Path(__file__).parents[2] / "examples" / "hippocampus" / "hippocampus_311.nii.gz"
OPTIONS = {"device": "cpu", "runtime": "onnx", "tile": "48"}
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class Loop:
    """Runs Qt's event loop and notes the longest work between two rounds of it.

    Counted is the time of this thread's own work: a machine that is busy with others is not our doing.
    """

    def __init__(self, application: Any, timer: Any) -> None:
        self._application = application
        self._last = time.thread_time()
        self.longest = 0.0
        timer.setInterval(5)
        timer.timeout.connect(self._tick)
        timer.start()

    def _tick(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def until(self, done: Callable[[], object], within: float = 60.0) -> float:
        start = time.monotonic()
        self._last = time.thread_time()
        while not done():
            self._application.processEvents()
            time.sleep(0.001)
            assert time.monotonic() - start < within
        return time.monotonic() - start


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    from tests.slicer.shim.install import qt_application, standing_in

    with standing_in(tmp_path_factory.mktemp("settings")):
        import qt

        timer = qt.QTimer()
        yield Loop(qt_application(), timer)
        timer.stop()


@pytest.fixture(scope="module")
def client(loop: Loop) -> Iterator[WorkerClient]:
    made = WorkerClient(sys.executable, QtProcess)
    yield made
    made.stop()
    assert not made.alive


def request(array: dict[str, Any]) -> dict[str, Any]:
    image = {"array": array, "axes": "ZYX"}
    return {"command": "run", "model": "hippocampus", "options": OPTIONS, "image": image}


def test_a_run_by_signals_alone(loop: Loop, client: WorkerClient) -> None:
    volume = deepbio.read(VOLUME)
    expected = deepbio.run(deepbio.Image(volume.numpy(), "ZYX"), "hippocampus", RunOptions.parse(OPTIONS))
    assert expected.labels is not None
    updates: list[Update] = []
    ends: list[Task] = []
    with share(volume.numpy()) as shared:
        task = client.submit(
            request(shared.message), lambda task, update: updates.append(update), ends.append
        )
        loop.until(lambda: ends)
    assert ends == [task]
    assert task.error is None
    np.testing.assert_array_equal(fetch(task.outputs["labels"]["array"]), expected.labels.numpy())
    assert updates[0].message == "Load the model"
    assert updates[-1].eta == 0.0
    assert client.pid == client.submit({"command": "hello"}).wait(30)["pid"]  # headless too


def test_cancel_and_the_loop_goes_on(loop: Loop, client: WorkerClient) -> None:
    large = share(np.tile(deepbio.read(VOLUME).numpy(), (6, 6, 6)))
    stages: list[str] = []
    task = client.submit(request(large.message), lambda task, update: stages.append(update.stage))
    loop.until(lambda: "predict" in stages)
    loop.longest = 0.0
    loop.until(lambda: len(stages) > 10)
    task.cancel()
    assert loop.until(lambda: task.finished) < 5
    assert task.state == "cancelled"
    assert client.alive
    assert loop.longest < 0.1
    large.close()


@POSIX
def test_a_hanging_worker_is_ended_by_a_timer(loop: Loop, client: WorkerClient) -> None:
    task = client.submit({"command": "hello"})
    loop.until(lambda: task.finished)
    pid = client.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    task = client.submit({"command": "models"})
    task.cancel()
    assert 3.9 < loop.until(lambda: task.finished) < 5
    assert task.state == "cancelled"
    assert not client.alive


@POSIX
def test_a_timer_that_comes_early_is_set_again(loop: Loop, client: WorkerClient, monkeypatch: Any) -> None:
    """Qt lets timers of seconds come a twentieth too early."""
    later = QtProcess.later
    monkeypatch.setattr(QtProcess, "later", lambda self, seconds, what: later(self, 0.9 * seconds, what))
    hello = client.submit({"command": "hello"})
    loop.until(lambda: hello.finished)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSTOP)
    task = client.submit({"command": "models"})
    task.cancel()
    assert 3.9 < loop.until(lambda: task.finished, within=10) < 5


@POSIX
def test_a_killed_worker_is_told_and_the_next_works(loop: Loop, client: WorkerClient) -> None:
    hello = client.submit({"command": "hello"})
    loop.until(lambda: hello.finished)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSTOP)
    task = client.submit({"command": "models"})
    os.kill(client.pid, signal.SIGKILL)
    loop.until(lambda: task.finished, within=5)
    assert task.error is not None
    assert task.error.kind == "OutOfMemory"
    again = client.submit({"command": "hello"})
    loop.until(lambda: again.finished)
    assert again.state == "done"


def test_a_python_that_is_not_there(loop: Loop, tmp_path: Path) -> None:
    ended: list[Task] = []
    client = WorkerClient(tmp_path / "python", QtProcess)
    task = client.submit({"command": "hello"}, on_done=ended.append)
    assert ended == []
    loop.until(lambda: ended, within=10)
    assert task.error is not None
    assert task.error.kind == "WorkerNotStarted"
    assert "cannot be started" in task.error.message
    assert not client.alive


@POSIX
def test_long_lines_come_whole(loop: Loop, tmp_path: Path) -> None:
    """A table of a hundred thousand rows is one line of megabytes, which comes in many parts."""
    path = tmp_path / "python"
    path.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "task = json.loads(sys.stdin.readline())['task']\n"
        "values = [n * 0.1 for n in range(200000)]\n"
        "print(json.dumps({'task': task, 'responseType': 'COMPLETION', 'outputs': {'v': values}}), flush=True)\n"
        "sys.stdin.read()\n"
    )
    path.chmod(0o755)
    client = WorkerClient(path, QtProcess)
    task = client.submit({"command": "hello"})
    loop.until(lambda: task.finished, within=20)
    assert task.outputs["v"] == [n * 0.1 for n in range(200000)]
    client.stop()
