"""How much of a polygon lies in others: for star-convex outlines, many at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["common_area", "lens_area", "rounded_area", "simplified", "twice_area"]

_CLOSE = 1e-7  # pixels: what lies so near to an edge lies on it


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
    return _Edges(np.minimum(x, x_next), np.maximum(x, x_next), np.where(run > 0, y, y_next), slope, np.sign(run))


def rounded_area(one: np.ndarray, other: np.ndarray) -> float:
    """Area of what two polygons have in common, once its corners are rounded to whole pixels.

    Libraries that clip polygons with whole numbers give this area; that of :func:`common_area` is exact.

    Parameters
    ----------
    one, other : ndarray of integers, shape (2, k)
        Coordinates y and x of corners, which must not be on one line.

    Returns
    -------
    float
        In square pixels.

    Examples
    --------
    >>> triangle = np.array([[0, 0, 9], [0, 9, 4]])
    >>> float(common_area(triangle, triangle[None] + [[1], [1]])[0]), rounded_area(triangle, triangle + 1)
    (27.70..., 24.5)
    """
    pair = [_forward(polygon) for polygon in (one, other)]
    hits = [_crossings(*pair), _crossings(*pair[::-1])]
    total = sum(
        _boundary_inside(pair[k], pair[1 - k], *hits[k], shared=k == 0) for k in range(2)
    )
    return 0.5 * total


def _forward(polygon: np.ndarray) -> np.ndarray:
    """Corners from x towards y, shape (k, 2) of x and y."""
    points = polygon[::-1].T.astype(float)
    return points if twice_area(polygon[None])[0] > 0 else points[::-1]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _crossings(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the first polygon that are crossed, and where (0 to 1)."""
    along, across = np.roll(one, -1, 0) - one, np.roll(other, -1, 0) - other
    gap = other[None] - one[:, None]
    det = _cross(along[:, None], across[None])
    safe = np.where(det == 0, np.inf, det)
    t, u = _cross(gap, across[None]) / safe, _cross(gap, along[:, None]) / safe
    edge, which = np.nonzero((det != 0) & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1))
    return edge, t[edge, which]


def _boundary_inside(
    one: np.ndarray, other: np.ndarray, edge: np.ndarray, at: np.ndarray, *, shared: bool
) -> float:
    """What the first polygon's outline within the second adds to twice the common area.

    Parameters
    ----------
    one, other : ndarray, shape (k, 2)
        Corners x and y, forward.
    edge, at : ndarray
        Crossings along the first.
    shared : bool
        Whether pieces that lie on the second's outline, in the same direction, count.
    """
    count = len(one)
    edges = np.concatenate([np.arange(count), edge])
    order = np.lexsort((np.concatenate([np.zeros(count), at]), edges))
    edges, place = edges[order], np.concatenate([np.zeros(count), at])[order]
    start = one[edges] + place[:, None] * (np.roll(one, -1, 0) - one)[edges]
    end = np.roll(start, -1, 0)
    middle = 0.5 * (start + end)
    gap, across = other[None] - middle[:, None], np.roll(other, -1, 0) - other
    side = _cross(across[None], -gap)  # left of an edge: positive
    height, next_height = gap[..., 1], np.roll(gap[..., 1], -1, 1)
    up, down = (height <= 0) & (next_height > 0), (height > 0) & (next_height <= 0)
    winding = (up & (side > 0)).sum(1) - (down & (side < 0)).sum(1)
    along = -(gap * across).sum(2)
    square = (across**2).sum(1)
    on = (np.abs(side) < _CLOSE * np.sqrt(square)) & (along >= 0) & (along <= square)
    same = on & ((end - start) @ across.T > 0)
    counted = np.where(on.any(1), same.any(1) & shared, winding != 0)
    corners = np.floor(start + 0.5)
    return float(_cross(corners, np.roll(corners, -1, 0))[counted].sum())
