"""Several answers compared: mirrored back exactly, entropy and variance by hand."""

import numpy as np
import pytest

from deepbio.engine.device import cpu_device
from deepbio.engine.spread import Spread, Variant, entropy_of, variants_for


class Fixed:
    """A runtime that adds a number, or gives the same scores always."""

    name, precision, why = "fixed", "fp32", ""

    def __init__(self, add: float = 0.0, scores: np.ndarray | None = None) -> None:
        self.device = cpu_device()
        self.add, self.scores = add, scores

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.scores if self.scores is not None else batch + self.add


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_mirrored_tiles_come_back(axes) -> None:
    shape = (2, 1, 3, 5, 7)[: 2 + max(2, len(axes))]
    batch = np.random.default_rng(0).random(shape).astype(np.float32)
    flips = [one for one in variants_for(axes) if one.flip]
    assert len(flips) == 2 ** len(axes) - 1
    for variant in flips:
        assert not np.array_equal(variant.change(batch), batch)
        np.testing.assert_array_equal(variant.of(Fixed())(batch), batch)


def test_brightness_and_noise_in_deviations_of_each_image() -> None:
    batch = np.stack([np.arange(12.0), 100 * np.arange(12.0)]).reshape(2, 1, 3, 4).astype(np.float32)
    before = batch.copy()
    brighter, higher = Variant(shift=0.1).change(batch), Variant(gain=1.1).change(batch)
    noisy = Variant(noise=0.05).change(batch)
    std = batch.std((1, 2, 3))
    np.testing.assert_allclose((brighter - batch).mean((1, 2, 3)), 0.1 * std, rtol=1e-4)
    np.testing.assert_allclose(higher.std((1, 2, 3)), 1.1 * std, rtol=1e-5)
    np.testing.assert_allclose(higher.mean((1, 2, 3)), batch.mean((1, 2, 3)), rtol=1e-5)
    assert 0.01 < (noisy - batch)[0].std() / std[0] < 0.1
    np.testing.assert_array_equal(noisy, Variant(noise=0.05).change(batch))
    np.testing.assert_array_equal(batch, before)


def test_entropy_and_variance_by_hand() -> None:
    told = [np.float32([0.9, 0.1]), np.float32([0.5, 0.5]), np.float32([0.7, 0.3])]
    runtimes = [Fixed(scores=one.reshape(1, 2, 1, 1)) for one in told]
    entropy, variance = Spread(runtimes, lambda scores: scores)(np.zeros((1, 1, 1, 1), np.float32))[
        0, :, 0, 0
    ]
    assert entropy == pytest.approx(-(0.7 * np.log2(0.7) + 0.3 * np.log2(0.3)), abs=1e-6)
    assert variance == pytest.approx(np.var([0.9, 0.5, 0.7]), abs=1e-6)


def test_entropy_is_one_where_all_classes_are_alike() -> None:
    assert entropy_of(np.full((5, 3), 1 / 5), axis=0).tolist() == pytest.approx([1, 1, 1])
