"""Outlines of labels: closed polygons along the edges of pixels.

They have integer coordinates and lose nothing: filling its paths gives back the pixels of an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from deepbio.errors import ImageError
from deepbio.image import LabelMap

__all__ = ["Outline", "outlines_of", "trace_outlines"]


@dataclass(frozen=True, eq=False)
class Outline:
    """Where one object (or class) lies in one plane.

    Attributes
    ----------
    label : int
        Its number in the label map.
    paths : tuple of ndarray of int32, shape (n, 2)
        Closed polygons through corners (x, y) of pixels: pixel (x, y) has the corners (x, y) to
        (x + 1, y + 1). The last point is not the first one again, and each point is a turn. On the
        screen, where y goes down, outer paths run clockwise and those around holes
        counter-clockwise; so the sum of ``x[i] * y[i + 1] - x[i + 1] * y[i]`` is positive for outer paths
        and negative for holes. The first path is an outer one.
    z, t : int or None
        Slice and frame of the label map, counted from 0; None where it has no such axis.
    """

    label: int
    paths: tuple[np.ndarray, ...]
    z: int | None = None
    t: int | None = None

    @property
    def name(self) -> str:
        """The label with its frame and slice, counted from 1; no two outlines of a label map share it.

        Examples
        --------
        >>> Outline(12, ()).name, Outline(12, (), z=4).name, Outline(12, (), z=4, t=2).name
        ('12', '12-z5', '12-t3-z5')
        """
        frame = "" if self.t is None else f"-t{self.t + 1}"
        plane = "" if self.z is None else f"-z{self.z + 1}"
        return f"{self.label}{frame}{plane}"


def trace_outlines(labels: np.ndarray) -> list[Outline]:
    """Trace the outlines of all objects of a plane.

    Pixels that touch at a corner only are passed without leaving the object, as ImageJ's wand does when
    it is 8-connected: such a path touches itself. Parts of an object that do not touch, and holes, have
    paths of their own. By the even-odd rule the paths hold the object's pixels, no more and no less.

    Parameters
    ----------
    labels : ndarray of int, shape (y, x)
        Objects; 0 is background.

    Returns
    -------
    list of Outline
        One per label, in order. An outer path begins at its highest corner, of several the leftmost.

    Examples
    --------
    >>> ring = np.array([[5, 5, 5], [5, 0, 5], [5, 5, 5]])
    >>> outer, hole = trace_outlines(ring)[0].paths
    >>> outer.tolist(), hole.tolist()
    ([[0, 0], [3, 0], [3, 3], [0, 3]], [[1, 2], [2, 2], [2, 1], [1, 1]])
    """
    if labels.ndim != 2:
        raise ImageError(f"Outlines are traced in a plane; found an array of shape {labels.shape}.")
    padded = np.pad(labels, 1)
    runs = _find_runs(padded)
    order, ends = _walk(_next_runs(padded, runs), len(runs[0].first))
    corners = np.concatenate([run.corners(padded.shape[1], side) for side, run in enumerate(runs)])
    paths = np.split(corners[order], ends[:-1])
    begins = order[np.concatenate([[0], ends[:-1]]).astype(np.intp)] if len(ends) else order
    found: dict[int, list[np.ndarray]] = {}
    # each path begins with a run to the right, and those are numbered first
    for label, path in zip(padded.ravel()[runs[0].first[begins]].tolist(), paths, strict=False):
        found.setdefault(label, []).append(path)
    return [Outline(label, tuple(found[label])) for label in sorted(found)]


class _Runs(NamedTuple):
    """The straight parts of all outlines in one direction; element i of both is run i.

    A run goes along pixels that it has on its right hand, those of the object. All are flat indices into
    the padded plane, and `keys` sorts them so that the pixels of a run follow each other.
    """

    first: np.ndarray
    last: np.ndarray
    keys: np.ndarray

    def corners(self, width: int, side: int) -> np.ndarray:
        """Where each run begins, as (x, y) in the plane without its padding."""
        y, x = np.divmod(self.first, width)
        return np.stack([x - 1 + (side in (1, 2)), y - 1 + (side in (2, 3))], axis=1).astype(np.int32)


def _steps(padded: np.ndarray) -> tuple[int, int, int, int]:
    """What a step to the right, down, left and up adds to a flat index; the left hand is one before."""
    return 1, padded.shape[1], -1, -padded.shape[1]


def _keys(pixels: np.ndarray, shape: tuple[int, ...], side: int) -> np.ndarray:
    """Order of pixels along rows, or along columns for runs that go down or up."""
    if side % 2 == 0:
        return pixels
    y, x = np.divmod(pixels, shape[1])
    return np.asarray(x * shape[0] + y)


def _find_runs(padded: np.ndarray) -> list[_Runs]:
    """Find the runs to the right, down, left and up."""
    flat = padded.ravel()
    width = padded.shape[1]
    down, across = np.flatnonzero(flat[width:] != flat[:-width]), np.flatnonzero(flat[1:] != flat[:-1])
    # the pixels that have an edge on their upper, right, lower and left side
    edges = down + width, across, down, across + 1
    steps = _steps(padded)
    runs = []
    for side, pixels in enumerate(edges):
        ahead, left = steps[side], steps[side - 1]
        pixels = pixels[flat[pixels] != 0]
        own = flat[pixels]
        goes_on = (flat[pixels + ahead] == own) & (flat[pixels + ahead + left] != own)
        came = (flat[pixels - ahead] == own) & (flat[pixels - ahead + left] != own)
        first, last = pixels[~came], pixels[~goes_on]
        keys = _keys(first, padded.shape, side)
        if side % 2:  # found row by row
            order = np.argsort(keys)
            first, keys = first[order], keys[order]
            last = last[np.argsort(_keys(last, padded.shape, side))]
        runs.append(_Runs(first, last, keys))
    return runs


def _next_runs(padded: np.ndarray, runs: list[_Runs]) -> np.ndarray:
    """Number of the run that follows each run, all four directions counted through."""
    flat, steps = padded.ravel(), _steps(padded)
    offsets = np.cumsum([0, *(len(run.first) for run in runs)])
    following = []
    for side, run in enumerate(runs):
        # the pixel ahead on the left: if it is the object's, so is perhaps only its corner; go round it
        beyond = run.last + steps[side] + steps[side - 1]
        to_left = flat[beyond] == flat[run.last]
        follower = np.empty(len(run.last), np.intp)
        for turn, chosen, pixels in ((-1, to_left, beyond), (1, ~to_left, run.last)):
            other = (side + turn) % 4
            keys = _keys(pixels[chosen], padded.shape, other)
            follower[chosen] = offsets[other] + np.searchsorted(runs[other].keys, keys)
        following.append(follower)
    return np.concatenate(following)


def _walk(following: np.ndarray, starts: int) -> tuple[np.ndarray, np.ndarray]:
    """Walk along each closed path once: the runs in order, and where each path ends among them.

    Every path has a run to the right; `starts` says how many of those there are, which come first.
    """
    successors = following.tolist()  # a list: ten times as fast as an array, element by element
    seen = bytearray(len(successors))
    order: list[int] = []
    ends = []
    for start in range(starts):
        if seen[start]:
            continue
        run = start
        while not seen[run]:
            seen[run] = 1
            order.append(run)
            run = successors[run]
        ends.append(len(order))
    return np.array(order, np.intp), np.array(ends, np.intp)


def outlines_of(labels: LabelMap) -> Iterator[Outline]:
    """Trace a label map plane by plane, frame after frame and in each slice after slice.

    Yields
    ------
    Outline
        With `t` and `z` where the label map has these axes.

    Examples
    --------
    >>> stack = LabelMap(np.array([[[0, 7]], [[7, 7]]]), "ZYX")
    >>> [(outline.name, outline.z) for outline in outlines_of(stack)]
    [('7-z1', 0), ('7-z2', 1)]
    """
    axes = labels.axes[:-2]
    for index in np.ndindex(labels.shape[:-2]):
        place = dict(zip(axes.lower(), index, strict=True))
        for outline in trace_outlines(np.asarray(labels.array[index])):
            yield replace(outline, **place)
