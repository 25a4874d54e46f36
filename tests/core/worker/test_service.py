"""Commands, turns, and how each way to fail is told."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deepbio.errors import CardError, OptionError
from deepbio.worker import serve
from deepbio.worker import service as module
from deepbio.worker.service import Service
from tests.core.worker.conftest import Heard


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service of the test's own, which serve() uses."""
    made = Service()
    monkeypatch.setattr(module, "service", lambda: made)
    return made


def told(task: Heard) -> dict[str, str]:
    """The error that came with the last update."""
    error: dict[str, str] = task.updates[-1][3]["error"]
    return error


def test_an_answer_is_the_outputs_of_the_task(service: Service, task: Heard) -> None:
    serve(task, {"command": "release"})
    assert task.outputs == {"released": []}
    assert task.end is None  # Appose completes a task whose script has come to its end


@pytest.mark.parametrize("request_", [{"command": "hallo"}, {}, None, 7, ["hello"]], ids=str)
def test_an_unknown_command_names_the_known_ones(service: Service, task: Heard, request_: Any) -> None:
    serve(task, request_)
    assert told(task)["error"] == "OptionError"
    assert "hello, models, fits, inputs, run, batch" in told(task)["hint"]
    assert task.end is not None
    assert task.end[0] == "failed"


def test_an_error_is_told_with_its_hint_and_no_traceback(service: Service, task: Heard) -> None:
    serve(task, {"command": "run", "model": "nuclie"})
    assert told(task) == {
        "error": "UnknownModel",
        "message": "There is no model 'nuclie'.",
        "hint": "Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?",
    }
    assert task.end == (
        "failed",
        "There is no model 'nuclie'. Did you mean 'nuclei', 'nuclei-3d' or 'nuclei-synth'?",
    )


def test_a_bug_is_told_with_its_traceback(
    service: Service, task: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: Any, updates: Any) -> Any:
        return 1 // 0

    monkeypatch.setitem(service._in_turn, "run", broken)
    serve(task, {"command": "run"})
    assert told(task)["error"] == "ZeroDivisionError"
    assert "error in DeepBio itself" in told(task)["message"]
    assert task.end is not None
    assert "in broken" in str(task.end[1])
    assert service._turn.acquire(blocking=False)  # the next may run


@pytest.mark.parametrize("error", [MemoryError("malloc"), RuntimeError("CUDA out of memory. Tried")], ids=str)
def test_memory_that_ran_out_is_told_as_that(
    service: Service, task: Heard, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def hungry(request: Any, updates: Any) -> Any:
        raise error

    monkeypatch.setitem(service._in_turn, "run", hungry)
    serve(task, {"command": "run"})
    assert told(task)["error"] == "OutOfMemory"
    assert told(task)["hint"]


def test_one_run_at_a_time_and_one_that_waits_can_be_cancelled(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(request: Any, updates: Any) -> dict[str, Any]:
        running.set()
        assert go_on.wait(10)
        return {"slow": True}

    monkeypatch.setitem(service._in_turn, "run", slow)
    first, second, third = Heard(), Heard(), Heard()
    threads = [
        threading.Thread(target=serve, args=(first, {"command": "run"})),
        threading.Thread(target=serve, args=(second, {"command": "run"})),
    ]
    threads[0].start()
    assert running.wait(10)
    threads[1].start()
    serve(third, {"command": "hello"})  # what computes nothing is answered at once
    assert third.outputs["protocol"] == 1
    start = time.monotonic()
    second.cancel_requested = True
    threads[1].join(10)
    assert second.end == ("cancelled", None)
    assert time.monotonic() - start < 1
    assert first.outputs == {}
    go_on.set()
    threads[0].join(10)
    assert first.outputs == {"slow": True}


def test_models_are_added_and_removed(service: Service, threshold_model: Path) -> None:
    def answer(**request: Any) -> dict[str, Any]:
        return service.answer(request, Heard())

    card = answer(command="add_model", path=str(threshold_model), name="added")["model"]
    assert (card["name"], card["bundled"], card["ndim"]) == ("added", False, 2)
    assert "added" in [one["name"] for one in answer(command="models")["models"]]
    with pytest.raises(CardError, match="already a model 'added'"):
        answer(command="add_model", path=str(threshold_model), name="added")
    assert answer(command="remove_model", name="added") == {"removed": "added"}
    assert "added" not in [one["name"] for one in answer(command="models")["models"]]
    with pytest.raises(OptionError, match="needs 'path'"):
        answer(command="add_model")
    with pytest.raises(CardError, match="ships with deepbio"):
        answer(command="remove_model", name="nuclei")
