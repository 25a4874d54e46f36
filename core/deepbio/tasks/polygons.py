"""How much of a polygon lies in others: for star-convex outlines, many at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["common_area", "lens_area", "simplified", "twice_area"]


def twice_area(polygons: np.ndarray) -> np.ndarray:
    """Twice the signed area of closed polygons.

    Parameters
    ----------
    polygons : ndarray, shape (n, 2, k)
        Coordinates y and x of k corners.

    Returns
    -------
    ndarray, shape (n,)
        Positive where corners go from x towards y.

    Examples
    --------
    >>> twice_area(np.array([[[0, 0, 2, 2], [0, 3, 3, 0]]])).tolist()
    [12]
    """
    y, x = polygons[:, 0], polygons[:, 1]
    area: np.ndarray = (x * _following(y) - y * _following(x)).sum(1)
    return area


def simplified(polygons: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of fewer corners, and how much they differ.

    Parameters
    ----------
    polygons : ndarray, shape (n, 2, k)
        Coordinates y and x of corners.
    step : int
        Every so-manyth corner is kept, from the first on.

    Returns
    -------
    fewer : ndarray, shape (n, 2, ceil(k / step))
        A view.
    difference : ndarray of float64, shape (n,)
        At least the area that belongs to only one of the two.

    Examples
    --------
    >>> octagon = np.array([[[0, 2, 3, 2, 0, -2, -3, -2], [3, 2, 0, -2, -3, -2, 0, 2]]])
    >>> fewer, difference = simplified(octagon, 2)
    >>> (np.abs(twice_area(octagon)) / 2 - np.abs(twice_area(fewer)) / 2).tolist(), difference.tolist()
    ([6.0], [6.0])
    """
    count = polygons.shape[2]
    first = np.arange(0, count, step)
    difference = np.zeros(len(polygons))
    for k in range(1, step):  # triangles between the kept edge and those left out
        middle, last = np.minimum(first + k, count) % count, np.minimum(first + k + 1, count) % count
        one = polygons[:, :, middle] - polygons[:, :, first]
        other = polygons[:, :, last] - polygons[:, :, first]
        difference += 0.5 * np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum(1)
    return polygons[:, :, ::step], difference


def _following(values: np.ndarray) -> np.ndarray:
    """At each corner the value of the next one."""
    return np.concatenate([values[:, 1:], values[:, :1]], axis=1)


def lens_area(distance: np.ndarray, first: np.ndarray | float, second: np.ndarray) -> np.ndarray:
    """Area that two discs have in common.

    Parameters
    ----------
    distance : ndarray
        Of their centres.
    first, second : ndarray or float
        Their radii, at least 0.

    Returns
    -------
    ndarray of float64
        In square pixels.

    Examples
    --------
    >>> lens_area(np.array([0.0, 2.0, 1.0]), 1.0, np.array([0.5, 1.0, 1.0])).round(3).tolist()
    [0.785, 0.0, 1.228]
    """
    d = np.maximum(distance, 1e-9)
    a, b = np.broadcast_to(first, d.shape), np.broadcast_to(second, d.shape)
    small = np.minimum(a, b)
    along = (d * d + a * a - b * b) / (2 * d)  # from the first centre to the chord
    half = np.sqrt(np.maximum(a * a - along * along, 0))
    area = a * a * np.arctan2(half, along) + b * b * np.arctan2(half, d - along) - d * half
    return np.where(d >= a + b, 0.0, np.where(d <= np.abs(a - b), np.pi * small * small, area))


def common_area(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that a polygon has in common with each of some others.

    A polygon is the sum of the trapezoids below its edges, counted with the direction of the edge. So the common
    area is a sum over pairs of edges, and needs no search for crossings.

    Parameters
    ----------
    one : ndarray, shape (2, k)
        Coordinates y and x of its corners.
    others : ndarray, shape (n, 2, k)
        Corners of the others.

    Returns
    -------
    ndarray of float64, shape (n,)
        In square pixels.

    Examples
    --------
    >>> square = np.array([[0, 0, 4, 4], [0, 4, 4, 0]])
    >>> common_area(square, np.stack([square + 1, square[:, ::-1] + [[3], [1]], square + 9])).tolist()
    [9.0, 3.0, 0.0]
    """
    mine, theirs = _edges(one[None]), _edges(others)
    meet = (mine.left[0, :, None] < theirs.right[:, None]) & (theirs.left[:, None] < mine.right[0, :, None])
    which, edge, other = np.nonzero(meet)
    left, right, y, slope, sign = (part[0, edge] for part in mine)
    left2, right2, y2, slope2, sign2 = (part[which, other] for part in theirs)
    start = np.maximum(left, left2)
    width = np.minimum(right, right2) - start
    y2 = y2 + slope2 * (start - left2)  # heights where both have begun
    gap = y + slope * (start - left) - y2
    change = (slope - slope2) * width
    least, most = np.minimum(gap, gap + change), np.maximum(gap, gap + change)
    # below both edges: what is below the second one, without what of it lies above the first one
    crossing = least * least / np.maximum(np.abs(change), 1e-300)
    above = np.where(most <= 0, -(gap + 0.5 * change), np.where(least < 0, 0.5 * crossing, 0))
    area = (y2 + 0.5 * slope2 * width - above) * width * sign * sign2
    total = np.bincount(which, area, minlength=len(others))
    return total * np.sign(twice_area(one[None])) * np.sign(twice_area(others))


class _Edges(NamedTuple):
    """Edges of polygons that are not vertical, as lines over x; each of shape (n, k)."""

    left: np.ndarray
    right: np.ndarray
    height: np.ndarray  # at the left
    slope: np.ndarray
    direction: np.ndarray  # 1 to the right, -1 to the left


def _edges(polygons: np.ndarray) -> _Edges:
    y, x = polygons[:, 0].astype(float), polygons[:, 1].astype(float)
    y_next, x_next = _following(y), _following(x)
    run = x_next - x
    slope = (y_next - y) / np.where(run == 0, 1, run)
    return _Edges(
        np.minimum(x, x_next), np.maximum(x, x_next), np.where(run > 0, y, y_next), slope, np.sign(run)
    )
