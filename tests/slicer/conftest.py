"""A scene with the logics that the module uses, as the application sets them up; no window, no Qt."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HIPPOCAMPUS = Path(__file__).parents[2] / "examples" / "hippocampus" / "hippocampus_311.nii.gz"
LIBRARY = Path(__file__).parents[2] / "SlicerDeepBio"

if str(LIBRARY) not in sys.path:  # as Slicer puts the folder of a module on the path
    sys.path.insert(0, str(LIBRARY))

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")


@pytest.fixture
def scene() -> Iterator[Any]:
    """A new scene, ``slicer.mrmlScene`` for the time of the test."""
    from tests.slicer.nodes import open_scene

    before = getattr(slicer, "mrmlScene", None)
    opened, keep = open_scene()
    slicer.mrmlScene = opened
    yield opened
    opened.Clear(1)
    slicer.mrmlScene = before
    del keep


@pytest.fixture
def hippocampus(scene: Any) -> Any:
    """The example's volume, as Slicer reads its file."""
    from tests.slicer.nodes import read_volume_file

    return read_volume_file(scene, HIPPOCAMPUS, "hippocampus_311")


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    """Voxels (z, y, x) of sizes that have nothing in common."""
    return rng.integers(-1000, 3000, (5, 7, 11), dtype=np.int16)


@pytest.fixture(scope="session")
def worker() -> Iterator[Any]:
    """A client of a real worker, which is started by the first test that needs it."""
    from SlicerDeepBioLib.client import WorkerClient

    client = WorkerClient(sys.executable)
    yield client
    client.stop()


@pytest.fixture(scope="session")
def cards(worker: Any) -> dict[str, dict[str, Any]]:
    """The bundled models' cards, as the worker tells them."""
    outputs = worker.submit({"command": "models"}).wait(120)
    return {card["name"]: card for card in outputs["models"]}


@pytest.fixture
def logic(scene: Any, worker: Any) -> Iterator[Any]:
    from SlicerDeepBioLib.logic import DeepBioLogic

    made = DeepBioLogic(worker, scene)
    yield made
    for run in made.runs:
        if not run.finished:
            run.cancel()
    made.close()
