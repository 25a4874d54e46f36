"""Scores of classes: exact values, in physical units, on images whose answer is known."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepbio.cases import Case
from deepbio.errors import InputMismatch, OptionError
from deepbio.evaluation import CaseScore, ClassScore, card_rows, class_means, evaluate, group_scores
from deepbio.events import Event, Notice
from deepbio.image import Grid, Image, LabelMap
from deepbio.io import write
from deepbio.metrics import hausdorff, surface_dice
from deepbio.options import RunOptions
from deepbio.predict import Model

OPTIONS = RunOptions(runtime="onnx", device="cpu")
SHAPE = (9, 13, 17)


def boxes(shift: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Class 1 inside of class 2; `shift` moves class 1 along x."""
    labels = np.zeros(shape, np.uint8)
    labels[..., 2:11, 2:14] = 2
    labels[..., 4:9, 4 + shift : 9 + shift] = 1
    if len(shape) == 3:
        labels[[0, -1]] = 0
    return labels


def case(folder: Path, name: str, truth: LabelMap, found: np.ndarray, group: str = "") -> Case:
    """A case for which the model finds `found`."""
    pixels = np.array([0, 1200, 2500], np.int16)[found]
    write(folder / f"{name}.nii.gz", Image(pixels, truth.axes, truth.grid))
    write(folder / f"{name}_labels.nii.gz", truth)
    return Case(folder / f"{name}.nii.gz", folder / f"{name}_labels.nii.gz", group, "val")


def test_perfect(volumes: Model, tmp_path: Path, oblique: Callable[..., Grid]) -> None:
    grid = oblique(left_handed=True).replace(shape=SHAPE)
    (score,) = evaluate(volumes, [case(tmp_path, "a", LabelMap(boxes(), "ZYX", grid), boxes())], OPTIONS)
    assert (score.dice, score.objects, score.found) == (1.0, 2, 2)
    assert math.isnan(score.ap50)
    assert math.isnan(score.ap)
    assert [(row.label, row.name, row.frame) for row in score.classes] == [
        (1, "cavity", None),
        (2, "muscle", None),
    ]
    for row in score.classes:
        assert (row.dice, row.hd95, row.nsd, row.tolerance, row.unit) == (1.0, 0.0, 1.0, 1.0, "mm")
        assert (row.image, row.split, row.volume_unit) == ("a.nii.gz", "val", "ml")
        voxels = int((boxes() == row.label).sum())
        assert row.volume_truth == row.volume_found == pytest.approx(voxels * 1.2 * 0.8 * 0.5 / 1000)


def test_shifted_by_one_voxel(volumes: Model, tmp_path: Path, oblique: Callable[..., Grid]) -> None:
    grid = oblique().replace(shape=SHAPE)
    one = case(tmp_path, "a", LabelMap(boxes(), "ZYX", grid), boxes(1))
    (score,) = evaluate(volumes, [one], OPTIONS, tolerance=0.4)
    cavity, muscle = score.classes
    assert cavity.dice == pytest.approx(0.8)
    assert cavity.hd95 == pytest.approx(0.5)  # one voxel along x
    assert cavity.nsd == surface_dice(boxes(), boxes(1), [1], (1.2, 0.8, 0.5), 0.4)[1] < 1
    assert muscle.hd95 == hausdorff(boxes(), boxes(1), [2], (1.2, 0.8, 0.5))[2]
    assert score.dice == pytest.approx((cavity.dice + muscle.dice) / 2)


def test_a_class_that_was_missed(volumes: Model, tmp_path: Path) -> None:
    grid = Grid(SHAPE, (2.0, 1.0, 1.0), unit="millimeter")
    none = np.where(boxes() == 1, 0, boxes())
    cases = [
        case(tmp_path, "a", LabelMap(boxes(), "ZYX", grid), boxes()),
        case(tmp_path, "b", LabelMap(boxes(), "ZYX", grid), none),
        case(tmp_path, "c", LabelMap(none, "ZYX", grid), none),
    ]
    scores = evaluate(volumes, cases, OPTIONS)
    rows = [score.classes[0] for score in scores]
    assert [row.hd95 for row in rows] == [0.0, math.inf, pytest.approx(math.nan, nan_ok=True)]
    assert [row.dice for row in rows] == [1.0, 0.0, pytest.approx(math.nan, nan_ok=True)]
    mean = class_means(scores)[0]
    assert (mean.group, mean.name, mean.images, mean.missed) == ("all", "cavity", 2, 1)
    assert (mean.dice, mean.hd95, mean.nsd) == (0.5, 0.0, 0.5)
    assert group_scores(scores)[-1].dice == pytest.approx((1 + 0.5 + 1) / 3)


@pytest.mark.parametrize(
    ("image", "labels", "expected"),
    [
        ("pixel", "pixel", ("px", 2.0, "px", 1.0)),
        ("micrometer", "pixel", ("um", 1.0, "um^2", 0.25 * 0.75)),
        ("millimeter", "millimeter", ("mm", 1.0, "mm^2", 0.25 * 0.75)),
        ("pixel", "micrometer", ("um", 1.0, "um^2", 0.25 * 0.75)),
    ],
)
def test_units(planes: Model, tmp_path: Path, image: str, labels: str, expected: tuple) -> None:
    found = boxes(shape=SHAPE[1:])

    def grid(unit: str) -> Grid:
        return Grid(SHAPE[1:], () if unit == "pixel" else (0.25, 0.75), unit=unit)

    write(tmp_path / "a.tif", Image(np.array([0, 1200, 2500], np.uint16)[found], grid=grid(image)))
    write(tmp_path / "b.tif", LabelMap(found, grid=grid(labels)))
    (score,) = evaluate(planes, [Case(tmp_path / "a.tif", tmp_path / "b.tif")], OPTIONS)
    row = score.classes[0]
    assert (row.unit, row.tolerance, row.volume_unit) == expected[:3]
    assert row.volume_truth == pytest.approx(25 * expected[3], rel=1e-6)


