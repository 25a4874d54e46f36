"""Pairs of objects against counts made by hand."""

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.metrics import IOU_THRESHOLDS, average_precision, match_objects, overlap_matrix


def _row(text: str) -> np.ndarray:
    return np.array([[int(c) for c in text.replace(" ", "")]])


def test_overlap_of_every_pair() -> None:
    truth, found = _row("1110 2220"), _row("0550 7700")
    iou = overlap_matrix(truth, found)
    assert iou.tolist() == [[2 / 3, 0], [0, 2 / 3]]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ("1100 2200", "1100 2200", (2, 0, 0)),
        ("1100 2200", "1100 0000", (1, 0, 1)),
        ("1100 0000", "1100 3300", (1, 1, 0)),
        ("1111 2222", "3333 3333", (0, 1, 2)),  # merged: neither exceeds 0.5
        ("1111 1111", "3333 4444", (0, 2, 1)),  # split in half: exactly 0.5 does not exceed it
        ("0000 0000", "0000 0000", (0, 0, 0)),
    ],
)
def test_counts_at_one_half(truth: str, found: str, expected: tuple[int, int, int]) -> None:
    (match,) = match_objects(_row(truth), _row(found), (0.5,))
    assert (match.true_positive, match.false_positive, match.false_negative) == expected


def test_below_one_half_a_prediction_serves_one_object() -> None:
    # object 3 overlaps both 1 and 2 by more than a quarter, and may count once
    (match,) = match_objects(_row("1111 2222"), _row("0033 3300"), (0.25,))
    assert match.true_positive == 1


def test_average_precision_falls_with_the_threshold() -> None:
    truth = np.zeros((20, 30), int)
    truth[2:12, 3:13] = 1
    found = np.zeros_like(truth)
    found[2:12, 5:13] = 9  # IoU 80 / 100
    values = average_precision(truth, found)
    assert dict(zip(IOU_THRESHOLDS, values, strict=True)) == {
        **dict.fromkeys((0.5, 0.55, 0.6, 0.65, 0.7, 0.75), 1.0),
        **dict.fromkeys((0.8, 0.85, 0.9), 0.0),
    }


def test_two_empty_images_agree() -> None:
    assert average_precision(np.zeros((3, 5), int), np.zeros((3, 5), int)).tolist() == [1.0] * 9


def test_shapes_must_agree() -> None:
    with pytest.raises(InputMismatch, match=r"\(1, 3\) and \(1, 4\)"):
        overlap_matrix(_row("012"), _row("0120"))


def test_labels_may_have_gaps_and_be_large() -> None:
    truth, found = _row("1110 2220"), _row("0550 7700")
    expected = overlap_matrix(truth, found)
    np.testing.assert_array_equal(overlap_matrix(truth * 10**6, found * 3), expected)
