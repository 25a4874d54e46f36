"""Scores made steady in time."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.tasks.temporal import low_pass, softmax, steadied


def test_a_gaussian_goes_round_where_the_movie_does() -> None:
    scores = np.full((2, 6, 2), -8.0, np.float32)
    scores[1], scores[1, 0], scores[0, 0] = 8.0, -8.0, 8.0
    cyclic = steadied(scores, smooth=1.0, cyclic=True)
    plain = steadied(scores, smooth=1.0)
    assert cyclic[0, 5, 0] == pytest.approx(float(cyclic[0, 1, 0]), rel=1e-5)
    assert plain[0, 5, 0] < 0.01 < plain[0, 1, 0]
    np.testing.assert_array_equal(steadied(scores), softmax(scores))


def test_waves_keep_the_extent_of_a_cycle_that_a_gaussian_flattens() -> None:
    """A border that moves as a cosine, with one frame that says otherwise."""
    place = np.arange(41)[None, :]
    border = 20 + 10 * np.cos(2 * np.pi * np.arange(20) / 20)[:, None]
    margin = np.clip((border - place) * 0.35, -8, 8)  # as scores of networks: soft at the border
    margin[6] = np.clip((border[6] + 4 - place) * 0.35, -8, 8)
    scores = np.stack([-margin / 2, margin / 2]).astype(np.float32)

    def sizes(probability: np.ndarray) -> np.ndarray:
        return np.asarray((probability[1] > 0.5).sum(1))

    raw = sizes(softmax(scores))
    waves = sizes(steadied(scores, harmonics=2, cyclic=True))
    gauss = sizes(steadied(scores, smooth=2.0, cyclic=True))
    assert raw[6] - waves[6] >= 2
    assert np.ptp(waves) >= 19
    assert np.ptp(gauss) < np.ptp(waves)


@pytest.mark.parametrize("count", [5, 8])
def test_all_waves_change_nothing_but_certainty(count: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(-4, 4, (3, count, 4, 5)).astype(np.float32)
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
