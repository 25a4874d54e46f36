"""The client with a real worker and real models: runs, progress, cancel, crashes, hangs, bad Pythons."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import deepbio
from deepbio.image import Grid
from deepbio.options import RunOptions

client_module = pytest.importorskip("SlicerDeepBioLib.client")
pytest.importorskip("appose")

from SlicerDeepBioLib.client import Cancelled, Task, Update, WorkerClient, WorkerError  # noqa: E402
from SlicerDeepBioLib.process import clean_environment  # noqa: E402
from SlicerDeepBioLib.shared import SharedArray, fetch, share  # noqa: E402

ROOT = Path(__file__).parents[2]
VOLUME = ROOT / "examples" / "hippocampus" / "hippocampus_311.nii.gz"
OPTIONS = {"device": "cpu", "runtime": "onnx"}
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def client() -> Iterator[WorkerClient]:
    made = WorkerClient(sys.executable)
    yield made
    made.stop()
    assert not made.alive
    assert not made.tasks


@pytest.fixture(scope="module")
def volume() -> deepbio.Image:
    return deepbio.read(VOLUME)


@pytest.fixture(scope="module")
def large() -> Iterator[SharedArray]:
    """A volume for which the model needs a minute: there is time to cancel."""
    with share(np.tile(deepbio.read(VOLUME).numpy(), (6, 6, 6))) as shared:
        yield shared


def image(shared: SharedArray, grid: Grid | None = None, **more: Any) -> dict[str, Any]:
    place = {}
    if grid is not None:
        place = {
            "spacing": list(grid.spacing),
            "origin": list(grid.origin),
            "direction": grid.direction.tolist(),
            "unit": grid.unit,
        }
    return {"array": shared.message, "axes": "ZYX", **place, **more}


def request(shared: SharedArray, grid: Grid | None = None, **options: str) -> dict[str, Any]:
    return {
        "command": "run",
        "model": "hippocampus",
        "options": {**OPTIONS, **options},
        "image": image(shared, grid),
    }


def wait_until(client: WorkerClient, done: Callable[[], object], within: float = 60.0) -> float:
    """Poll as an event loop would; returns the seconds that it took."""
    start = time.monotonic()
    while not done():
        client.poll()
        time.sleep(0.005)
        assert time.monotonic() - start < within
    return time.monotonic() - start


def under_way(client: WorkerClient, large: SharedArray, **callbacks: Any) -> Task:
    """A task whose network computes."""
    stages: list[str] = []
    task = client.submit(
        request(large, tile="48"),  # small ones: Cancel is heard between two of them
        on_update=lambda task, update: stages.append(update.stage),
        **callbacks,
    )
    wait_until(client, lambda: "predict" in stages)
    assert task.state == "running"
    return task


def test_labels_are_those_of_deepbio_and_a_second_run_loads_nothing(
    client: WorkerClient, volume: deepbio.Image
) -> None:
    expected = deepbio.run(volume, "hippocampus", RunOptions.parse(OPTIONS))
    assert expected.labels is not None
    loaded = []
    for _ in range(2):
        with share(volume.numpy()) as shared:
            outputs = client.submit(request(shared, volume.grid)).wait(120)
        np.testing.assert_array_equal(fetch(outputs["labels"]["array"]), expected.labels.numpy())
        loaded.append(outputs["loaded"])
    assert loaded == [True, False]
    assert client.starts == 1
    assert outputs["labels"]["names"] == {"1": "anterior hippocampus", "2": "posterior hippocampus"}
    assert outputs["classes"]["2"]["color"] == "#3c8de6"
    assert outputs["table"]["columns"]["label"] == [1, 2]
    assert outputs["table"]["units"]["volume"] == "mm^3"


def test_states_updates_and_the_end_come_in_order(client: WorkerClient, volume: deepbio.Image) -> None:
    told: list[Any] = []

    def on_update(task: Task, update: Update) -> None:
        assert task.state == "running"
        told.append((update.message, update.current, update.maximum, update.stage, update.item))

    with share(volume.numpy()) as shared:
        task = client.submit(request(shared), on_update, lambda task: told.append(task.state))
        assert task.state == "waiting"
        assert told == []
        wait_until(client, lambda: task.finished)
        task.discard()
    assert told[-1] == "done"
    assert told[-2] == ("Predict", 1, 1, "predict", "")
    assert task.wait() is task.outputs


def test_questions_are_answered_while_a_run_goes_on(client: WorkerClient, large: SharedArray) -> None:
    task = under_way(client, large)
    told = client.submit({"command": "models"}).wait(20)
    assert {card["name"] for card in told["models"]} >= {"heart-lv", "hippocampus", "nuclei"}
    assert not task.finished
    task.cancel()
    wait_until(client, lambda: task.finished)


def test_an_error_is_that_of_the_core(client: WorkerClient) -> None:
    with pytest.raises(WorkerError) as caught:
        client.submit({"command": "run", "model": "nuclie"}).wait(60)
    error = caught.value
    assert (error.kind, error.message, error.hint) == (
        "UnknownModel",
        "There is no model 'nuclie'.",
        "Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?",
    )
    assert str(error) == "There is no model 'nuclie'. Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?"


def test_a_request_that_is_no_json_is_refused_at_once(client: WorkerClient) -> None:
    for origin in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            client.submit({"command": "run", "origin": origin})
    assert client.tasks == []


def test_cancel_between_tiles_keeps_the_worker(client: WorkerClient, large: SharedArray) -> None:
    ends: list[str] = []
    task = under_way(client, large, on_done=lambda task: ends.append(task.state))
    starts = client.starts
    task.cancel()
    task.cancel()
    assert task.cancel_requested
    assert wait_until(client, lambda: task.finished) < 5
    assert ends == ["cancelled"]
    assert task.outputs == {}
    with pytest.raises(Cancelled):
        task.wait()
    assert client.alive
    assert client.submit({"command": "hello"}).wait(30)["pid"] == client.pid
    assert client.starts == starts


def test_one_that_waits_its_turn_is_cancelled_at_once(client: WorkerClient, large: SharedArray) -> None:
    first = under_way(client, large)
    second = client.submit(request(large))
    wait_until(client, lambda: second.state == "running")
    second.cancel()
    assert wait_until(client, lambda: second.finished) < 2
    assert (second.state, first.state) == ("cancelled", "running")
    first.cancel()
    wait_until(client, lambda: first.finished)


def test_a_result_that_comes_after_cancel_is_dropped(client: WorkerClient, volume: deepbio.Image) -> None:
    """The worker may be through just before it hears of it."""
    with share(volume.numpy()) as shared:
        task = client.submit(request(shared))
        task.cancel_requested = True  # as cancel() does, but the worker is not told
        wait_until(client, lambda: task.finished)
    assert task.state == "cancelled"
    assert task.outputs == {}
    assert not list(Path("/dev/shm").glob(f"deepbio-{client.pid}-*"))


@POSIX
def test_a_worker_that_hangs_is_ended_with_all_its_children(client: WorkerClient, large: SharedArray) -> None:
    task = under_way(client, large)
    pid = client.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # it neither computes nor listens
    task.cancel()
    assert 3.9 < wait_until(client, lambda: task.finished) < 5
    assert task.state == "cancelled"
    assert not client.alive
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    starts = client.starts
    assert client.submit({"command": "hello"}).wait(60)["pid"] != pid
    assert client.starts == starts + 1


@POSIX
def test_a_worker_that_is_killed_is_told_and_the_next_click_works(
    client: WorkerClient, large: SharedArray, volume: deepbio.Image
) -> None:
    ends: list[Task] = []
    task = under_way(client, large, on_done=ends.append)
    waiting = client.submit(request(large), on_done=ends.append)
    pid = client.pid
    assert pid is not None
    left = Path(f"/dev/shm/deepbio-{pid}-77")
    left.write_bytes(b"what it was just about to answer")
    os.kill(pid, signal.SIGKILL)
    wait_until(client, lambda: len(ends) == 2, within=5)
    assert {one.state for one in ends} == {"failed"}
    assert {one.id for one in ends} == {task.id, waiting.id}
    with pytest.raises(WorkerError, match="killed, most likely because memory ran out") as caught:
        task.wait()
    assert caught.value.kind == "OutOfMemory"
    assert "smaller tile" in caught.value.hint
    assert not left.exists()
    with share(volume.numpy()) as shared:
        outputs = client.submit(request(shared)).wait(120)
    assert fetch(outputs["labels"]["array"]).max() == 2


@POSIX
def test_a_crash_in_a_library_is_told_with_its_last_words(client: WorkerClient, large: SharedArray) -> None:
    task = under_way(client, large)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGSEGV)
    with pytest.raises(WorkerError, match="was ended by SIGSEGV") as caught:
        task.wait(10)
    assert caught.value.kind == "WorkerDied"
    assert "Fatal Python error: Segmentation fault" in caught.value.message
    assert len(caught.value.message.splitlines()) < 12


def test_stopping_in_a_run_cancels_it(large: SharedArray) -> None:
    client = WorkerClient(sys.executable)
    task = under_way(client, large)
    start = time.monotonic()
    client.stop()
    assert time.monotonic() - start < 5
    assert task.state == "cancelled"
    assert not client.alive
    client.stop()  # nothing to stop


def fake(folder: Path, code: str) -> str:
    """A Python that is none: it answers as the test wants it, where the real worker would not."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@POSIX
