"""Objects from probabilities and distances along rays, as the program StarDist finds them in 2D.

Each pixel of the network's grid with a high probability is a candidate: a polygon whose corners lie at the distances
along the rays. In the order of their probabilities candidates are taken, and those that overlap one by
more than a part of the smaller of the two are dropped (greedy non-maximum suppression). What is left is
drawn, the most probable on top.

Method: Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018 (doi:10.1007/978-3-030-00934-2_30). So
that labels are those of StarDist 0.9, corners are rounded towards zero where overlaps are measured and not where
they are drawn, and candidates next to the border are left out, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from skimage.draw import polygon

from deepbio.errors import CardError
from deepbio.tasks.clipping import clipped_area
from deepbio.tasks.polygons import common_area, lens_area, simplified, twice_area
from deepbio.tasks.rays import rays_of

__all__ = ["StarRules", "check_stars", "kept_stars", "split_stars"]

_BORDER = 2  # places of the grid at each side that are no candidates
_AT_ONCE = 1024  # polygons
_ROUGH = 16  # corners with which overlaps are first looked at
_LEAST = np.float32(1e-3)  # pixels that a ray is long at least


class StarRules(Protocol):
    """What of a decoder is used here."""

    @property
    def threshold(self) -> float:
        """Probability from which a place is a candidate."""

    @property
    def overlap(self) -> float:
        """Common area, as a part of the smaller polygon, from which the less probable one is dropped."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Pixels between two places, along [z,] y and x."""

    @property
    def divisor(self) -> tuple[int, ...]:
        """Sizes to whose multiples the network's image was padded."""


def check_stars(grid: Sequence[int], divisor: Sequence[int], rays: Mapping[str, Any]) -> None:
    """Check what a card says of the grid and, in 3D, of the rays.

    Raises
    ------
    CardError
        If it is not two or three numbers each, the divisor is no multiple of the grid, or there are no such rays.
    """
    multiples = [d % g == 0 for g, d in zip(grid, divisor, strict=False)]
    if len(grid) not in (2, 3) or len(divisor) != len(grid) or not all(multiples):
        raise CardError(
            f"The card's 'decode' has the method 'stars', grid {list(grid)} and divisor {list(divisor)}; expected "
            "two numbers each, along y and x, or three, along z, y and x, and multiples of the grid as divisor."
        )
    if not isinstance(rays, Mapping) or bool(rays) != (len(grid) == 3):
        raise CardError(
            f"The card's 'decode' has the method 'stars', grid {list(grid)} and rays {repr(rays)[:200]}; expected the "
            "rays' name and numbers in 3D, and nothing in 2D."
        )
    if rays:
        rays_of(rays)


