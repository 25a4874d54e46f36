"""``deepbio evaluate`` for models of classes; that for objects is in tests/core/test_cli.py."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from deepbio.image import Grid, Image, LabelMap
from deepbio.io import write
from tests.core.command import ONNX, deepbio, left_in

SHAPE = (7, 11, 13)
GRID = Grid(SHAPE, (2.0, 1.0, 0.5), unit="millimeter")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two volumes: in the first the model is right, in the second it misses class 2."""
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 3:7, 4:8] = 1
    labels[2:5, 3:7, 8:10] = 2
    for name, found in (("a", labels), ("b", np.where(labels == 2, 0, labels))):
        pixels = np.array([0, 1200, 2500], np.int16)[found]
        write(tmp_path / "data" / "images" / f"{name}.nii.gz", Image(pixels, "ZYX", GRID))
        write(tmp_path / "data" / "labels" / f"{name}.nii.gz", LabelMap(labels, "ZYX", GRID))
    return tmp_path / "data"


def test_table_picture_and_means(data: Path, make_classes: Callable[[int], Path]) -> None:
    done = deepbio("evaluate", make_classes(3), data, "-o", "scores.csv", *ONNX)
    assert done.code == 0, done.err
    with Path("scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = "image,group,split,frame,class,name,dice,hd95,nsd,tolerance,unit,volume_truth,volume_found,volume_unit"
    assert list(rows[0]) == columns.split(",")
    wanted = ("image", "class", "name", "dice", "hd95", "nsd", "unit", "volume_truth", "volume_unit")
    assert [[row[key] for key in wanted] for row in rows] == [
        ["a.nii.gz", "1", "cavity", "1.0", "0.0", "1.0", "mm", "0.048", "ml"],
        ["a.nii.gz", "2", "muscle", "1.0", "0.0", "1.0", "mm", "0.024", "ml"],
        ["b.nii.gz", "1", "cavity", "1.0", "0.0", "1.0", "mm", "0.048", "ml"],
        ["b.nii.gz", "2", "muscle", "0.0", "inf", "0.0", "mm", "0.024", "ml"],
    ]
    with Picture.open("scores.png") as picture:
        assert picture.width > picture.height
    lines = {line.split()[1]: line.split()[2:] for line in done.out.splitlines() if line.startswith("all  ")}
    assert lines["muscle"] == ["2", "0.500", "0.00", "mm", "0.500", "1", "mm", "1"]
    assert lines["cavity"] == ["2", "1.000", "0.00", "mm", "1.000", "1", "mm", "0"]
    assert "Scores: scores.csv, scores.png" in done.out
    assert left_in(Path()) == ["data", "scores.csv", "scores.png"]


def test_json(data: Path, make_classes: Callable[[int], Path]) -> None:
    lines = deepbio("evaluate", make_classes(3), data, "--tolerance", "2.5", "--json", *ONNX).lines
    scores = [line for line in lines if line["event"] == "score"]
    assert [one["dice"] for one in scores] == [1.0, 0.5]
    assert scores[0]["ap50"] is None
    assert scores[1]["classes"][1]["hd95"] is None  # infinite, which JSON does not have
    (summary,) = [line for line in lines if line["event"] == "summary"]
    assert [(one["class"], one["missed"], one["tolerance"]) for one in summary["classes"]] == [
        (1, 0, 2.5),
        (2, 1, 2.5),
    ]
    assert json.dumps(summary["groups"][0]["dice"]) == "0.75"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "scores.png"], 2, "written as CSV"),
        (["-o", "nowhere/scores.csv"], 9, "does not exist"),
        (["--tolerance", "-1"], 2, "The tolerance is -1"),
    ],
)
def test_wrong_words(
    data: Path, make_classes: Callable[[int], Path], words: list[str], code: int, message: str
) -> None:
    done = deepbio("evaluate", make_classes(3), data, *words, *ONNX)
    assert done.code == code
    assert message in done.err
    assert left_in(Path()) == ["data"]
