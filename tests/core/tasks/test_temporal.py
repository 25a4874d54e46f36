"""Scores made steady in time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from deepbio.tasks.temporal import low_pass, softmax, steadied


def test_a_gaussian_goes_round_where_the_movie_does() -> None:
    scores = np.full((2, 6, 2), -8.0, np.float32)
    scores[1], scores[1, 0], scores[0, 0] = 8.0, -8.0, 8.0
    cyclic = steadied(scores, smooth=1.0, cyclic=True)
    plain = steadied(scores, smooth=1.0)
    assert cyclic[0, 5, 0] == pytest.approx(float(cyclic[0, 1, 0]), rel=1e-5)
    assert plain[0, 5, 0] < 0.01 < plain[0, 1, 0]
    np.testing.assert_array_equal(steadied(scores), softmax(scores))


def discs(radii: list[float]) -> NDArray[np.float32]:
    """Scores of two classes: a disc of each radius in a frame of odd size."""
    y, x = np.mgrid[:37, :41]
    away = np.hypot(y - 17, x - 21)
    margin = np.stack(
        [np.full(away.shape, -9.0) if r <= 0 else np.clip(2 * (r - away), -9, 9) for r in radii]
    )
    return np.stack([-margin / 2, margin / 2]).astype(np.float32)


def sizes(probability: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray((probability[1] > 0.5).sum((1, 2)))


def test_waves_keep_the_extent_of_a_cycle_that_a_gaussian_flattens() -> None:
    """A disc whose radius goes as a cosine, with one frame that says otherwise."""
    radii = [10 + 3 * math.cos(2 * math.pi * t / 20) for t in range(20)]
    truth = sizes(softmax(discs(radii)))
    radii[6] += 3
    waves = sizes(steadied(discs(radii), harmonics=2, cyclic=True))
    gauss = sizes(steadied(discs(radii), smooth=2.0, cyclic=True))
    astray = sizes(softmax(discs(radii)))[6] - truth[6]
    assert astray > 0.5 * truth[6]
    assert abs(waves[6] - truth[6]) < 0.25 * astray
    np.testing.assert_allclose(waves, truth, rtol=0.25)
    assert np.ptp(waves) > 0.96 * np.ptp(truth)
    assert np.ptp(gauss) < 0.95 * np.ptp(waves)


def test_what_comes_and_goes_grows_and_shrinks() -> None:
    radii = [8.0] * 9 + [0.0] * 11
    found = sizes(steadied(discs(radii), harmonics=2, cyclic=True))
    steps = np.abs(np.diff(found, append=found[:1]))
    assert found.max() > 150
    assert found.min() == 0
    assert steps.max() < 0.6 * found.max()  # before: all of it between two frames


def test_each_class_has_its_own_border() -> None:
    labels = np.zeros((6, 12, 15), int)
    labels[:, 3:9, 2:8], labels[:, 3:9, 8:13] = 1, 2
    scores = np.stack([(labels == k) * 6.0 for k in range(3)]).astype(np.float32)
    np.testing.assert_array_equal(steadied(scores, harmonics=1, cyclic=True).argmax(0), labels)


@pytest.mark.parametrize("count", [5, 8])
def test_all_waves_change_nothing_but_certainty(count: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(-4, 4, (3, count)).astype(np.float32)
    scores -= scores.mean(0)
    scores = np.clip(scores, -4, 4)
    scores -= scores.mean(0)
    np.testing.assert_allclose(low_pass(scores, count, axis=1), scores, atol=1e-5)
    kept = steadied(scores, harmonics=count, cyclic=True)
    np.testing.assert_array_equal(kept.argmax(0), scores.argmax(0))


def test_no_wave_is_the_mean() -> None:
    values = np.random.default_rng(1).normal(size=(2, 7, 3))
    np.testing.assert_allclose(low_pass(values, 0, axis=1)[:, 4], values.mean(1), atol=1e-6)


def test_waves_are_of_a_cycle() -> None:
    with pytest.raises(ValueError, match="set cyclic"):
        steadied(np.zeros((2, 5, 3), np.float32), harmonics=2)
