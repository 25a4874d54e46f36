"""Overlap of classes against counts made by hand."""

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.metrics import dice
from deepbio.metrics.overlap import present_labels

TRUTH, FOUND = np.array([[0, 1, 1, 2, 2]]), np.array([[0, 1, 2, 2, 2]])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2], {1: 2 / 3, 2: 4 / 5}),
        (None, {1: 2 / 3, 2: 4 / 5}),
        ([2], {2: 4 / 5}),
        ([3], {3: pytest.approx(np.nan, nan_ok=True)}),
    ],
)
def test_dice_per_class(labels: list[int] | None, expected: dict[int, float]) -> None:
    assert dice(TRUTH, FOUND, labels) == expected


def test_a_class_in_one_image_only() -> None:
    assert dice(np.array([0, 3]), np.array([0, 0])) == {3: 0.0}


def test_shapes_must_agree() -> None:
    with pytest.raises(InputMismatch, match=r"\(1, 5\) and \(5, 1\)"):
        dice(TRUTH, FOUND.T)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
@pytest.mark.parametrize("top", [7, 70_000])
def test_labels_that_are_there(dtype: type, top: int) -> None:
    top = min(top, np.iinfo(dtype).max)
    assert present_labels(np.array([0, top, 2], dtype), np.array([[4, 2]], dtype)) == [2, 4, top]


def test_negative_labels_and_empty_images() -> None:
    assert present_labels(np.array([-1, 0, 3]), np.empty(0, int)) == [-1, 3]