def test_words_on_stdout_that_are_no_answers_go_to_the_log(tmp_path: Path) -> None:
    answers = [
        "Welcome to Python!",
        '{"task": 3}',
        "[1, 2",
        json.dumps({"task": "somebody else's", "responseType": "COMPLETION", "outputs": {"a": 1}}),
    ]
    code = f"for line in {answers!r}: print(line)\nprint('on stderr', file=sys.stderr)\n"
    code += "task = json.loads(sys.stdin.readline())['task']\nos.write(1, b'\\xff\\xfe no text\\n')\n"
    code += (
        "print(json.dumps({'task': task, 'responseType': 'COMPLETION', 'outputs': {'x': 5}}), flush=True)\n"
    )
    code += "sys.stdin.read()"
    log: list[str] = []
    client = WorkerClient(fake(tmp_path, code), on_log=log.append)
    assert client.submit({"command": "hello"}).wait(20) == {"x": 5}
    client.stop()
    assert sorted(log)[:4] == sorted(["Welcome to Python!", '{"task": 3}', "[1, 2", "on stderr"])
    assert len(log) == 5


@POSIX
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("sys.exit('No module named deepbio')", "has no DeepBio"),
        (
            "print('no such command', file=sys.stderr); sys.exit(2)",
            r"exit code 2.\nIt says:\nno such command",
        ),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
    ],
)
def test_a_python_that_cannot_run_the_worker_is_told_with_the_way_out(
    tmp_path: Path, code: str, text: str
) -> None:
    client = WorkerClient(fake(tmp_path, code))
    task = client.submit({"command": "hello"})
    with pytest.raises(WorkerError, match=text) as caught:
        task.wait(20)
    assert caught.value.kind == "WorkerNotStarted"
    assert "Choose a Python in which DeepBio is installed" in caught.value.hint
    assert not client.alive


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    ended: list[Task] = []
    client = WorkerClient(tmp_path / "no" / "python")
    task = client.submit({"command": "hello"}, on_done=ended.append)
    assert ended == []  # never within submit
    with pytest.raises(WorkerError, match=r"cannot be started: .*No such file") as caught:
        task.wait(20)
    assert caught.value.kind == "WorkerNotStarted"
    assert ended == [task]


