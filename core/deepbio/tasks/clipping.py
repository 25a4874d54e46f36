"""Common area of two polygons as libraries find it that clip with whole numbers.

A line sweeps over both polygons, from one corner's height to the next (Vatti, Communications of the ACM 35:56, 1992,
doi:10.1145/129902.129906). Where edges are between corners is rounded to whole pixels: at the height of each corner,
and where they cross. So an edge that passes a corner by less than half a pixel may be taken to hold it, and the area
differs by some pixels from the exact one. StarDist decides with such areas (of the library Clipper, version 6), so
close decisions need the same rounding; this is written for two polygons at a time and gives nothing but the area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["clipped_area"]

Point = tuple[int, int]


class _Edge(NamedTuple):
    """An edge that is not horizontal; the sweep goes towards smaller heights."""

    polygon: int
    number: int  # in its polygon
    forward: bool  # whether the polygon's direction is that of the sweep
    start: Point  # x and y
    end: Point
    slope: float  # change of x for each of y

    def at(self, y: int) -> int:
        """Where it is at a height, in whole pixels."""
        if y == self.end[1]:
            return self.end[0]
        return self.start[0] + _whole(self.slope * (y - self.start[1]))


def clipped_area(one: np.ndarray, other: np.ndarray) -> float:
    """Area that two polygons have in common, with corners rounded as they are found.

    Parameters
    ----------
    one, other : ndarray of whole numbers, shape (2, k)
        Coordinates y and x of corners.

    Returns
    -------
    float
        In square pixels; a multiple of a half.

    Examples
    --------
    >>> triangle = np.array([[0, 0, 9], [0, 9, 4]])
    >>> clipped_area(triangle, triangle), clipped_area(triangle, triangle + 1)
    (40.5, 24.5)
    """
    corners = [_corners(polygon) for polygon in (one, other)]
    if min(map(len, corners)) < 3:
        return 0.0
    edges = [_edges_of(points, k) for k, points in enumerate(corners)]
    levels = sorted({y for points in corners for _, y in points}, reverse=True)
    sweep = _Sweep(edges)
    for y, following in zip(levels, [*levels[1:], None], strict=True):
        sweep.pass_corners(y)
        if following is not None:
            sweep.move_to(y, following)
    return sweep.area


def _whole(value: float) -> int:
    """The nearest whole number; of two the one farther from 0."""
    return int(value - 0.5) if value < 0 else int(value + 0.5)


def _corners(polygon: np.ndarray) -> list[Point]:
    """Corners x and y, without those on a straight line."""
    points = [(int(x), int(y)) for y, x in polygon.T.tolist()]
    k, unchanged = 0, 0
    while len(points) > 2 and unchanged < len(points):
        (ax, ay), (bx, by), (cx, cy) = points[k - 1], points[k], points[(k + 1) % len(points)]
        if (bx - ax) * (cy - by) == (by - ay) * (cx - bx):
            del points[k]
            k, unchanged = max(k - 1, 0) % max(len(points), 1), 0
        else:
            k, unchanged = (k + 1) % len(points), unchanged + 1
    return points


def _edges_of(points: list[Point], polygon: int) -> list[_Edge | None]:
    """Edges in the polygon's order; None for horizontal ones."""
    edges: list[_Edge | None] = []
    for number, (first, last) in enumerate(zip(points, [*points[1:], points[0]], strict=True)):
        forward = last[1] < first[1]
        start, end = (first, last) if forward else (last, first)
        run = end[1] - start[1]
        slope = (end[0] - start[0]) / run if run else math.inf
        edges.append(_Edge(polygon, number, forward, start, end, slope) if run else None)
    return edges


@dataclass
class _Active:
    """An edge that the sweep cuts; `since` is the last corner of the common outline on it."""

    edge: _Edge
    side: int = 0  # 1: the common area ends here, -1: it begins, 0: neither
    since: Point = (0, 0)


