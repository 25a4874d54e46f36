"""Scores of classification against sums that can be done by hand, and scipy's."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from deepbio.metrics.classes import area_under_curve, calibration_error, confusion, reliability


def test_confusion_counts_truth_in_rows() -> None:
    truth, found = np.array([0, 0, 0, 2, 2, 1]), np.array([0, 1, 1, 2, 0, 1])
    assert confusion(truth, found, 4).tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_the_rank_statistic_with_ties(seed) -> None:
    random = np.random.default_rng(seed)
    truth = random.random(57) < 0.3
    score = np.round(random.normal(truth, 1.0), 1)  # many ties
    expected = mannwhitneyu(score[truth], score[~truth]).statistic / (truth.sum() * (~truth).sum())
    assert area_under_curve(truth, score) == pytest.approx(expected)
    assert np.isnan(area_under_curve(np.ones(3, bool), np.ones(3)))


def test_calibration_of_probabilities_that_are_right_and_wrong() -> None:
    random = np.random.default_rng(0)
    chance = random.uniform(0.5, 1.0, 40_000)
    probabilities = np.stack((chance, 1 - chance), 1)
    truth = (random.random(40_000) > chance).astype(int)
    assert calibration_error(truth, probabilities) < 0.01
    sure = np.stack((np.full(100, 0.99), np.full(100, 0.01)), 1)
    assert calibration_error(np.arange(100) % 2, sure) == pytest.approx(0.49)
    confidence, accuracy, counts = reliability(np.arange(100) % 2, sure, bins=10)
    assert counts.tolist() == [0] * 9 + [100]
    assert (confidence[9], accuracy[9]) == (pytest.approx(0.99), 0.5)
