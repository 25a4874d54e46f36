"""How alike two sets of feature vectors are: FID, KID, and nearest neighbours."""

from __future__ import annotations

import numpy as np

__all__ = ["frechet_distance", "kernel_distance", "nearest_distances"]


def frechet_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Squared distance of two normal distributions with the sets' means and covariances.

    With features of an Inception network this is the FID (Heusel et al. 2017, arXiv:1706.08500). It is
    too large for few vectors: compare sets of equal size, and know what two real sets give.

    Parameters
    ----------
    one, two : ndarray, shape (N, D) and (M, D)
        At least two vectors each.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> near, far = random.normal(0, 1, (500, 3)), random.normal(2, 1, (500, 3))
    >>> round(frechet_distance(near, near), 6), round(frechet_distance(near, far), 1)
    (0.0, 11.6)
    """
    if min(len(one), len(two)) < 2:
        raise ValueError(f"{len(one)} and {len(two)} vectors; each set needs two")
    mean = float(np.square(one.mean(0) - two.mean(0)).sum())
    first, second = np.atleast_2d(np.cov(one.T)), np.atleast_2d(np.cov(two.T))
    # trace of the root of a product of covariances, by a symmetric matrix with the same eigenvalues
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ second @ root)
    trace = float(np.trace(first) + np.trace(second) - 2 * np.sqrt(np.clip(middle, 0, None)).sum())
    return max(mean + trace, 0.0)


def kernel_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x . y / D + 1) ** 3``.

    With features of an Inception network this is the KID (Binkowski et al. 2018, arXiv:1801.01401); 0 is
    expected of two sets of one kind, of any size, so that it may come out a little below.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> near, same, far = (random.normal(m, 1, (400, 3)) for m in (0, 0, 2))
    >>> abs(kernel_distance(near, same)) < 0.1 < kernel_distance(near, far)
    True
    """
    if min(len(one), len(two)) < 2:
        raise ValueError(f"{len(one)} and {len(two)} vectors; each set needs two")
    first, second = np.asarray(one, float), np.asarray(two, float)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    def apart(a: np.ndarray) -> float:
        found = kernel(a, a)
        return float((found.sum() - np.trace(found)) / (len(a) * (len(a) - 1)))

    return apart(first) + apart(second) - 2 * float(kernel(first, second).mean())


def nearest_distances(some: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Distance of each vector of a set to the nearest of another.

    Examples
    --------
    >>> nearest_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [9.0, 9.0]])).round(2)
    array([1.  , 4.24])
    """
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(among).query(some)[0])
