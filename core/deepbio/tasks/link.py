"""Objects of neighbouring slices that are one object: they get one label."""

from __future__ import annotations

import numpy as np
from scipy import sparse

__all__ = ["link_objects"]


def link_objects(
    before: np.ndarray, now: np.ndarray, threshold: float, counted: int
) -> tuple[np.ndarray, int]:
    """Number the objects of a slice so that they go on where those of the slice before it overlap.

    Pairs are made one to one, those of the largest intersection over union first; of equal ones, that of
    the lower labels. Objects without a partner are numbered on.

    Parameters
    ----------
    before : ndarray of int, shape (y, x)
        Labels of the slice before, as they are to stay; 0 is background.
    now : ndarray of int, shape (y, x)
        Labels of this slice, by any small numbers.
    threshold : float
        Least intersection over union of a pair, 0 to 1; objects that do not overlap are never a pair.
    counted : int
        Highest label so far.

    Returns
    -------
    labels : ndarray of int, shape (y, x)
        `now` with its new numbers, in its own type.
    counted : int
        Highest label now.

    Examples
    --------
    >>> before, now = np.array([[4, 4, 4, 0, 7]]), np.array([[0, 1, 1, 2, 0]])
    >>> link_objects(before, now, 0.5, 9)
    (array([[ 0,  4,  4, 10,  0]]), 10)
    """
    sizes = np.bincount(now.ravel())
    numbers = np.zeros(len(sizes), now.dtype)
    for old, new in _pairs(before, now, sizes, threshold):
        numbers[new] = old
    unmatched = (sizes > 0) & (numbers == 0)
    unmatched[0] = False
    added = int(np.count_nonzero(unmatched))
    numbers[unmatched] = np.arange(counted + 1, counted + 1 + added)
    return numbers[now], counted + added


def _pairs(before: np.ndarray, now: np.ndarray, sizes: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Pair each label with at most one of the other slice."""
    inside = (before > 0) & (now > 0)
    old, new = before[inside], now[inside]
    if not len(old):
        return []
    # stretches of pixels that share both labels: far fewer than pixels
    starts = np.flatnonzero(np.concatenate([[True], (old[1:] != old[:-1]) | (new[1:] != new[:-1])]))
    lengths = np.diff(starts, append=len(old))
    sizes_before = np.bincount(before.ravel())
    shape = len(sizes_before), len(sizes)
    shared = sparse.csr_array((lengths, (old[starts], new[starts])), shape).tocoo()  # adds up equal places
    old, new = shared.coords
    overlap = shared.data / (sizes_before[old] + sizes[new] - shared.data)
    candidates = np.lexsort((new, old, -overlap))
    candidates = candidates[overlap[candidates] >= threshold]
    taken: tuple[set[int], set[int]] = set(), set()
    pairs = []
    for one, other in zip(old[candidates].tolist(), new[candidates].tolist(), strict=True):
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            pairs.append((one, other))
    return pairs
