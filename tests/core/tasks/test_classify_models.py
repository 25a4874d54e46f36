"""The bundled classifiers on real images that they did not learn from."""

import time
from pathlib import Path

import numpy as np
import pytest

from deepbio.image import Image, LabelMap
from deepbio.io import read
from deepbio.options import RunOptions
from deepbio.predict import load_model

CELLS = sorted((Path(__file__).parents[3] / "examples" / "blood_cells").glob("*.jpg"))
LIMIT = 10 * 2**20  # bytes of a package


@pytest.fixture(scope="module")
def blood_cells():
    with load_model("blood-cells") as model:
        yield model


@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.stem)
def test_a_cell_of_each_class(blood_cells, path) -> None:
    table = blood_cells.run(read(path), RunOptions(runtime="onnx")).table
    assert table["class"][0] == path.stem.replace("_", " ")
    assert table["probability"][0] > 0.5


def test_cells_of_a_larger_image_by_their_outlines(blood_cells) -> None:
    assert len(CELLS) == 8
    pixels = np.concatenate([read(path).numpy() for path in CELLS], axis=-1)
    image = Image(pixels, "CYX", channels=("red", "green", "blue"))
    marks = np.zeros(pixels.shape[1:], np.uint8)
    for number in range(len(CELLS)):
        marks[40:56, 96 * number + 40 : 96 * number + 56] = number + 1  # in the middle of each cell
    result = blood_cells.run(image, RunOptions(tile=96, runtime="onnx"), objects=LabelMap(marks))
    assert [str(name) for name in result.table["class"]] == [path.stem.replace("_", " ") for path in CELLS]


def test_they_are_small_and_quick(blood_cells) -> None:
    for name in ("blood-cells", "chest-xray"):
        model = load_model(name)
        files = [path for path in model.card.root.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < LIMIT
    image, options = read(CELLS[0]), RunOptions(runtime="onnx")
    blood_cells.run(image, options)
    start = time.process_time()
    blood_cells.run(image, options)
    assert time.process_time() - start < 0.3


def test_the_radiograph_says_which_way(tmp_path) -> None:
    model = load_model("chest-xray")
    assert model.card.classes == {1: "normal", 2: "pneumonia"}
    assert model.card.deepbio["calibration"]["temperature"] > 0
    assert {row["metric"]: row["value"] for row in model.card.scores if row["subset"] == "all"}[
        "balanced accuracy"
    ] >= 0.95
