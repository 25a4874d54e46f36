"""Star-convex polyhedra on a lattice of voxels: which voxels lie inside, how large they are, what two have in common.

Centres are voxels, so the way from a centre to a voxel is whole numbers, and which triangle's cone it lies in is the
same for all polyhedra of the same rays. That is looked up; what is left for each voxel is a sum of three quotients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

from deepbio.tasks.rays import Rays

__all__ = ["Cones", "Polyhedra", "hull_volume", "kernel_volume", "lens_volume"]

_AT_ONCE = 2**20  # numbers that are computed at once
_MOST = 2**23  # voxels of a table; farther ones are computed anew each time
_ROOM = 8  # tables are somewhat larger than needed, so that the next image finds them large enough
_TINY = 1e-10
_SAME = 1e-6  # rays that differ by less are the same
_FLAT = 1e-6  # volume between unit vectors, six times


@dataclass(frozen=True, eq=False)
class Polyhedra:
    """Polyhedra and what is known of them at a glance.

    Attributes
    ----------
    rays : Rays
        Directions of their corners.
    points : ndarray of int64, shape (n, 3)
        Centres z, y, x.
    dist : ndarray of float32, shape (n, rays)
        From the centre to the corners.
    low, high : ndarray of int64, shape (n, 3)
        First and last voxel of the boxes around the rounded corners.
    volume : ndarray of float64, shape (n,)
        In voxels.
    """

    rays: Rays
    points: np.ndarray
    dist: np.ndarray
    low: np.ndarray
    high: np.ndarray
    volume: np.ndarray

    @classmethod
    def of(cls, rays: Rays, points: np.ndarray, dist: np.ndarray) -> Polyhedra:
        """Polyhedra of centres and distances."""
        low, high = (np.empty((len(points), 3), np.int64) for _ in range(2))
        volume = np.empty(len(points))
        for part in _parts(len(points), dist.shape[1] + len(rays.faces)):
            corners = dist[part, :, None] * rays.vertices
            at = np.rint(points[part, None].astype(np.float32) + corners)
            low[part], high[part] = at.min(1), at.max(1)
            volume[part] = _determinants(corners.astype(float), rays.faces).sum(1) / -6
        return cls(rays, points, dist, low, high, volume)

    def corners(self, number: int) -> np.ndarray:
        """Corners of one, shape (rays, 3), float32 as they are drawn."""
        found: np.ndarray = (
            self.points[number].astype(np.float32) + self.dist[number, :, None] * self.rays.vertices
        )
        return found

    def radii(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Radii of balls around the centres in a space stretched by `scale`: inside of each, and around each."""
        inner, outer = np.empty(len(self.points)), np.empty(len(self.points))
        for part in _parts(len(self.points), 3 * len(self.rays.faces)):
            corners = (self.dist[part, :, None] * self.rays.vertices).astype(float) * scale
            outer[part] = np.sqrt((corners**2).sum(2).max(1))
            a, b, c = (corners[:, self.rays.faces[:, k]] for k in range(3))
            normal = np.cross(c - a, b - a)
            away = (a * normal).sum(2) / (np.sqrt((normal**2).sum(2)) + _TINY)
            inner[part] = away.min(1)
        return inner, outer

    def mask(self, number: int, cones: Cones, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Which voxels of a box (first and last one) lie in one of them."""
        start = self.points[number]
        return cones.inside(self.dist[number], low - start, high - start)

    def drawn(self, number: int, cones: Cones, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """As :meth:`mask`, without what lies outside of the convex hull."""
        found = self.mask(number, cones, low, high)
        if cones.planes:
            hull = ConvexHull(self.corners(number).astype(float)).equations
            voxels = np.stack(np.nonzero(found), axis=1)
            outside = ((voxels + low) @ hull[:, :3].T + hull[:, 3] > 0).any(1)
            found[tuple(voxels[outside].T)] = False
        return found


def _parts(count: int, width: int) -> list[slice]:
    step = max(1, _AT_ONCE // width)
    return [slice(k, k + step) for k in range(0, count, step)]


def _determinants(corners: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Of the three corners of each triangle: six times the volumes of the cones, negative where it faces outward."""
    a, b, c = (corners[:, faces[:, k]] for k in range(3))
    found: np.ndarray = (a * np.cross(b, c)).sum(-1)
    return found


class Cones:
    """In which triangle's cone each way lies, and how it is made of that triangle's rays.

    Parameters
    ----------
    rays : Rays
        The directions.
    reach : sequence of int
        How far voxels lie from a centre, along z, y and x; those that are farther take longer.
    """

    def __init__(self, rays: Rays, reach: Sequence[int]) -> None:
        corners = rays.vertices[rays.faces].astype(float)
        has_volume = (
            np.abs(np.linalg.det(corners)) > _FLAT
        )  # those at the poles of a grid of longitudes have none
        self._faces = rays.faces[has_volume]
        self._inverse = np.linalg.inv(corners[has_volume].transpose(0, 2, 1))
        self._reach = _tabled(reach)
        self.planes = _open_planes(rays)
        self._table = self._computed(-self._reach, self._reach)

    def reaches(self, reach: Sequence[int]) -> bool:
        """Whether voxels as far away as this were thought of."""
        return bool((_tabled(reach) <= self._reach).all())

    def inside(self, dist: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Which voxels of a box lie in a polyhedron.

        Parameters
        ----------
        dist : ndarray of float32, shape (rays,)
            From the centre to the corners.
        low, high : ndarray of int64, shape (3,)
            First and last voxel of the box, from the centre.

        Returns
        -------
        ndarray of bool, shape ``high - low + 1``
        """
        if (low < -self._reach).any() or (high > self._reach).any():
            which, parts = self._computed(low, high)
        else:
            box = tuple(slice(a + n, b + n + 1) for a, b, n in zip(low, high, self._reach, strict=True))
            which, parts = (one[(slice(None), *box)] for one in self._table)
        found = _is_inside(1 / dist, which, parts)
        for axis in self.planes:
            if low[axis] <= 0 <= high[axis]:
                np.moveaxis(found, axis, 0)[-low[axis]] = True
        return found

    def holds(self, dist: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """Which ways end in polyhedra.

        Parameters
        ----------
        dist : ndarray of float32, shape (n, rays)
            Of polyhedra.
        ways : ndarray of int64, shape (3, n, m)
            From the centre of each to voxels, along z, y and x.

        Returns
        -------
        ndarray of bool, shape (n, m)
        """
        shape = ways.shape[1:]
        far = np.zeros(shape, bool)
        for way, reach in zip(ways, self._reach.tolist(), strict=True):
            if way.min() < -reach or way.max() > reach:
                far |= np.abs(way) > reach
        _, y, x = (2 * self._reach + 1).tolist()
        flat = (ways[0] * y + ways[1]) * x + ways[2] + self._table[0][0].size // 2
        flat[far] = 0
        which, parts = (one.reshape(3, -1).take(flat, axis=1) for one in self._table)
        if far.any():
            which[:, far], parts[:, far] = self._found(ways[:, far].T)
        which = which + (np.arange(shape[0]) * dist.shape[1])[:, None]
        found = _is_inside(1 / dist.ravel(), which, parts)
        for axis in self.planes:
            found |= ways[axis] == 0
        return found

    def _computed(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays and parts for a box of ways, each of shape (3, z, y, x)."""
        shape = tuple((high - low + 1).tolist())
        planes = [np.indices((1, *shape[1:])).reshape(3, -1).T + low + [k, 0, 0] for k in range(shape[0])]
        found = [self._found(plane) for plane in planes]
        which, parts = (np.concatenate([one[k] for one in found], axis=1) for k in range(2))
        return which.reshape(3, *shape), parts.reshape(3, *shape)

    def _found(self, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The triangle's rays, and how much of each makes the way: that triangle of which none is negative."""
        count = len(self._faces)
        inverse = self._inverse.reshape(3 * count, 3).T
        which, parts = np.empty((3, len(ways)), np.int16), np.empty((3, len(ways)), np.float32)
        for part in _parts(len(ways), 3 * count):
            made = (ways[part].astype(float) @ inverse).reshape(-1, count, 3)
            best = made.min(2).argmax(1)
            which[:, part] = self._faces[best].T
            parts[:, part] = made[np.arange(len(best)), best].T
        return which, parts


def _open_planes(rays: Rays) -> tuple[int, ...]:
    """Axes across which a plane through the centre counts as inside however far it goes, as it does in StarDist.

    Triangles without area, two of whose rays are the same pole, have no side that a voxel could lie on.
    """
    corners = rays.vertices[rays.faces].astype(float)
    flat = [np.abs(corners[:, a] - corners[:, b]).max(1) < _SAME for a, b in ((0, 1), (1, 2), (0, 2))]
    normals = np.concatenate(
        [
            np.cross(corners[same, a], corners[same, c])
            for same, (a, c) in zip(flat, ((0, 2), (1, 0), (0, 1)), strict=True)
        ]
    )
    across = np.abs(normals) > _SAME
    return tuple(axis for axis in range(3) if (across[across.sum(1) == 1, axis]).any())


def _tabled(reach: Sequence[int]) -> np.ndarray:
    """How far a table goes along each axis: somewhat farther than is asked, and not too far."""
    found = -(-np.array(reach, np.int64) // _ROOM) * _ROOM
    while (2 * found + 1).prod() > max(_MOST, 1):
        found[found.argmax()] -= 1
    return found


def _is_inside(inverse: np.ndarray, which: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Whether what a way is made of ends before the triangle of the corners."""
    found: np.ndarray = inverse.take(which[0]) * parts[0]
    for k in (1, 2):
        found += inverse.take(which[k]) * parts[k]
    return found <= 1


def lens_volume(distance: np.ndarray, first: np.ndarray | float, second: np.ndarray) -> np.ndarray:
    """Volume that two balls have in common.

    Parameters
    ----------
    distance : ndarray
        Of their centres.
    first, second : ndarray or float
        Their radii.

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> lens_volume(np.array([0.0, 2.0, 1.0]), 1.0, np.array([0.5, 1.0, 1.0])).round(3).tolist()
    [0.524, 0.0, 1.309]
    """
    d = np.maximum(distance, _TINY)
    small = np.minimum(first, second)
    half = (first + second - d) / 2 / d
    one, other = (second - first + d) * half, (first - second + d) * half
    lens = np.pi / 3 * (one**2 * (3 * first - one) + other**2 * (3 * second - other))
    within = np.maximum(first, second) >= distance + small - _TINY
    found = np.where(within, 4 / 3 * np.pi * small**3, lens)
    return np.where(distance > first + second, 0.0, found)


def kernel_volume(polyhedra: Polyhedra, one: int, other: int) -> float:
    """Volume of what sees all of both polyhedra; 0 if the middle between their centres does not."""
    halfspaces = np.concatenate([_face_planes(polyhedra, number) for number in (one, other)])
    return _common_volume(halfspaces, polyhedra.points[[one, other]].mean(0), 0.0)


def hull_volume(polyhedra: Polyhedra, one: int, other: int) -> float:
    """Volume that the convex hulls of two polyhedra have in common; infinite where it cannot be told."""
    try:
        hulls = [ConvexHull(polyhedra.corners(number).astype(float)).equations for number in (one, other)]
    except QhullError:
        return np.inf
    return _common_volume(np.concatenate(hulls), polyhedra.points[[one, other]].mean(0), np.inf)


def _face_planes(polyhedra: Polyhedra, number: int) -> np.ndarray:
    corners = polyhedra.corners(number)
    a, b, c = (corners[polyhedra.rays.faces[:, k]] for k in range(3))
    normal = -np.cross(b - a, c - a)
    return np.concatenate([normal, -(a * normal).sum(1, keepdims=True)], axis=1).astype(float)


def _common_volume(halfspaces: np.ndarray, point: np.ndarray, otherwise: float) -> float:
    try:
        found = HalfspaceIntersection(halfspaces, point).intersections
        return float(ConvexHull(found).volume)
    except (QhullError, ValueError):
        return otherwise
