"""The process of the worker, spoken to by Appose's own client and by hand."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from appose import NDArray, SharedMemory
from appose.service import Service, TaskStatus

from deepbio import run
from deepbio.image import Image
from deepbio.options import RunOptions

SCRIPT = "from deepbio.worker import serve; serve(task, request)"
COMMAND = [sys.executable, "-m", "deepbio", "worker"]
OPTIONS = {"device": "cpu", "runtime": "onnx"}
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and sessions of POSIX")


def pixels() -> np.ndarray:
    made = np.full((37, 53), 100, np.uint16)
    made[5:9, 7:12] = 3000
    made[20:30, 33:41] = 2000
    return made


@pytest.fixture(scope="module")
def appose() -> Iterator[Service]:
    """Appose's client, as any program would use it."""
    with Service(Path.cwd(), {}, *COMMAND) as service:
        yield service
    for thread in (service._stdout_thread, service._stderr_thread, service._monitor_thread):
        assert thread is not None
        thread.join()
    assert service._process is not None
    for stream in (service._process.stdout, service._process.stderr):
        stream.close()  # Appose leaves that to the garbage collector


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    """The bare process, for a test that ends it."""
    process = started()
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def shared() -> Iterator[subprocess.Popen[str]]:
    """The bare process, for tests that leave it as it is."""
    process = started()
    yield process
    process.communicate(timeout=20)


def ask(worker: subprocess.Popen[str], script: str, **inputs: Any) -> str:
    number = f"task-{time.monotonic_ns()}"
    line = {"task": number, "requestType": "EXECUTE", "script": script, "inputs": inputs}
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(line) + "\n")
    worker.stdin.flush()
    return number


def answers(worker: subprocess.Popen[str], number: str) -> list[dict[str, Any]]:
    """All that is answered to a task, until its end."""
    told: list[dict[str, Any]] = []
    assert worker.stdout is not None
    while not told or told[-1]["responseType"] not in ("COMPLETION", "FAILURE", "CANCELATION"):
        told.append(json.loads(worker.stdout.readline()))  # every line is an answer, whole
        assert told[-1]["task"] == number
    return told


def gone(pid: int, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_appose_itself_is_a_client(appose: Service, threshold_model: Path) -> None:
    expected = run(Image(pixels()), threshold_model, RunOptions.parse(OPTIONS))
    assert expected.labels is not None
    with NDArray("uint16", [37, 53]) as lent:
        lent.ndarray()[:] = pixels()
        request = {
            "command": "run",
            "model": str(threshold_model),
            "options": OPTIONS,
            "image": {"array": lent, "axes": "YX"},
        }
        task = appose.task(SCRIPT, {"request": request})
        updates = []
        task.listen(lambda event: updates.append(event.message))
        task.wait_for()
    assert task.status == TaskStatus.COMPLETE
    labels = task.outputs["labels"]["array"]
    np.testing.assert_array_equal(labels.ndarray(), expected.labels.numpy())
    labels.shm.unlink_on_dispose(True)
    labels.shm.dispose()
    assert "Load the model" in updates


def test_appose_hears_of_a_failure_in_words(appose: Service) -> None:
    from appose.service import TaskException

    task = appose.task(SCRIPT, {"request": {"command": "run", "model": "nuclie"}})
    with pytest.raises(TaskException):
        task.wait_for()
    assert task.error == "There is no model 'nuclie'. Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?"


def test_what_is_printed_does_not_get_into_the_answers(worker: subprocess.Popen[str]) -> None:
    script = (
        "import os, subprocess, sys\n"
        "print('from Python')\n"
        "os.write(1, b'from C\\n')\n"
        "subprocess.run([sys.executable, '-c', 'print(\"from a child\")'])\n"
        "task.outputs['read'] = os.read(0, 9).decode()\n"
        "serve = 3\n"
    )
    told = answers(worker, ask(worker, script))
    assert [answer["responseType"] for answer in told] == ["LAUNCH", "COMPLETION"]
    assert told[-1]["outputs"] == {"read": ""}
    _, said = worker.communicate(timeout=20)
    assert sorted(said.splitlines()) == ["from C", "from Python", "from a child"]


def test_a_task_has_one_end(shared: subprocess.Popen[str]) -> None:
    told = answers(shared, ask(shared, SCRIPT, request={"command": "nonsense"}))
    assert [answer["responseType"] for answer in told] == ["LAUNCH", "UPDATE", "FAILURE"]
    told = answers(shared, ask(shared, SCRIPT, request={"command": "release"}))  # and nothing else before it
    assert [answer["responseType"] for answer in told] == ["LAUNCH", "COMPLETION"]


def test_memory_that_is_not_there_fails_its_task_only(shared: subprocess.Popen[str]) -> None:
    shm = {"appose_type": "shm", "name": "deepbio-not-there", "rsize": 4}
    array = {"appose_type": "ndarray", "dtype": "uint8", "shape": [2, 2], "shm": shm}
    request = {"command": "run", "model": "nuclei", "image": {"array": array, "axes": "YX"}}
    told = answers(shared, ask(shared, SCRIPT, request=request))
    assert told[-2]["info"]["error"]["error"] == "ImageError"
    assert answers(shared, ask(shared, SCRIPT, request={"command": "hello"}))[-1]["outputs"]["protocol"] == 1


def test_many_threads_answer_in_whole_lines(shared: subprocess.Popen[str]) -> None:
    script = "for n in range(200): task.update('x' * 5000, n, 200, {'n': n})"
    numbers = {ask(shared, script) for _ in range(4)}
    ended = 0
    seen = 0
    assert shared.stdout is not None
    while ended < 4:
        answer = json.loads(shared.stdout.readline())
        assert answer["task"] in numbers
        seen += answer["responseType"] == "UPDATE"
        ended += answer["responseType"] == "COMPLETION"
    assert seen == 800


def test_it_ends_when_stdin_closes_with_all_that_it_started(worker: subprocess.Popen[str]) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "task.update('started', info={'child': child.pid})\n"
        "time.sleep(60)\n"
    )
    ask(worker, script)
    assert worker.stdout is not None
    worker.stdout.readline()
    child = json.loads(worker.stdout.readline())["info"]["child"]
    assert psutil.pid_exists(child)
    start = time.monotonic()
    worker.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert worker.returncode == 0
    assert gone(child)