def split_stars(
    scores: np.ndarray, rules: StarRules, shape: tuple[int, ...], top: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a window, and the pixel that each was found from.

    Parameters
    ----------
    scores : ndarray of float32, shape (1 + rays, rows, columns)
        Probability and distances in pixels, at the places of the grid.
    rules : StarRules
        Thresholds and grid.
    shape : tuple of int
        Pixels of the window along y and x.
    top : int
        First row of the window in the image, a multiple of the divisor; numbers are rounded as in the whole.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
        Objects, 1 to n in the order of their anchors; one that others cover has no pixels.
    anchors : ndarray of int64, shape (n,)
        Flat index, in the window, of the centre that each object's rays begin at.
    """
    places, prob, dist = _candidates(scores, rules, shape)
    order = np.argsort(prob, kind="stable")[::-1]
    points = places[order] * np.array(rules.grid)
    dist = dist[order]
    kept = kept_stars(points + [top, 0], dist, rules.overlap, rules.grid)
    points, dist = points[kept], dist[kept]
    anchors = points[:, 0] * shape[1] + points[:, 1]
    ranks = np.argsort(np.argsort(anchors))
    labels = np.zeros(shape, np.int32)
    corners = _corners(points + [top, 0], dist)
    corners[:, 0] -= top
    for number in reversed(range(len(points))):  # the most probable is drawn last
        inside = polygon(corners[number, 0], corners[number, 1], shape)  # type: ignore[no-untyped-call]
        labels[inside] = ranks[number] + 1
    return labels, np.sort(anchors)


def _candidates(
    scores: np.ndarray, rules: StarRules, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places on the grid, shape (n, 2), their probabilities and their distances, shape (n, rays)."""
    high = scores[0] > np.float32(rules.threshold)
    for axis, (n, step, divisor) in enumerate(zip(shape, rules.grid, rules.divisor, strict=True)):
        places = np.arange(high.shape[axis])
        padded = -(-n // divisor) * divisor // step  # the border is that of the padded image
        off = (places < _BORDER) | (places >= padded - _BORDER)
        high &= ~(off[:, None] if axis == 0 else off)
    found = np.nonzero(high)
    dist = np.maximum(scores[1:, found[0], found[1]].T, _LEAST)
    return np.stack(found, axis=1), scores[0][found], dist


def _corners(points: np.ndarray, dist: np.ndarray) -> np.ndarray:
    """Corners y and x of polygons to draw, shape (n, 2, rays): float64 with the precision of float32."""
    angles = np.linspace(0, 2 * np.pi, dist.shape[1], endpoint=False)
    arms = (dist[:, None] * np.array([np.sin(angles), np.cos(angles)])).astype(np.float32)
    return (arms + points[..., None]).astype(np.float32).astype(float)


@dataclass(frozen=True)
class _Outlines:
    """Polygons as overlaps are measured.

    Attributes
    ----------
    points : ndarray of int64, shape (n, 2)
        Centres.
    arms : ndarray of float32, shape (n, 2, rays)
        Whole numbers: corners from the centre.
    low, high : ndarray of float64, shape (n, 2)
        Boxes around them.
    area : ndarray of float64, shape (n,)
        In square pixels.
    inner, outer : ndarray of float64, shape (n,)
        Radii of discs around the centre: one that lies in the polygon, and one that holds it.
    rough : ndarray of float32, shape (n, 2, fewer)
        Polygons of fewer corners.
    error : ndarray of float64, shape (n,)
        How much of their area is wrong at most.
    slack : ndarray of float64, shape (n,)
        Share of each in how much rounded corners change a common area.
    """

    points: np.ndarray
    arms: np.ndarray
    low: np.ndarray
    high: np.ndarray
    area: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    rough: np.ndarray
    error: np.ndarray
    slack: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, dist: np.ndarray) -> _Outlines:
        """Outlines of polygons, some at a time: what is computed of them then stays in the cache."""
        starts = range(0, len(points), _AT_ONCE)
        parts = [_measured(points[k : k + _AT_ONCE], dist[k : k + _AT_ONCE]) for k in starts]
        return cls(points, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _measured(points: np.ndarray, dist: np.ndarray) -> tuple[np.ndarray, ...]:
    """What :class:`_Outlines` has after its points."""
    step = np.float32(2 * np.pi / dist.shape[1])
    angles = (step * np.arange(dist.shape[1], dtype=np.float32)).astype(float)
    rays = np.array([np.sin(angles), np.cos(angles)]).astype(np.float32)
    centres = points[..., None].astype(np.float32)
    arms = np.trunc(centres + dist[:, None] * rays) - centres
    edges = np.concatenate([arms[:, :, 1:], arms[:, :, :1]], axis=2) - arms
    rough, error = simplified(arms, max(dist.shape[1] // _ROUGH, 1))
    return (
        arms,
        points + arms.min(2).astype(float),
        points + arms.max(2).astype(float),
        np.abs(twice_area(arms)).astype(float) / 2,
        _inner_radius(arms, edges),
        np.sqrt((arms**2).sum(1).max(1)).astype(float),
        rough,
        error,
        1 + np.sqrt((edges**2).sum(1).max(1)).astype(float),  # the longest edge
    )


def _inner_radius(arms: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Distance from the centre to the nearest edge; 0 where the centre is not inside."""
    square = (edges**2).sum(1)
    along = np.clip(-(arms * edges).sum(1) / np.maximum(square, 1), 0, 1)
    nearest = ((arms + along[:, None] * edges) ** 2).sum(1).min(1)
    turns = arms[:, 1] * edges[:, 0] - arms[:, 0] * edges[:, 1]
    return np.where((turns >= 0).all(1), np.sqrt(nearest), 0).astype(float)


def kept_stars(points: np.ndarray, dist: np.ndarray, overlap: float, grid: tuple[int, ...]) -> np.ndarray:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    points : ndarray of int64, shape (n, 2)
        Centres in pixels, the most probable first; no two are the same.
    dist : ndarray of float32, shape (n, rays)
        Distances in pixels.
    overlap : float
        Common area, as a part of the smaller polygon, from which the less probable one is dropped.
    grid : tuple of int
        Pixels between two possible centres, along y and x.

    Returns
    -------
    ndarray of int64
        Which ones are kept, in order.
    """
    if not len(points):
        return np.zeros(0, np.int64)
    outlines = _Outlines.of(points, dist)
    places = (points - points.min(0)) // np.array(grid)
    ranks = np.full(places.max(0) + 1, -1, np.int64)  # at each place: who is there, until it is dropped
    ranks[places[:, 0], places[:, 1]] = np.arange(len(points))
    dropped = np.zeros(len(points), bool)
    reach = outlines.outer.max()
    kept = []
    for number in range(len(points)):
        if dropped[number]:
            continue
        kept.append(number)
        ranks[tuple(places[number])] = -1
        far = np.ceil((outlines.outer[number] + reach) / np.array(grid)).astype(int)
        low, high = np.maximum(places[number] - far, 0), places[number] + far + 1
        near = ranks[low[0] : high[0], low[1] : high[1]]
        near = near[near >= 0]
        near = near[_dropped_by(number, near, outlines, np.float32(overlap))]
        dropped[near] = True
        ranks[places[near, 0], places[near, 1]] = -1
    return np.array(kept)


def _dropped_by(number: int, near: np.ndarray, outlines: _Outlines, overlap: np.float32) -> np.ndarray:
    """Which of some polygons have too much in common with another; discs decide where they can."""
    result = np.zeros(len(near), bool)
    meets = (outlines.low[near] <= outlines.high[number]) & (outlines.high[near] >= outlines.low[number])
    at = np.flatnonzero(meets.all(1))
    others = near[at]
    moved = (outlines.points[others] - outlines.points[number]).astype(float)
    distance = np.sqrt((moved**2).sum(1))
    least = np.minimum(outlines.area[others], outlines.area[number])
    limit = overlap * least
    slack = outlines.slack[number] + outlines.slack[others]
    sure = lens_area(distance, outlines.inner[number], outlines.inner[others]) > limit + slack
    possible = lens_area(distance, outlines.outer[number], outlines.outer[others]) > limit - slack
    result[at[sure]] = True
    left = np.flatnonzero(~sure & possible)
    rough = common_area(outlines.rough[number], outlines.rough[others[left]] + moved[left, :, None])
    error = outlines.error[number] + outlines.error[others[left]] + slack[left]
    result[at[left]] = rough > limit[left]
    left = left[np.abs(rough - limit[left]) <= error]
    exact = common_area(outlines.arms[number], outlines.arms[others[left]] + moved[left, :, None])
    result[at[left]] = _is_more(exact, least[left], overlap)
    for k in left[np.abs(exact - limit[left]) <= slack[left]]:
        pair = [outlines.arms[one] + outlines.points[one][:, None] for one in (number, others[k])]
        result[at[k]] = _is_more(clipped_area(*pair), least[k], overlap)
    return result


def _is_more(common: np.ndarray | float, least: np.ndarray, overlap: np.float32) -> np.ndarray:
    """Compared in single precision: a common area of exactly the part that is allowed is not more."""
    return np.asarray((common / (least + 1e-10)).astype(np.float32) > overlap)
