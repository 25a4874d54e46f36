"""What MONAI's Orientationd needs of nibabel, for machines without it: orders and directions of axes.

An orientation has a row for each axis of an array: the world axis (or axis of another array) that it lies along,
and 1 or -1 for its direction.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Sequence

import numpy as np

LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def io_orientation(affine: np.ndarray) -> np.ndarray:
    matrix = np.asarray(affine)[:-1, :-1]
    cosines = matrix / np.linalg.norm(matrix, axis=0)
    count = len(cosines)
    best = max(
        itertools.permutations(range(count)),
        key=lambda worlds: sum(abs(cosines[w, k]) for k, w in enumerate(worlds)),
    )
    return np.array([[w, 1 if cosines[w, k] > 0 else -1] for k, w in enumerate(best)], float)


def axcodes2ornt(axcodes: Sequence[str], labels: Sequence[Sequence[str]] | None = None) -> np.ndarray:
    pairs = labels or LABELS
    rows = []
    for code in axcodes:
        world = next(k for k, pair in enumerate(pairs) if code in pair)
        rows.append([world, 1 if pairs[world][1] == code else -1])
    return np.array(rows, float)


def ornt_transform(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    found = np.empty_like(start)
    for number, (world, direction) in enumerate(end):
        axis = int(np.flatnonzero(start[:, 0] == world)[0])
        found[axis] = [number, start[axis, 1] * direction]
    return found


def inv_ornt_aff(ornt: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    count = len(ornt)
    affine = np.zeros((count + 1, count + 1))
    affine[-1, -1] = 1
    for axis, (other, direction) in enumerate(ornt):
        affine[axis, int(other)] = direction
        affine[axis, -1] = 0 if direction > 0 else int(shape[axis]) - 1
    return affine


def aff2axcodes(affine: np.ndarray, labels: Sequence[Sequence[str]] | None = None) -> tuple[str, ...]:
    pairs = labels or LABELS
    return tuple(pairs[int(world)][int(direction > 0)] for world, direction in io_orientation(affine))


def stand_in() -> types.SimpleNamespace:
    """As much of the module ``nibabel``."""
    names = (io_orientation, axcodes2ornt, ornt_transform, inv_ornt_aff, aff2axcodes)
    functions = {function.__name__: function for function in names}
    return types.SimpleNamespace(orientations=types.SimpleNamespace(**functions), **functions)
