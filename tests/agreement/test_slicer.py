"""One answer: the Slicer module, Python and the command line give equal labels."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
sys.path.insert(0, str(Path(__file__).parents[2] / "SlicerDeepBio"))

from SlicerDeepBioLib.client import WorkerClient  # noqa: E402
from SlicerDeepBioLib.logic import DeepBioLogic  # noqa: E402
from tests.slicer.nodes import add_volume, open_scene, read_volume_file  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT = 120


@pytest.fixture(scope="module")
def logic() -> Iterator[Any]:
    before = getattr(slicer, "mrmlScene", None)
    scene, keep = open_scene()
    slicer.mrmlScene = scene
    client = WorkerClient(sys.executable)
    made = DeepBioLogic(client, scene)
    made.models(lambda outputs, error: None).wait(TIMEOUT)
    yield made
    made.close()
    client.stop()
    scene.Clear(1)
    slicer.mrmlScene = before
    del keep


def as_node(scene: Any, path: Path) -> Any:
    if path.name.endswith(".nii.gz"):
        return read_volume_file(scene, path, "volume")
    image = deepbio.read(path)
    pixels = image.numpy()
    return add_volume(
        scene, (np.moveaxis(pixels, 0, -1) if image.is_rgb else pixels)[None], np.eye(4), "picture"
    )


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("hippocampus/hippocampus_311.nii.gz", "hippocampus"),
        ("fluorescence.tif", "nuclei"),
        ("histology.png", "nuclei"),
    ],
)
def test_labels_are_equal_at_all_doors(logic: Any, tmp_path: Path, name: str, model: str) -> None:
    path = EXAMPLES / name
    options = {"runtime": "onnx", "device": "cpu"}
    node = as_node(logic.scene, path)
    run = logic.segment(node, logic.cards[model], {**options, "as": "labels"}).wait(TIMEOUT)
    in_slicer = slicer.util.arrayFromVolume(run.label_map)

    in_python = deepbio.run(path, model, deepbio.RunOptions.parse(options)).labels.numpy()
    command = [
        "run",
        model,
        str(path),
        "-o",
        str(tmp_path),
        "--device",
        "cpu",
        "--runtime",
        "onnx",
        "--save",
        "labels",
    ]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    (written,) = tmp_path.glob("*-labels.*")
    on_the_command_line = deepbio.read_labels(written).numpy()

    assert in_python.any()
    np.testing.assert_array_equal(in_slicer.reshape(in_python.shape), in_python)
    np.testing.assert_array_equal(on_the_command_line, in_python)
    assert run.record["weights_sha256"] == deepbio.load_model(model).card.weights_hash
