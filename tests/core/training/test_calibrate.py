"""Which classes keep only their largest component: those that gain by it."""

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.training.calibrate import choose_largest, largest_of


def test_crumbs_go_and_true_pieces_stay() -> None:
    truth = np.zeros((5, 9, 13), np.uint8)
    truth[1:4, 1:4, 1:4] = 1
    truth[1:4, 5:8, 1:4] = truth[1:3, 5:8, 9:12] = 2  # two pieces by nature
    found = truth.copy()
    found[4, 0, 12] = 1  # a crumb
    result = choose_largest([(found, truth), (truth, truth)], 3)
    assert result.decoder.largest == (1,)
    assert result.decoder.method == "classes"
    assert [row["class"] for row in result.rows] == [1, 2]  # class 3 is nowhere
    assert result.rows[0] == {
        "class": 1,
        "dice": pytest.approx((1 + 54 / 55) / 2, abs=1e-5),
        "dice_largest": 1,
        "cases": 2,
    }
    assert result.rows[1]["dice_largest"] < result.rows[1]["dice"] == 1


def test_no_gain_changes_nothing() -> None:
    truth = np.zeros((4, 6), np.uint8)
    truth[1:3, 1:3] = 1
    assert choose_largest([(truth, truth)], 1).decoder.largest == ()


def test_folds_decide_together() -> None:
    row = {"class": 1, "dice": 0.9, "dice_largest": 0.91, "cases": 10}
    assert largest_of([row, {**row, "dice_largest": 0.80, "cases": 2}]) == ()
    assert largest_of([row, {**row, "dice_largest": 0.89, "cases": 2}]) == (1,)
