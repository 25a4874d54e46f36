"""Scores of a model against known labels: exact values on images whose answer is known."""

import math
from pathlib import Path

import numpy as np
import pytest

from deepbio.cases import Case
from deepbio.errors import ImageError, InputMismatch
from deepbio.evaluation import CaseScore, choose_split, evaluate, group_scores
from deepbio.events import Event, Progress
from deepbio.image import Image, LabelMap
from deepbio.io import write
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model

OPTIONS = RunOptions(runtime="onnx", device="cpu")


@pytest.fixture
def model(threshold_model: Path) -> Model:
    return load_model(threshold_model)


def two_squares() -> np.ndarray:
    """Labels: 1 is 6 x 6, 2 is 4 x 10 pixels."""
    labels = np.zeros((37, 53), np.uint16)
    labels[3:9, 5:11] = 1
    labels[20:24, 30:40] = 2
    return labels


def case(folder: Path, name: str, truth: np.ndarray, found: np.ndarray, group: str = "") -> Case:
    """A case for which the threshold model finds `found`."""
    write(folder / f"{name}.tif", Image(np.where(found > 0, 3000, 100).astype(np.uint16)))
    write(folder / f"{name}_labels.tif", LabelMap(truth))
    return Case(folder / f"{name}.tif", folder / f"{name}_labels.tif", group, "val")


def test_perfect(model: Model, tmp_path: Path) -> None:
    labels = two_squares()
    (score,) = evaluate(model, [case(tmp_path, "a", labels, labels, "fluo")], OPTIONS)
    assert (score.ap50, score.ap, score.dice, score.objects, score.found) == (1.0, 1.0, 1.0, 2, 2)
    assert (score.image, score.group, score.split) == ("a.tif", "fluo", "val")


def test_one_object_missed_and_one_shrunk(model: Model, tmp_path: Path) -> None:
    found = two_squares()
    found[found == 1] = 0
    found[20:24, 38:40] = 0  # 32 of 40 pixels: intersection over union 0.8
    (score,) = evaluate(model, [case(tmp_path, "a", two_squares(), found)], OPTIONS)
    assert score.ap50 == pytest.approx(1 / 2)  # one pair, one missed
    # a pair at 0.5 ... 0.75 (six thresholds of nine); beyond, two missed and one too many
    assert score.ap == pytest.approx(6 / 9 * 1 / 2)
    assert score.dice == pytest.approx(2 * 32 / (76 + 32))
    assert (score.objects, score.found) == (2, 1)


def test_nothing_there_and_nothing_found(model: Model, tmp_path: Path) -> None:
    empty = np.zeros((37, 53), np.uint16)
    (score,) = evaluate(model, [case(tmp_path, "a", empty, empty)], OPTIONS)
    assert (score.ap50, score.ap, score.objects, score.found) == (1.0, 1.0, 0, 0)
    assert math.isnan(score.dice)


def test_groups_are_averaged_and_all_comes_last(model: Model, tmp_path: Path) -> None:
    labels, empty = two_squares(), np.zeros((37, 53), np.uint16)
    cases = [
        case(tmp_path, "a", labels, labels, "fluo"),
        case(tmp_path, "b", labels, empty, "fluo"),
        case(tmp_path, "c", empty, empty, "he"),
    ]
    rows = group_scores(evaluate(model, cases, OPTIONS))
    assert [(row.group, row.images, row.ap50, row.objects, row.found) for row in rows] == [
        ("fluo", 2, 0.5, 4, 2),
        ("he", 1, 1.0, 0, 0),
        ("all", 3, pytest.approx(2 / 3), 4, 2),
    ]
    assert math.isnan(rows[1].dice)
    assert rows[2].dice == 0.5  # of the two where there is one


def test_one_group_is_not_told_twice() -> None:
    score = CaseScore("a.tif", "fluo", "val", 1.0, 1.0, 1.0, 1, 1, 0.5)
    assert [row.group for row in group_scores([score, score])] == ["all"]


@pytest.mark.parametrize(("split", "names"), [("val", ["a"]), ("train", ["b"]), ("all", ["a", "b"])])
def test_split_is_chosen(split: str, names: list[str]) -> None:
    cases = [Case(Path("a.tif"), Path("x"), split="val"), Case(Path("b.tif"), Path("x"), split="train")]
    assert [one.name for one in choose_split(cases, split)] == names


def test_missing_split_names_those_that_are_there() -> None:
    with pytest.raises(ImageError, match="'test'; the data set has \\(none\\), val"):
        choose_split([Case(Path("a.tif"), Path("x"), split="val"), Case(Path("b.tif"), Path("x"))], "test")


def test_labels_of_another_size(model: Model, tmp_path: Path) -> None:
    one = case(tmp_path, "a", two_squares(), two_squares())
    write(one.labels, LabelMap(np.zeros((37, 54), np.uint16)))
    with pytest.raises(InputMismatch, match=r"\(37, 54\)"):
        evaluate(model, [one], OPTIONS)


def test_progress_is_told(model: Model, tmp_path: Path) -> None:
    heard: list[Event] = []
    evaluate(model, [case(tmp_path, "a", two_squares(), two_squares())], OPTIONS, on_progress=heard.append)
    files = [event for event in heard if isinstance(event, Progress) and event.stage == "files"]
    assert [(event.current, event.total, event.item) for event in files] == [(0, 1, "a.tif"), (1, 1, "")]
