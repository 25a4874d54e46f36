"""Faults in the labels that a second stage sees."""

import numpy as np
import pytest

from deepbio.training.spoil import spoil_labels


@pytest.mark.parametrize("seed", range(30))
def test_a_class_is_spoilt_alike_however_much_lies_around_it(seed: int) -> None:
    labels = np.zeros((24, 25, 27), np.int32)
    labels[8:12, 9:16, 10:17] = 1
    labels[11, 12, 12:15] = 0
    labels[14:17, 9:12, 10:13] = 3
    before = labels.copy()
    spoilt = spoil_labels(labels, np.random.default_rng(seed))
    np.testing.assert_array_equal(labels, before)
    assert set(np.unique(spoilt)) <= {0, 1, 3}
    wide = spoil_labels(np.pad(labels, 11), np.random.default_rng(seed))
    np.testing.assert_array_equal(wide, np.pad(spoilt, 11))


def test_some_patches_are_spoilt_and_most_are_not() -> None:
    labels = np.zeros((9, 20, 21), np.int32)
    labels[3:6, 6:12, 6:12] = 1
    changed = [(spoil_labels(labels, np.random.default_rng(s)) != labels).any() for s in range(200)]
    assert 30 < sum(changed) < 90
