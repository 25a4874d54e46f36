"""Objects from probabilities and distances along rays, as the program StarDist finds them in 3D.

As in 2D (:mod:`deepbio.tasks.stars`): in the order of their probabilities candidates are taken, and those that overlap
one by more than a part of the smaller of the two are dropped; what is left is drawn, the most probable on top.

Method: Weigert et al., Star-convex Polyhedra for 3D Object Detection and Segmentation in Microscopy, WACV 2020
(doi:10.1109/WACV45572.2020.9093435). StarDist 0.9 decides on two polyhedra by the first of these that can: balls and
boxes around both, balls inside of both, the volume that their kernels have in common, that of their hulls, and the
number of voxels in both. Volumes and voxels differ by little, so voxels alone decide here, and all of it only where
they are close to the limit. Most pairs are far from it: there a sample of the voxels will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from deepbio.tasks.polyhedra import Cones, Polyhedra, hull_volume, kernel_volume, lens_volume
from deepbio.tasks.rays import Rays
from deepbio.tasks.stars import StarRules

__all__ = ["Candidates", "candidate_bands", "candidates_of", "kept_polyhedra", "split_stars_3d"]

_BORDER = 2  # places of the grid at each side that are no candidates
_LEAST = np.float32(1e-3)  # voxels that a ray is long at least
_SAMPLE = 512  # voxels
_SURE = 6.0  # standard deviations of what a sample tells
_AT_ONCE = 2**19  # voxels that are looked up at once
_FRINGE = 0.5  # part of the largest section by which volumes and voxels differ at most
_TINY = 1e-10
_made: list[tuple[Rays, Cones]] = []  # the last ones, for the next window or frame


@dataclass(frozen=True)
class Candidates:
    """Places that may be centres of objects.

    Attributes
    ----------
    points : ndarray of int64, shape (n, 3)
        Voxels z, y, x in the image.
    prob : ndarray of float32, shape (n,)
        Their probabilities.
    dist : ndarray of float32, shape (n, rays)
        Distances in voxels.
    """

    points: np.ndarray
    prob: np.ndarray
    dist: np.ndarray

    def chosen(self, which: np.ndarray) -> Candidates:
        """Some of them, by a mask or by numbers."""
        return Candidates(self.points[which], self.prob[which], self.dist[which])

    @classmethod
    def joined(cls, parts: list[Candidates], rays: int) -> Candidates:
        """Those of several parts of an image."""
        none = cls(np.zeros((0, 3), np.int64), np.zeros(0, np.float32), np.zeros((0, rays), np.float32))
        return cls(
            *(
                np.concatenate([getattr(one, name) for one in (none, *parts)])
                for name in ("points", "prob", "dist")
            )
        )


def candidates_of(
    scores: np.ndarray, rules: StarRules, start: tuple[int, ...], shape: tuple[int, ...]
) -> Candidates:
    """Candidates in a part of an image.

    Parameters
    ----------
    scores : ndarray of float32, shape (1 + rays, z, y, x)
        Probability and distances in voxels, at the places of the grid.
    rules : StarRules
        Threshold, grid and divisor.
    start : tuple of int
        Voxel of the first place in the image, a multiple of the grid.
    shape : tuple of int
        Voxels of the image.
    """
    high = scores[0] > np.float32(rules.threshold)
    for axis, (n, step, divisor) in enumerate(zip(shape, rules.grid, rules.divisor, strict=True)):
        places = np.arange(high.shape[axis]) + start[axis] // step
        padded = -(-n // divisor) * divisor // step  # the border is that of the padded image
        off = (places < _BORDER) | (places >= padded - _BORDER) | (places * step >= n)
        sides = [1, 1, 1]
        sides[axis] = -1
        high &= ~off.reshape(sides)
    found = np.nonzero(high)
    points = np.stack(found, axis=1) * np.array(rules.grid) + np.array(start)
    z, y, x = found
    return Candidates(points, scores[0][found], np.maximum(scores[1:, z, y, x].T, _LEAST))


def candidate_bands(
    pieces: Iterable[tuple[tuple[int, ...], np.ndarray]], rules: StarRules, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, Candidates]]:
    """Candidates in bands along the first axis, of parts of an image.

    Parameters
    ----------
    pieces : iterable of (start, scores)
        As :func:`deepbio.engine.slabs.predict_pieces` gives them.
    rules : StarRules
        Threshold, grid and divisor.
    shape : tuple of int
        Voxels of the image.

    Yields
    ------
    start, stop : int
        Slices, without gap.
    found : Candidates
    """
    parts: list[Candidates] = []
    first = stop = rays = 0
    for start, scores in pieces:
        if start[0] != first:
            yield first, stop, Candidates.joined(parts, rays)
            first, parts = start[0], []
        parts.append(candidates_of(scores, rules, start, shape))
        stop, rays = min(start[0] + scores.shape[1] * rules.grid[0], shape[0]), len(scores) - 1
    yield first, stop, Candidates.joined(parts, rays)


def split_stars_3d(
    found: Candidates, rays: Rays, overlap: float, shape: tuple[int, ...], first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a window, and the voxel that each was found from.

    Parameters
    ----------
    found : Candidates
        In the window.
    rays : Rays
        Directions of their distances.
    overlap : float
        Common volume, as a part of the smaller polyhedron, from which the less probable one is dropped.
    shape : tuple of int
        Voxels of the window along z, y and x.
    first : int
        Its first slice in the image.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
        Objects, 1 to n in the order of their anchors; one that others cover has no voxels.
    anchors : ndarray of int64, shape (n,)
        Flat index, in the window, of the centre that each object's rays begin at.
    """
    order = np.argsort(found.prob, kind="stable")[::-1]
    found = found.chosen(order)
    polyhedra = Polyhedra.of(rays, found.points - [first, 0, 0], found.dist)
    labels = np.zeros(shape, np.int32)
    if not len(order):
        return labels, np.zeros(0, np.int64)
    cones = _cones(polyhedra)
    kept = kept_polyhedra(polyhedra, overlap, cones)
    anchors = np.ravel_multi_index(tuple(polyhedra.points[kept].T), shape)
    ranks = np.argsort(np.argsort(anchors))
    for rank, number in zip(ranks[::-1], kept[::-1], strict=True):  # the most probable is drawn last
        low, high = (
            np.maximum(polyhedra.low[number], 0),
            np.minimum(polyhedra.high[number], np.array(shape) - 1),
        )
        if (low > high).any():
            continue
        part = labels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
        part[polyhedra.drawn(number, cones, low, high)] = rank + 1
    return labels, np.sort(anchors)


