"""What a run meets on its way: Cancel, a scene that goes away, a worker that dies, a volume that changes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vtk

from SlicerDeepBioLib.client import Cancelled, WorkerError
from SlicerDeepBioLib.scene import SceneError
from tests.slicer.nodes import add_volume, node_names

TIMEOUT = 120
ONNX = {"runtime": "onnx"}  # no trial of runtimes, which takes its time
SMALL = {**ONNX, "tile": "32", "overlap": "0.5"}


@pytest.fixture
def large(scene: Any, rng: np.random.Generator) -> Any:
    """A volume that takes seconds, in many small tiles."""
    return add_volume(scene, rng.normal(300, 80, (96, 97, 98)).astype(np.float32), np.eye(4), "large")


def until(logic: Any, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < end
        logic.step()
        time.sleep(0.002)


def blocks() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("*")} if Path("/dev/shm").is_dir() else set()


def test_cancel(logic: Any, cards: Any, large: Any, hippocampus: Any, scene: Any) -> None:
    before, memory = node_names(scene), blocks()
    run = logic.segment(large, cards["hippocampus"], SMALL)
    waiting = logic.segment(hippocampus, cards["hippocampus"], ONNX)
    until(logic, lambda: "tile" in run.progress.text.lower())
    assert run.progress.fraction > 0.05
    start = time.monotonic()
    run.cancel()
    assert run.progress.text == "Cancelling"
    assert time.monotonic() - start < 0.2
    until(logic, lambda: run.finished)
    assert time.monotonic() - start < 5
    assert (run.state, run.error, run.nodes) == ("cancelled", None, [])
    assert node_names(scene) == before
    waiting.wait(TIMEOUT)  # the one behind it is none the worse
    assert waiting.state == "done"
    assert blocks() <= memory


def test_cancel_before_it_began(logic: Any, cards: Any, hippocampus: Any, scene: Any) -> None:
    before = node_names(scene)
    done: list[str] = []
    run = logic.segment(hippocampus, cards["hippocampus"], ONNX, on_done=lambda run: done.append(run.state))
    run.cancel()
    run.cancel()
    assert done == ["cancelled"]
    with pytest.raises(Cancelled):
        run.wait(TIMEOUT)
    assert node_names(scene) == before


@pytest.mark.parametrize("word", ["Sending", "Placing"])
def test_cancel_from_a_callback(logic: Any, cards: Any, hippocampus: Any, scene: Any, word: str) -> None:
    before, memory = node_names(scene), blocks()

    def stop(run: Any) -> None:
        if run.progress.text.startswith(word):
            run.cancel()

    run = logic.segment(hippocampus, cards["hippocampus"], ONNX, on_progress=stop)
    with pytest.raises(Cancelled):
        run.wait(TIMEOUT)
    assert node_names(scene) == before
    assert blocks() <= memory


@pytest.mark.parametrize("end", ["close", "remove"])
def test_the_scene_goes_away_in_a_run(logic: Any, cards: Any, large: Any, scene: Any, end: str) -> None:
    run = logic.segment(large, cards["hippocampus"], SMALL)
    until(logic, lambda: "tile" in run.progress.text.lower())
    if end == "close":
        scene.Clear(0)
    else:
        scene.RemoveNode(large)
    after = node_names(scene)
    until(logic, lambda: run.finished)
    assert (run.state, run.error) == ("cancelled", None)
    assert node_names(scene) == after


def test_a_worker_that_is_killed(logic: Any, cards: Any, large: Any, hippocampus: Any, scene: Any) -> None:
    before = node_names(scene)
    run = logic.segment(large, cards["hippocampus"], SMALL)
    until(logic, lambda: "tile" in run.progress.text.lower())
    os.kill(logic.client.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    with pytest.raises(WorkerError):
        run.wait(TIMEOUT)
    assert run.state == "failed"
    assert run.error.message
    assert node_names(scene) == before
    assert logic.segment(hippocampus, cards["hippocampus"], ONNX).wait(TIMEOUT).loaded


def test_a_volume_that_changes_in_a_run(logic: Any, cards: Any, large: Any) -> None:
    run = logic.segment(large, cards["hippocampus"], ONNX)
    until(logic, lambda: run.progress.text != "Waiting" and run._task is not None)
    image = vtk.vtkImageData()
    image.SetDimensions(3, 4, 5)
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    large.SetAndObserveImageData(image)
    with pytest.raises(SceneError, match="'large' was changed during the run: it had 96 x 97 x 98"):
        run.wait(TIMEOUT)
