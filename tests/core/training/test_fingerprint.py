"""Fingerprints: axes brought together, what is wrong with data told before training."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.cases import Case
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import Grid, Image, LabelMap
from deepbio.io import write
from deepbio.training.facts import CaseFacts, check_labels, measure, nearest_orientation, write_facts
from deepbio.training.fingerprint import make_fingerprint

SHAPE, SPACING = (5, 7, 11), (2.5, 0.8, 0.5)
OBLIQUE = np.linalg.qr(np.array([[0.1, 0.2, 1.0], [0.1, 1.0, -0.1], [1.0, -0.1, 0.2]]))[0]


@dataclass
class Data:
    """Writes cases into a folder."""

    folder: Path
    count: int = 0

    def case(self, labels: np.ndarray, grid: Grid | None = None, values: np.ndarray | None = None) -> Case:
        axes = "ZYX"[3 - labels.ndim :]
        grid = grid or Grid(
            labels.shape, SPACING[-labels.ndim :], (3.0, -9.0, 21.0)[: labels.ndim], unit="millimeter"
        )
        pixels = (labels * 100).astype(np.int16) if values is None else values
        files = [self.folder / f"{self.count}_{kind}.nrrd" for kind in ("image", "labels")]
        self.count += 1
        write(files[0], Image(pixels, axes, grid))
        write(files[1], LabelMap(labels.astype(np.uint8), axes, grid))
        return Case(*files)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


def _labels(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[(1,) * len(shape)] = 1
    labels[(2,) * len(shape)] = 2
    return labels


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        (np.eye(3)[:, ::-1], "SPL"),
        (np.eye(3)[:, ::-1] * [1, -1, -1], "SAR"),
        (np.eye(3), "LPS"),
        (np.eye(3)[:, [1, 2, 0]] * [-1, -1, 1], "AIL"),  # left-handed
        (np.abs(OBLIQUE) * np.sign(OBLIQUE) @ np.diag([1, 1, 1]), None),
    ],
)
def test_the_nearest_orientation(direction: np.ndarray, letters: str | None) -> None:
    found = nearest_orientation(Grid(SHAPE, direction=direction))
    if letters is None:  # each column's own largest part decides, where these differ
        names = (("L", "R"), ("P", "A"), ("S", "I"))
        worlds = np.abs(direction).argmax(0)
        letters = "".join(names[w][int(direction[w, k] < 0)] for k, w in enumerate(worlds))
    assert found == letters


def test_axes_are_brought_together(data: Data) -> None:
    """The same volume stored with permuted and flipped axes has the same fingerprint."""
    labels = _labels()
    straight = Grid(SHAPE, SPACING, unit="millimeter")
    turned = Grid(
        (11, 5, 7),
        (0.5, 2.5, 0.8),
        direction=straight.direction[:, [2, 0, 1]] * [-1, 1, 1],
        unit="millimeter",
    )
    cases = [data.case(labels, straight), data.case(labels, straight)]
    cases.append(data.case(np.ascontiguousarray(labels.transpose(2, 0, 1)[::-1]), turned))
    seen = make_fingerprint(cases)
    assert (seen.orientation, seen.one_orientation) == ("SPL", False)
    assert seen.size == seen.smallest == SHAPE
    assert seen.spacing == seen.fine_spacing == SPACING
    assert (seen.labels, seen.highest_label, seen.objects) == (2, 2, 2)
    one = make_fingerprint(cases[:2])
    assert one.one_orientation
    same = {"intensity": seen.intensity, "cases": 3, "groups": {"": 3}, "one_orientation": False}
    assert replace(one, **same) == seen


def test_foreground_intensities_and_modality(data: Data) -> None:
    labels = _labels()
    values = np.full(SHAPE, -1000, np.int16)
    values[labels > 0] = (40, 60)
    seen = make_fingerprint([data.case(labels, values=values)])
    assert seen.modality == "CT"
    assert seen.foreground_intensity["mean"] == 50
    assert seen.foreground_intensity["std"] == 10
    assert make_fingerprint([data.case(labels)]).modality == ""


def test_the_box_of_what_is_not_zero(data: Data) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:5, 3:9] = 1
    seen = make_fingerprint([data.case(labels)])
    assert seen.nonzero == pytest.approx(3 * 3 * 6 / (5 * 7 * 11))


def test_units_are_brought_together(data: Data) -> None:
    micro = Grid(SHAPE, tuple(1000 * s for s in SPACING), unit="micrometer")
    facts = [measure(data.case(_labels())), measure(data.case(_labels()))]
    facts[1] = replace(facts[1], unit="micrometer", spacing=micro.spacing)
    from deepbio.training.fingerprint import _same_unit

    assert [row.spacing for row in _same_unit(facts)] == [SPACING, pytest.approx(SPACING)]
    facts[1] = replace(facts[1], unit="pixel", spacing=(1.0, 1.0, 1.0))
    assert {row.unit for row in _same_unit(facts)} == {"pixel"}


def test_classes_on_fixed_sides_are_found(data: Data) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(9):
        labels = np.zeros((9, 9, 20), np.uint8)
        for label, columns in ((1, (2, 6)), (2, (13, 18))):  # anywhere in z and y, apart in x
            z, y = rng.integers(1, 8, 2)
            labels[z, y, rng.integers(*columns)] = label
        cases.append(data.case(labels))
    assert make_fingerprint(cases).sided_axes == (2,)
    assert make_fingerprint(cases[:7]).sided_axes == ()  # too few to tell from chance


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((1,), r"outside of the list of classes: 2 \(1 pixels\); the list is 1"),
        ((1, 2, 3), r"classes \[3\] are in no training case"),
    ],
)
def test_labels_must_be_those_of_the_list(data: Data, classes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        make_fingerprint([data.case(_labels())], classes)


def test_held_out_labels_are_checked_too(data: Data) -> None:
    check_labels([data.case(_labels())], (1, 2))
    with pytest.raises(ImageError, match="outside of the list"):
        check_labels([data.case(_labels())], (2,))


def test_an_empty_foreground_is_told(data: Data) -> None:
    with pytest.raises(ImageError, match="all foregrounds are empty"):
        make_fingerprint([data.case(np.zeros(SHAPE, np.uint8))])


def test_2d_beside_3d_is_told(data: Data) -> None:
    with pytest.raises(ImageError, match=r"mixes 2D and 3D images \(1_image.nrrd and 0_image.nrrd"):
        make_fingerprint([data.case(_labels()), data.case(_labels((7, 11)))])


def test_labels_that_lie_elsewhere_are_told(data: Data) -> None:
    one, other = (
        data.case(_labels()),
        data.case(_labels(), Grid(SHAPE, SPACING, (3.5, -9, 21), unit="millimeter")),
    )
    with pytest.raises(InputMismatch, match=r"up to 1 voxels \(0.5 mm\) apart"):
        make_fingerprint([Case(one.image, other.labels)])


def test_facts_are_written_for_people(data: Data, tmp_path: Path) -> None:
    facts: list[CaseFacts] = []
    make_fingerprint([data.case(_labels())], facts=facts)
    write_facts(tmp_path / "facts.csv", facts)
    header, row = (tmp_path / "facts.csv").read_text().splitlines()
    assert header.startswith("image,group,modality,shape,box")
    assert "5 x 7 x 11" in row
    assert row.endswith("1:1 2:1,150.0")
