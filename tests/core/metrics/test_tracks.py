"""Scores of tracks: small lineages whose answer can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.metrics.tracks import Counts, score_tracks

FRAMES, WIDTH = 8, 40
PARENTS = {2: 1, 3: 1}


def movie(divides: int = 3, *, first: int = 0) -> np.ndarray:
    """Track 1 divides into 2 and 3 after the frame `divides`; 9 goes on beside them."""
    labels = np.zeros((FRAMES, 3, WIDTH), np.int32)
    labels[first : divides + 1, :, 8:16] = 1
    labels[divides + 1 :, :, 4:10], labels[divides + 1 :, :, 14:20] = 2, 3
    labels[:, :, 30:36] = 9
    return labels


def test_a_perfect_lineage_by_other_numbers() -> None:
    truth = movie()
    found = np.array([0, 11, 7, 5, 0, 0, 0, 0, 0, 4])[truth]
    score = score_tracks(truth, found, PARENTS, {7: 11, 5: 11})
    # 4 frames of 1, 4 each of 2 and 3, 8 of 9; links: 3 + 3 + 3 + 7, and 2 to the daughters
    assert score.objects == Counts(20, 20, 20)
    assert score.links == Counts(18, 18, 18)
    assert score.divisions == Counts(1, 1, 1)
    assert score.row()["division_f1"] == score.row()["link_recall"] == 1.0


@pytest.mark.parametrize(
    ("late", "tolerance", "right"), [(0, 0, 1), (1, 0, 0), (1, 1, 1), (-2, 1, 0), (-2, 2, 1), (3, 3, 1)]
)
def test_a_division_may_be_early_or_late(late: int, tolerance: int, right: int) -> None:
    truth, found = movie(3), movie(3 + late)
    score = score_tracks(truth, found, PARENTS, PARENTS, tolerance)
    assert score.divisions == Counts(1, 1, right)
    assert score.tolerance == tolerance


def test_a_missed_and_an_invented_division() -> None:
    truth, found = movie(), movie()
    missed = score_tracks(truth, found, PARENTS, {})
    assert missed.divisions == Counts(1, 0, 0)
    assert np.isnan(missed.row()["division_precision"])
    assert (missed.row()["division_recall"], missed.row()["division_f1"]) == (0.0, 0.0)
    assert missed.links == Counts(18, 16, 16)  # the steps to the daughters
    invented = score_tracks(truth, found, {}, PARENTS)
    assert invented.divisions == Counts(0, 1, 0)
    assert invented.links == Counts(16, 18, 16)


def test_other_daughters_are_another_division() -> None:
    found = movie()
    found[4:, :, 30:36], found[4:, :, 14:20] = 3, 9  # 3 is where 9 is, and the other way round
    score = score_tracks(movie(), found, PARENTS, PARENTS)
    assert score.divisions == Counts(1, 1, 0)
    # lost: two steps into frame 4, of 3 and of 9
    assert score.links == Counts(18, 18, 16)


def test_three_daughters_are_not_two() -> None:
    found = movie()
    found[4:, :, 24:26] = 4
    assert score_tracks(movie(), found, PARENTS, {**PARENTS, 4: 1}).divisions == Counts(1, 1, 0)


def test_a_gap_is_a_link_in_both_ways_of_writing_it() -> None:
    truth, found = movie(), movie()
    truth[2], found[2] = 0, 0
    truth[3:][truth[3:] == 9] = (
        10  # as in the format of the challenge: the number before the gap is the parent
    )
    score = score_tracks(truth, found, {**PARENTS, 10: 9}, PARENTS)
    assert score.links == Counts(16, 16, 16)
    assert score.divisions == Counts(1, 1, 1)


def test_markers_are_found_by_what_covers_them() -> None:
    truth, found = np.zeros((2, 3, WIDTH), np.int32), np.zeros((2, 3, WIDTH), np.int32)
    truth[:, 1, 10:12], truth[:, 1, 20:23] = 1, 2
    found[:, :, 5:30] = 6  # covers both: stands for the larger
    assert score_tracks(truth, found).objects == Counts(4, 2, 2)
    found[:] = 0
    found[:, 1, 11] = 3  # half of the marker is not more than half
    found[:, 1, 20:22] = 4
    score = score_tracks(truth, found)
    assert (score.objects, score.links) == (Counts(4, 4, 2), Counts(2, 2, 1))


def test_without_parents_divisions_are_not_scored() -> None:
    for true, found in ((None, PARENTS), (PARENTS, None)):
        score = score_tracks(movie(), movie(), true, found)
        assert score.divisions is None
        assert (score.row()["divisions"], np.isnan(score.row()["division_f1"])) == (0, True)


def test_scores_of_movies_are_added() -> None:
    score = score_tracks(movie(), movie(), PARENTS, PARENTS)
    assert (score + score).divisions == Counts(2, 2, 2)
    assert (score + score_tracks(movie(), movie())).divisions == Counts(1, 1, 1)
    assert (score + score).links == Counts(36, 36, 36)


def test_empty_movies() -> None:
    nothing = np.zeros((3, 5, 7), np.int32)
    score = score_tracks(nothing, nothing, {}, {})
    assert (score.objects, score.links, score.divisions) == (Counts(0, 0, 0),) * 3
    assert np.isnan(score.row()["link_precision"])
    with pytest.raises(InputMismatch):
        score_tracks(nothing, nothing[1:])