def test_frames_are_scored_one_by_one(planes: Model, tmp_path: Path) -> None:
    truth = np.stack([boxes(0, SHAPE[1:]), boxes(1, SHAPE[1:])])
    found = np.stack([boxes(0, SHAPE[1:]), boxes(3, SHAPE[1:])])
    write(tmp_path / "a.tif", Image(np.array([0, 1200, 2500], np.uint16)[found], "TYX"))
    write(tmp_path / "b.tif", LabelMap(truth, "TYX"))
    (score,) = evaluate(planes, [Case(tmp_path / "a.tif", tmp_path / "b.tif")], OPTIONS)
    assert [(row.frame, row.label, row.hd95) for row in score.classes if row.label == 1] == [
        (1, 1, 0.0),
        (2, 1, 2.0),
    ]
    write(tmp_path / "b.tif", LabelMap(truth[0]))
    with pytest.raises(InputMismatch, match="has 2 frames"):
        evaluate(planes, [Case(tmp_path / "a.tif", tmp_path / "b.tif")], OPTIONS)


def test_labels_that_lie_elsewhere_are_refused_before_the_run(
    volumes: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid(SHAPE, (2.0, 1.0, 1.0), unit="millimeter")
    one = case(tmp_path, "a", LabelMap(boxes(), "ZYX", grid), boxes())
    write(one.labels, LabelMap(boxes(), "ZYX", grid.replace(origin=(0, 0, 1.0))))
    monkeypatch.setattr(Model, "run", None)
    with pytest.raises(InputMismatch, match=r"0\.5 voxels \(1 mm\)"):
        evaluate(volumes, [one], OPTIONS)


def test_labels_beyond_the_classes_are_told(volumes: Model, tmp_path: Path) -> None:
    grid = Grid(SHAPE, (2.0, 1.0, 1.0), unit="millimeter")
    truth = boxes()
    truth[4, 4, 4] = 7
    heard: list[Event] = []
    one = case(tmp_path, "a", LabelMap(truth, "ZYX", grid), boxes())
    (score,) = evaluate(volumes, [one], OPTIONS, on_progress=heard.append)
    assert [row.label for row in score.classes] == [1, 2]
    told = [event.message for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert len(told) == 1
    assert "the labels 7, which are no classes" in told[0]


def test_tolerance_is_checked_before_the_run(volumes: Model) -> None:
    with pytest.raises(OptionError, match="The tolerance is -1"):
        evaluate(volumes, [], OPTIONS, tolerance=-1)


def test_means_by_group_and_unit() -> None:
    def score(image: str, group: str, dice: float, unit: str) -> CaseScore:
        row = ClassScore(image, group, "val", None, 1, "lv", dice, 2.0, dice, 1.0, unit, 1.0, 1.0, "")
        return CaseScore(image, group, "val", math.nan, math.nan, dice, 1, 1, 0.1, (row,))

    scores = [score("a", "x", 0.8, "mm"), score("b", "y", 0.6, "mm"), score("c", "y", 0.2, "px")]
    assert [(m.group, m.unit, m.images, round(m.dice, 6)) for m in class_means(scores)] == [
        ("x", "mm", 1, 0.8),
        ("y", "mm", 1, 0.6),
        ("y", "px", 1, 0.2),
        ("all", "mm", 2, 0.7),
        ("all", "px", 1, 0.2),
    ]
    assert class_means(scores)[0].row()["class"] == 1
    assert "classes" not in scores[0].row()


def test_models_of_objects_have_no_classes() -> None:
    assert class_means([CaseScore("a", "", "val", 1.0, 1.0, 1.0, 1, 1, 0.5)]) == []


def test_rows_of_a_card_are_led_by_the_mean() -> None:
    def score(image: str, hd95: float) -> CaseScore:
        found = [(1, "cavity", 0.9, hd95), (2, "", 0.5, math.nan)]
        rows = [ClassScore(image, "", "val", None, *one, 0.75, 1.0, "mm", 1.0, 1.0, "ml") for one in found]
        return CaseScore(image, "", "val", math.nan, math.nan, 0.7, 2, 2, 0.1, tuple(rows))

    rows = card_rows([score("a", 1.0), score("b", math.inf)], "val", "deepbio evaluate it")
    assert [(row["subset"], row["metric"], row["value"], row["n"]) for row in rows] == [
        ("all", "Dice", 0.7, 2),
        ("all: cavity", "Dice", 0.9, 2),
        ("all: cavity", "Hausdorff 95 [mm]", 1.0, 1),
        ("all: cavity", "surface Dice within 1 mm", 0.75, 2),
        ("all: class 2", "Dice", 0.5, 2),
        ("all: class 2", "surface Dice within 1 mm", 0.75, 2),
    ]
    assert {(row["split"], row["command"]) for row in rows} == {("val", "deepbio evaluate it")}