@POSIX
def test_an_error_of_a_callback_does_not_keep_other_tasks_from_their_end(tmp_path: Path) -> None:
    def broken(task: Task) -> None:
        raise ZeroDivisionError("of the test")

    client = WorkerClient(fake(tmp_path, "sys.stdin.readline(); sys.exit(3)"))
    first = client.submit({"command": "hello"}, on_done=broken)
    second = client.submit({"command": "hello"})
    with pytest.raises(ZeroDivisionError, match="of the test"):
        first.wait(20)
    assert (first.state, second.state) == ("failed", "failed")


@POSIX
def test_waiting_may_have_an_end(tmp_path: Path) -> None:
    client = WorkerClient(fake(tmp_path, "sys.stdin.read()"))
    task = client.submit({"command": "hello"})
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        task.wait(0.2)
    assert not task.finished
    client.stop()
    assert task.state == "cancelled"


@POSIX
def test_one_that_does_not_end_by_itself_is_killed(tmp_path: Path) -> None:
    client = WorkerClient(fake(tmp_path, "time.sleep(60)"))
    client.submit({"command": "hello"})
    pid = client.pid
    assert pid is not None
    start = time.monotonic()
    client.stop(grace=0.3)
    assert time.monotonic() - start < 2
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_environment_is_that_of_no_other_python(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DEEPBIO_TEST"):
        monkeypatch.setenv(name, "/somewhere")
    monkeypatch.delenv("SLICER_HOME", raising=False)
    cleaned = clean_environment()
    assert "PYTHONHOME" not in cleaned
    assert "PYTHONPATH" not in cleaned
    assert cleaned["LD_LIBRARY_PATH"] == "/somewhere"  # a user's own, for CUDA
    assert cleaned["DEEPBIO_TEST"] == "/somewhere"
    monkeypatch.setenv("SLICER_HOME", "/slicer")
    assert "LD_LIBRARY_PATH" not in clean_environment()
    assert clean_environment({"PYTHONPATH": "/a", "HOME": "/b"}) == {
        "HOME": "/b",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
    }
