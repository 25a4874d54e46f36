"""Distances of sets of vectors, against formulas and brute force."""

import numpy as np
import pytest

from deepbio.metrics.distributions import frechet_distance, kernel_distance, nearest_distances


def test_frechet_of_known_moments() -> None:
    # two sets of four vectors each with covariances diag(4, 1) * 4 / 3 and their swap
    one = np.array([[2.0, 1], [2, -1], [-2, 1], [-2, -1]])
    two = one[:, ::-1] + [3, 0]
    # |mean|^2 = 9; trace of (A + B - 2 sqrt(AB)) with A = 4/3 diag(4, 1), B = 4/3 diag(1, 4)
    assert frechet_distance(one, two) == pytest.approx(9 + 4 / 3 * (5 + 5 - 2 * 4))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_kernel_against_loops() -> None:
    random = np.random.default_rng(4)
    one, two = random.normal(0, 1, (5, 3)), random.normal(1, 2, (4, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = [
        np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (one, two)
    ]
    across = np.mean([k(a, b) for a in one for b in two])
    assert kernel_distance(one, two) == pytest.approx(sum(within) - 2 * across)


def test_nearest() -> None:
    random = np.random.default_rng(5)
    some, among = random.normal(size=(7, 4)), random.normal(size=(9, 4))
    expected = np.linalg.norm(some[:, None] - among[None], axis=2).min(1)
    np.testing.assert_allclose(nearest_distances(some, among), expected)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_one_vector_is_no_distribution(distance: object) -> None:
    with pytest.raises(ValueError, match="1 and 3 vectors"):
        distance(np.zeros((1, 2)), np.zeros((3, 2)))  # type: ignore[operator]
