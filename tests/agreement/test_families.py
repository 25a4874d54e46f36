"""One answer for every task: Python, the command line and the worker behind 3D Slicer.

ImageJ and Slicer's own nodes are held to the same numbers in tests/imagej and tests/slicer/test_families.py.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app
from deepbio.worker.arrays import Arrays
from deepbio.worker.runs import Runs

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = {
    "blood-cells": "blood_cells/basophil.jpg",
    "denoise": "noisy_mitochondria.png",
    "nuclei-synth": "fluorescence_labels.tif",
    "upscale-x2": "noisy_mitochondria.png",
}
OPTIONS = deepbio.RunOptions(runtime="onnx", device="cpu")


class _Quiet:
    """Takes what a worker tells."""

    def __call__(self, event: Any) -> None: ...

    def tell(self, message: str, **facts: Any) -> None: ...


class _Kept(Arrays):
    """Arrays that are not sent anywhere."""

    def give(self, array: Any, updates: Any) -> np.ndarray:
        return np.asarray(array)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, Path, deepbio.Result]:
    path = EXAMPLES / CASES[request.param]
    return request.param, path, deepbio.run(path, request.param, OPTIONS)


def test_the_command_line(case: tuple[str, Path, deepbio.Result], tmp_path: Path) -> None:
    model, path, expected = case
    words = ["run", model, str(path), "-o", str(tmp_path), "--runtime", "onnx", "--device", "cpu"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    if expected.image is not None:
        found = deepbio.read(tmp_path / f"{path.stem}-image.tif")
        np.testing.assert_array_equal(found.numpy(), expected.image.numpy())
    else:
        assert expected.table is not None
        with (tmp_path / f"{path.stem}-table.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["class"] == str(expected.table["class"][0]) == path.stem
        assert float(row["probability"]) == pytest.approx(float(expected.table["probability"][0]), rel=1e-5)


def test_the_worker(case: tuple[str, Path, deepbio.Result]) -> None:
    model, path, expected = case
    request = {
        "model": model,
        "image": {"path": str(path)},
        "options": {"runtime": "onnx", "device": "cpu"},
    }
    found = Runs(_Kept()).run(request, _Quiet())  # type: ignore[arg-type]
    if expected.image is not None:
        np.testing.assert_array_equal(found["image"]["array"], expected.image.numpy())
        assert found["table"] is None
    else:
        assert expected.table is not None
        assert found["table"]["columns"]["class"] == [str(expected.table["class"][0])]
    assert found["labels"] is None