@POSIX
def test_a_client_that_has_gone_leaves_no_memory_behind(
    worker: subprocess.Popen[str], threshold_model: Path
) -> None:
    """Neither its own block, if a run was reading it, nor a result that it did not fetch."""
    lent = SharedMemory(create=True, rsize=2 * 37 * 53)
    shm = {"appose_type": "shm", "name": lent.name, "rsize": 2 * 37 * 53}
    array = {"appose_type": "ndarray", "dtype": "uint16", "shape": [37, 53], "shm": shm}
    request = {
        "command": "run",
        "model": str(threshold_model),
        "options": OPTIONS,
        "image": {"array": array, "axes": "YX"},
    }
    told = answers(worker, ask(worker, SCRIPT, request=request))
    result = told[-1]["outputs"]["labels"]["array"]["shm"]["name"]
    assert result.startswith(f"deepbio-{worker.pid}-")
    SharedMemory(name=lent.name).close()  # a run that has ended leaves it alone
    slow = (
        "from deepbio.worker.service import service\n"
        "import time\n"
        "with service().runs.arrays.lent(array):\n"
        "    task.update('reading')\n"
        "    time.sleep(60)\n"
    )
    ask(worker, slow, array=array)
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.stdout.readline()
    worker.communicate(timeout=20)
    for name in (lent.name, result):
        with pytest.raises(FileNotFoundError):
            SharedMemory(name=name)
    lent.close()
    from multiprocessing import resource_tracker

    resource_tracker.unregister(lent._name, "shared_memory")  # the worker has freed it


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="only Linux lists shared memory")
def test_blocks_of_a_client_that_was_killed_are_freed(tmp_path: Path) -> None:
    """Also those that no run has read: a program that crashes frees nothing itself."""
    code = (
        "import subprocess, sys, time\n"
        f"worker = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        f"line = {json.dumps({'task': 'a', 'requestType': 'EXECUTE', 'script': 'pass'})!r}\n"
        "worker.stdin.write(line.encode() + b'\\n'); worker.stdin.flush(); worker.stdout.readline()\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    pid = int(client.stdout.readline())
    left = Path(f"/dev/shm/deepbio-c{client.pid}-5")
    other = Path(f"/dev/shm/deepbio-c{client.pid}0-5")
    left.write_bytes(b"pixels")
    other.write_bytes(b"of another client")
    client.kill()
    client.communicate()
    assert gone(pid)
    assert not left.exists()
    assert other.exists()
    other.unlink()


@POSIX
def test_it_leads_a_session_and_ends_on_sigterm(worker: subprocess.Popen[str]) -> None:
    answers(worker, ask(worker, SCRIPT, request={"command": "release"}))
    assert os.getsid(worker.pid) == worker.pid
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(5) == 130


def test_a_line_that_is_no_request_ends_it_with_the_reason(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("what?\n")
    worker.stdin.flush()
    _, said = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert "JSONDecodeError" in said


def test_without_appose_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['appose'] = None; sys.argv = ['deepbio', 'worker']; "
    code += "from deepbio.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 7
    assert "The worker needs the package 'appose'" in done.stderr
    assert 'pip install "deepbio-imaging[slicer]"' in done.stderr