class _Sweep:
    """Edges that are cut, from left to right, and the area that was passed."""

    def __init__(self, edges: list[list[_Edge | None]]) -> None:
        self.area = 0.0
        self._edges = edges
        self._active: list[_Active] = []
        self._begins: dict[int, list[_Edge]] = {}  # by height
        for edge in (one for polygon in edges for one in polygon if one is not None):
            self._begins.setdefault(edge.start[1], []).append(edge)

    def pass_corners(self, y: int) -> None:
        """Edges end, are followed by others, and begin."""
        entering = list(self._begins.get(y, []))
        kept: list[_Active] = []
        for one in self._active:
            if one.edge.end[1] != y:
                kept.append(one)
                continue
            self._turn(one, 0, one.edge.end)
            after = self._after(one.edge)
            if after is not None and after.start == one.edge.end:
                entering.remove(after)
                kept.append(_Active(after))
        self._active = kept
        for edge in entering:  # after a horizontal edge, too
            self._insert(edge, y)
        self._settle({id(one): (one.edge.at(y), y) for one in self._active})

    def _after(self, edge: _Edge) -> _Edge | None:
        """The edge that follows in the direction of the sweep; None where there is none or a horizontal one."""
        edges = self._edges[edge.polygon]
        after = edges[(edge.number + (1 if edge.forward else -1)) % len(edges)]
        return after if after is not None and after.forward == edge.forward else None

    def _insert(self, edge: _Edge, y: int) -> None:
        place = 0
        while place < len(self._active) and not _is_before(edge, self._active[place].edge, y):
            place += 1
        self._active.insert(place, _Active(edge))

    def move_to(self, y: int, following: int) -> None:
        """Sort the edges as they lie at the next height; where two change places they cross."""
        order = list(self._active)
        ends = {id(one): one.edge.at(following) for one in order}
        crossings: list[tuple[Point, _Active, _Active]] = []
        changed = True
        while changed:
            changed = False
            for k in range(len(order) - 1):
                left, right = order[k], order[k + 1]
                if ends[id(left)] > ends[id(right)]:
                    crossings.append((_crossing(left.edge, right.edge, y, following), left, right))
                    order[k], order[k + 1] = right, left
                    changed = True
        crossings.sort(key=lambda found: -found[0][1])
        while crossings:
            places = {id(one): k for k, one in enumerate(self._active)}
            number = next(
                (n for n, (_, a, b) in enumerate(crossings) if abs(places[id(a)] - places[id(b)]) == 1), 0
            )
            point, left, right = crossings.pop(number)
            a, b = places[id(left)], places[id(right)]
            self._active[a], self._active[b] = right, left
            self._settle({id(left): point, id(right): point})

    def _settle(self, points: dict[int, Point]) -> None:
        """Which edges bound the common area now; those that change do so at given points."""
        inside = [0, 0]
        for one in self._active:
            before = inside[0] != 0 and inside[1] != 0
            inside[one.edge.polygon] += 1 if one.edge.forward else -1
            now = inside[0] != 0 and inside[1] != 0
            if id(one) in points:
                self._turn(one, before - now, points[id(one)])

    def _turn(self, one: _Active, side: int, point: Point) -> None:
        """An edge begins or ceases to bound the common area; what lies between counts."""
        if side == one.side:
            return
        if one.side:
            (x, y), (x_now, y_now) = one.since, point
            self.area += one.side * 0.5 * (x + x_now) * (y - y_now)
        one.side, one.since = side, point


def _is_before(edge: _Edge, other: _Edge, y: int) -> bool:
    """Whether an edge that begins at a height lies left of another."""
    x, x_other = edge.start[0], other.at(y)
    if x != x_other:
        return x < x_other
    level = max(edge.end[1], other.end[1])
    return edge.at(level) < other.at(level)


def _crossing(left: _Edge, right: _Edge, y: int, following: int) -> Point:
    """Where two edges cross, in whole pixels between two heights."""
    steeper = left if abs(left.slope) < abs(right.slope) else right
    height = y
    if left.slope != right.slope:
        exact = _height(left, right)
        height = _whole(exact)
        if following <= height <= y:
            x = steeper.start[0] + steeper.slope * (exact - steeper.start[1])
            return _whole(x), height
    height = min(max(height, following), y)
    return (left if height == following else steeper).at(height), height


def _height(left: _Edge, right: _Edge) -> float:
    """The exact height at which two lines cross."""
    first = left.start[0] - left.start[1] * left.slope
    second = right.start[0] - right.start[1] * right.slope
    return (second - first) / (left.slope - right.slope)
