"""The process that keeps models loaded: who may ask, one at a time, and how it begins and ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagej_bridge import resident
from imagej_bridge.resident import Server, ask, ask_or_run, state_file, stop
from tests.imagej.test_handover import hand_over, spots


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))


@pytest.fixture
def served() -> Iterator[Callable[..., threading.Thread]]:
    """Serve with a function in place of models, in a thread."""
    threads = []

    def start(work: Callable[[Path], str], idle: float = 60.0) -> threading.Thread:
        thread = threading.Thread(target=Server(work, idle=idle).serve)
        thread.start()
        threads.append(thread)
        end = time.monotonic() + 10
        while not state_file().exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        return thread

    yield start
    stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def say(line: str) -> dict[str, object]:
    state = json.loads(state_file().read_text())
    with (
        socket.create_connection(("127.0.0.1", state["port"]), timeout=10) as one,
        one.makefile("rw") as stream,
    ):
        assert stream.readline() == "deepbio imagej bridge\n"
        stream.write(line + "\n")
        stream.flush()
        return json.loads(stream.readline())


def test_a_folder_is_carried_out(served: Callable[..., threading.Thread], tmp_path: Path) -> None:
    served(lambda folder: f"{folder}/result.ijm")
    assert ask(tmp_path / "job") == {"result": f"{tmp_path / 'job'}/result.ijm"}


def test_only_who_knows_the_token_is_answered(served: Callable[..., threading.Thread]) -> None:
    served(lambda folder: "never")
    assert "token" in str(say('{"folder": "/x"}')["error"])
    assert "token" in str(say('{"token": "guess", "folder": "/x"}')["error"])
    assert "token" in str(say('{"token": 7, "stop": true}')["error"])
    assert "JSON" in str(say("no json")["error"])
    if os.name == "posix":
        assert stat.S_IMODE(state_file().stat().st_mode) == 0o600


def test_one_at_a_time(served: Callable[..., threading.Thread]) -> None:
    running, most = [0], [0]

    def work(folder: Path) -> str:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.1)
        running[0] -= 1
        return str(folder)

    served(work)
    answers: list[object] = []
    clients = [threading.Thread(target=lambda n=n: answers.append(ask(Path(f"/{n}")))) for n in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(10)
    assert len(answers) == 4
    assert most == [1]


def test_errors_are_one_line(served: Callable[..., threading.Thread]) -> None:
    def work(folder: Path) -> str:
        if folder.name == "bug":
            raise KeyError("two\nlines")
        from deepbio.errors import ImageError

        raise ImageError("No image is open.", "Open one\nfirst.")

    served(work)
    assert ask(Path("/x")) == {"error": "No image is open. Open one first."}
    told = str(ask(Path("/bug"))["error"])
    assert told.startswith("This is an error in DeepBio itself: KeyError: ")
    assert "\n" not in told
    assert "KeyError" in state_file().with_suffix(".log").read_text()


def test_it_ends_when_idle_and_takes_its_file_along(served: Callable[..., threading.Thread]) -> None:
    thread = served(lambda folder: "", idle=0.2)
    thread.join(10)
    assert not thread.is_alive()
    assert not state_file().exists()


def test_where_none_can_be_started_the_work_is_done_here(
    tmp_path: Path, threshold_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ConnectionError("no more processes")

    monkeypatch.setattr(resident, "_start", refuse)
    answer = ask_or_run(hand_over(tmp_path / "a", spots(), f"model=[{threshold_model}]"))
    assert answer == {"result": str(tmp_path / "a" / "result.ijm")}
    assert "no more processes" in capsys.readouterr().err


def test_the_real_process(tmp_path: Path, threshold_model: Path) -> None:
    state_file().parent.mkdir(parents=True)
    state_file().write_text(
        '{"port": 9, "token": "stale", "pid": 1, "version": "0"}'
    )  # of one that was killed

    def command(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "imagej_bridge", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout

    try:
        good = hand_over(tmp_path / "a", spots(), f"model=[{threshold_model}]")
        assert command("command", str(good)) == (0, f"result {good / 'result.ijm'}\n")
        pid = json.loads(state_file().read_text())["pid"]
        bad = hand_over(tmp_path / "b", spots(), "model=nucleii")
        assert command("command", str(bad)) == (
            1,
            "error There is no model 'nucleii'. Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?\n",
        )
        assert json.loads(state_file().read_text())["pid"] == pid  # still the same one
        released = hand_over(tmp_path / "c", None, "", "DeepBio Release")
        assert command("command", str(released))[0] == 0
        assert "let go: spots" in (released / "result.ijm").read_text()  # it was loaded, once
    finally:
        assert command("stop") == (0, "stopped\n")
    assert command("stop") == (0, "there was none\n")
    assert command()[0] == 2


def test_the_file_stands_where_the_models_are() -> None:
    from deepbio.library.store import user_folder

    assert state_file().parent == user_folder().parent
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DEEPBIO_HOME")
        assert state_file().parent == user_folder().parent


def test_asking_needs_no_numpy() -> None:
    text = "import sys, imagej_bridge.resident as r; r.stop(); r._version(); print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_another_program_on_the_port_of_one_that_was_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        state_file().parent.mkdir(parents=True)
        state = {"port": other.getsockname()[1], "token": "secret", "version": resident._version()}
        state_file().write_text(json.dumps(state))
        heard: list[bytes] = []

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"220 another program\r\n")
                heard.append(connection.recv(100))

        listener = threading.Thread(target=answer)
        listener.start()
        assert stop() is False
        listener.join(10)
    assert b"secret" not in b"".join(heard)


def test_of_two_that_start_at_once_one_ends(served: Callable[..., threading.Thread]) -> None:
    first = served(lambda folder: "first")
    state_file().unlink()
    second = served(lambda folder: "second")
    first.join(10)
    assert not first.is_alive()
    assert second.is_alive()
    assert ask(Path("/x")) == {"result": "second"}


def test_who_waits_for_a_result_gets_it_though_told_to_stop(served: Callable[..., threading.Thread]) -> None:
    begun = threading.Event()

    def work(folder: Path) -> str:
        begun.set()
        time.sleep(0.5)
        return "done"

    served(work)
    answers: list[object] = []
    client = threading.Thread(target=lambda: answers.append(ask(Path("/x"))))
    client.start()
    assert begun.wait(10)
    assert stop()
    client.join(10)
    assert answers == [{"result": "done"}]