def _cones(polyhedra: Polyhedra) -> Cones:
    """Large enough for all polyhedra; those of the last window where they are."""
    low, high = polyhedra.points - polyhedra.low, polyhedra.high - polyhedra.points
    reach = np.maximum(low, high).max(0).tolist()
    for rays, cones in _made:
        if rays is polyhedra.rays and cones.reaches(reach):
            return cones
    cones = Cones(polyhedra.rays, reach)
    _made[:] = [(polyhedra.rays, cones)]
    return cones


def kept_polyhedra(polyhedra: Polyhedra, overlap: float, cones: Cones | None = None) -> np.ndarray:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    polyhedra : Polyhedra
        The most probable first.
    overlap : float
        Common volume, as a part of the smaller one, from which the less probable one is dropped.
    cones : Cones, optional
        Which reach as far as they do.

    Returns
    -------
    ndarray of int64
        Which ones are kept, in order.
    """
    suppression = _Suppression(polyhedra, np.float32(overlap), cones or _cones(polyhedra))
    kept = []
    for number in range(len(polyhedra.points)):
        if not suppression.dropped[number]:
            kept.append(number)
            suppression.drop_by(number)
    return np.array(kept, np.int64)


@dataclass
class _Suppression:
    """Which polyhedra are dropped, as the kept ones are gone through."""

    polyhedra: Polyhedra
    overlap: np.float32
    cones: Cones
    dropped: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.dropped = np.zeros(len(self.polyhedra.points), bool)
        size = (self.polyhedra.high - self.polyhedra.low).mean(0)
        self._scale = size.max() / np.maximum(size, _TINY)  # makes objects about as long along all axes
        self._inner, self._outer = self.polyhedra.radii(self._scale)
        self._reach = self._outer.max()
        self._tree = cKDTree(self.polyhedra.points * self._scale)

    def drop_by(self, number: int) -> None:
        """Drop those that one has too much in common with."""
        scaled = self.polyhedra.points[number] * self._scale
        near = np.array(self._tree.query_ball_point(scaled, self._outer[number] + self._reach), np.int64)
        near = np.sort(near[(near > number) & ~self.dropped[near]])
        if len(near):
            self.dropped[near[self._too_much(number, near)]] = True

    def _too_much(self, number: int, near: np.ndarray) -> np.ndarray:
        """Which of some have too much in common with one; what is quick goes first."""
        all_ = self.polyhedra
        least = np.minimum(all_.volume[near], all_.volume[number]) + _TINY
        distance = np.sqrt((((all_.points[near] - all_.points[number]) * self._scale) ** 2).sum(1))
        most = np.minimum(
            self._lens(distance, self._outer[number], self._outer[near]), self._boxes(number, near)
        )
        possible = (most >= _TINY) & (np.minimum(most / least, 1) > self.overlap)
        sure = self._lens(distance, self._inner[number], self._inner[near]) / least > self.overlap
        result = possible & sure
        left = np.flatnonzero(possible & ~sure)
        if len(left):
            result[left] = self._by_voxels(number, near[left], self.overlap * least[left])
        return result

    def _lens(self, distance: np.ndarray, one: float, others: np.ndarray) -> np.ndarray:
        """Volume that balls have in common, in voxels; of a ball in another, StarDist leaves the stretching in."""
        within = np.maximum(one, others) >= distance + np.minimum(one, others) - _TINY
        volume = lens_volume(distance, one, others)
        return np.where(within, volume, volume / self._scale.prod())

    def _boxes(self, number: int, near: np.ndarray) -> np.ndarray:
        low = np.maximum(self.polyhedra.low[near], self.polyhedra.low[number])
        high = np.minimum(self.polyhedra.high[near], self.polyhedra.high[number])
        return np.maximum(high - low, 0).prod(1).astype(float)

    def _by_voxels(self, number: int, near: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """By the voxels in both; a sample first, then all of them, then as StarDist does."""
        all_ = self.polyhedra
        low, high = all_.low[number], all_.high[number]
        own = all_.mask(number, self.cones, low, high)
        fringe = self._fringe(number, near)
        counts, error = self._sampled(own, low, near)
        open_ = np.flatnonzero(np.abs(counts - limit) <= _SURE * error + fringe)
        for k in open_[error[open_] > 0]:
            counts[k] = self._common(own, low, high, near[k])
        result = counts > limit
        for k in open_[np.abs(counts[open_] - limit[open_]) <= fringe[open_]]:
            result[k] = self._as_stardist(number, near[k], counts[k], limit[k])
        return result

    def _fringe(self, number: int, near: np.ndarray) -> np.ndarray:
        """How much volumes and numbers of voxels may differ."""
        low = np.maximum(self.polyhedra.low[near], self.polyhedra.low[number])
        high = np.minimum(self.polyhedra.high[near], self.polyhedra.high[number])
        size = np.sort(np.maximum(high - low + 1, 0), axis=1)
        return np.asarray(1 + _FRINGE * size[:, 1] * size[:, 2])

    def _sampled(self, own: np.ndarray, low: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """About how many voxels each of some has in common with one, and the standard deviation of that."""
        all_, flat = self.polyhedra, np.flatnonzero(own)
        share = max(1, len(flat) // _SAMPLE)
        voxels = np.stack(np.unravel_index(flat[share // 2 :: share], own.shape)) + low[:, None]
        count = max(voxels.shape[1], 1)
        hits, step = np.zeros(len(near)), max(1, _AT_ONCE // count)
        for start in range(0, len(near), step):
            some = near[start : start + step]
            ways = voxels[:, None] - all_.points[some].T[..., None]
            inside = np.ones(ways.shape[1:], bool)
            for axis, voxel in enumerate(() if self.cones.planes else voxels):
                inside &= voxel >= all_.low[some, axis, None]
                inside &= voxel <= all_.high[some, axis, None]
            ways *= inside  # what lies outside of the box need not be looked up
            hits[start : start + step] = (inside & self.cones.holds(all_.dist[some], ways)).sum(1)
        part = hits / count
        error = len(flat) * np.sqrt((part * (1 - part) + 1 / count) / count)
        return part * len(flat), error * (share > 1)

    def _common(self, own: np.ndarray, low: np.ndarray, high: np.ndarray, other: int) -> int:
        """Voxels of one, whose mask in its box is given, that lie in another."""
        all_ = self.polyhedra
        start, stop = low, high
        if not self.cones.planes:  # which go beyond the box
            start, stop = np.maximum(low, all_.low[other]), np.minimum(high, all_.high[other])
        if (start > stop).any():
            return 0
        box = tuple(slice(a, b + 1) for a, b in zip(start - low, stop - low, strict=True))
        return int((own[box] & all_.mask(other, self.cones, start, stop)).sum())

    def _as_stardist(self, number: int, other: int, count: float, limit: float) -> bool:
        """What StarDist asks one after the other."""
        if kernel_volume(self.polyhedra, number, other) > limit:
            return True
        return hull_volume(self.polyhedra, number, other) > limit and count > limit
