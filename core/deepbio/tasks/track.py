"""Objects of each frame that are one object: they get one label through time, and a table of tracks.

Objects of neighbouring frames are paired one to one so that the whole cost is least (Kuhn, 1955; scipy's
``linear_sum_assignment``); the cost of a pair falls with their overlap and grows with the distance of
their centres, as in the first stage of Jaqaman et al., Nature Methods 5:695 (2008,
doi:10.1038/nmeth.1237). A track that has ended may go on after a gap of some frames. Divisions are then looked
for among the tracks, see `deepbio.tasks.divide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image, Table
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.divide import divided
from deepbio.tasks.objects import frame_objects, sightings
from deepbio.tasks.result import Result

__all__ = ["Tracking", "check_followed", "followed", "smoothed_path", "track_labels", "track_table"]

_NEVER = 1e6
_HINT = "Leave 'track' out."
_OVERLAPS = 0.5  # how far in radii a pair that overlaps may lie beyond `reach`


@dataclass(frozen=True)
class Tracking:
    """How objects are followed.

    Attributes
    ----------
    reach : float
        How far a centre may move between two frames, in radii of the object (as a disk of its area).
    gap : int
        Frames for which an object may be missing.
    growth : float
        Largest ratio of the areas of a pair.
    """

    reach: float = 1.5
    gap: int = 2
    growth: float = 3.0


@dataclass
class _Track:
    number: int
    frame: int
    label: int
    centre: np.ndarray
    area: float


def check_followed(image: Image, card: ModelCard) -> None:
    """See that there is something to follow.

    Raises
    ------
    InputMismatch
        If the image is no movie of single slices, or the model gives classes.
    """
    if image.size("T") < 2:
        raise InputMismatch(
            f"track follows objects through time; the image has {image.size('T')} frame (axes {image.axes}).",
            f"{_HINT} If its slices are frames, its axes are told wrongly (Z for T)."
            if "Z" in image.axes
            else _HINT,
        )
    if image.size("Z") > 1:
        raise InputMismatch(f"track is for movies of single slices; the image has {image.size('Z')}.", _HINT)
    if card.classes:
        raise InputMismatch(
            f"The model '{card.name}' gives classes, not objects that could be followed.", _HINT
        )


def followed(
    image: Image, card: ModelCard, options: RunOptions, segment: Callable[[RunOptions], Result]
) -> Result:
    """Segment a movie frame by frame and follow its objects.

    Parameters
    ----------
    image : Image
        With frames and without slices.
    card : ModelCard
        A model of objects.
    options : RunOptions
        With `track`.
    segment : callable
        Segments the image with other options.

    Returns
    -------
    Result
        ``labels`` with one number for one object, and ``table``, see `track_table`.

    Raises
    ------
    InputMismatch
        If there is nothing to follow.
    """
    check_followed(image, card)
    wanted = options.output or ("labels", "table")
    output = tuple(dict.fromkeys(("labels", *(kind for kind in wanted if kind != "table"))))
    result = segment(options.replace(track=False, output=output))
    if result.labels is None:
        raise InputMismatch(f"The model '{card.name}' gives no labels that could be followed.", _HINT)
    array = result.labels.numpy()
    tracks = track_labels(array.reshape(len(array), *array.shape[-2:]))
    parents = None
    if options.divisions == "tell":
        tracks, parents = divided(tracks)
    table = track_table(tracks, image.grid, image.frame_interval, parents=parents)
    labels = replace(result.labels, array=tracks.reshape(array.shape))
    record = {**result.record, "tracks": int(tracks.max(initial=0))}
    if parents is not None:
        record["divisions"] = len(set(parents.values()))
    return replace(
        result,
        labels=labels if "labels" in wanted else None,
        table=table if "table" in wanted else None,
        record=record,
    )


def track_labels(frames: np.ndarray, tracking: Tracking = Tracking()) -> np.ndarray:
    """Number objects so that one number is one object through time.

    Parameters
    ----------
    frames : ndarray of int, shape (T, y, x)
        Objects of each frame by any numbers; 0 is background.
    tracking : Tracking
        How far to look.

    Returns
    -------
    ndarray of int32, shape (T, y, x)
        The same objects, numbered by track from 1 in the order in which they appear.

    Examples
    --------
    >>> frames = np.zeros((3, 1, 6), int)
    >>> frames[0, 0, 1:3], frames[1, 0, 2:4], frames[2, 0, 3:5], frames[2, 0, 0] = 5, 9, 2, 7
    >>> track_labels(frames)[:, 0].tolist()
    [[0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [2, 0, 0, 1, 1, 0]]
    """
    out = np.zeros(frames.shape, np.int32)
    open_tracks: list[_Track] = []
    count = 0
    before: np.ndarray | None = None
    for t, labels in enumerate(frames):
        ids, centres, areas = frame_objects(labels)
        open_tracks = [one for one in open_tracks if t - one.frame <= tracking.gap + 1]
        cost = _costs(open_tracks, (ids, centres, areas), (t, labels, before), tracking)
        numbers = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
        taken = set()
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if row < len(open_tracks) and column < len(ids):
                one = open_tracks[row]
                one.frame, one.label, one.centre, one.area = (
                    t,
                    int(ids[column]),
                    centres[column],
                    areas[column],
                )
                numbers[ids[column]] = one.number
                taken.add(int(column))
        for column in range(len(ids)):
            if column not in taken:
                count += 1
                numbers[ids[column]] = count
                open_tracks.append(_Track(count, t, int(ids[column]), centres[column], areas[column]))
        out[t] = numbers[labels]
        before = labels
    return out


def _costs(
    tracks: list[_Track],
    objects: tuple[np.ndarray, np.ndarray, np.ndarray],
    now: tuple[int, np.ndarray, np.ndarray | None],
    tracking: Tracking,
) -> np.ndarray:
    """Cost of each pair; beyond rows and columns of objects stand those of an end and of a start."""
    ids, centres, areas = objects
    t, labels, before = now
    n, m = len(tracks), len(ids)
    cost = np.full((n + m, m + n), _NEVER)
    cost[n:, m:] = 0
    cost[np.arange(n), m + np.arange(n)] = 1.0
    cost[n + np.arange(m), np.arange(m)] = 1.0
    shared = _shared(before, labels) if before is not None else {}
    for row, one in enumerate(tracks):
        missed = t - one.frame
        radius = np.sqrt(np.maximum(one.area, areas) / np.pi)
        far = np.hypot(*(centres - one.centre).T) / radius if m else np.zeros(0)
        ratio = np.maximum(areas / one.area, one.area / areas)
        overlap = np.zeros(m)
        if missed == 1:
            for column in range(m):
                common = shared.get((one.label, int(ids[column])), 0)
                overlap[column] = common / (one.area + areas[column] - common)
        reach = tracking.reach * np.sqrt(missed) + _OVERLAPS * (overlap > 0)
        good = (far <= reach) & (ratio <= tracking.growth)
        # an end and a start together cost 2; a gap costs a little more than none
        value = far / reach + (1 - overlap) * 0.8 + 0.15 * (missed - 1)
        cost[row, :m] = np.where(good, value, _NEVER)
    return cost


def _shared(before: np.ndarray, labels: np.ndarray) -> dict[tuple[int, int], int]:
    """Pixels that an object of the frame before and one of this frame have in common."""
    both = (before > 0) & (labels > 0)
    pairs, counts = np.unique(np.stack((before[both], labels[both])), axis=1, return_counts=True)
    return {(int(a), int(b)): int(c) for (a, b), c in zip(pairs.T, counts, strict=True)}


def track_table(
    tracks: np.ndarray,
    grid: Grid,
    frame_interval: float | None = None,
    smooth: float = 1.0,
    parents: Mapping[int, int] | None = None,
) -> Table:
    """A row for each object of each frame, ordered by track.

    Parameters
    ----------
    tracks : ndarray of int, shape (T, y, x)
        From `track_labels`.
    grid : Grid
        Of a frame.
    frame_interval : float, optional
        Seconds between frames; the column ``time`` is left out without.
    smooth : float
        Standard deviation in frames of the Gaussian behind ``y_smooth`` and ``x_smooth``.
    parents : mapping of int to int, optional
        Mother of each daughter, from `divided`; the column ``parent`` is left out without.

    Returns
    -------
    Table
        ``track``, ``parent`` (the track that divided into it; 0: none), ``frame`` (from 1), ``y``, ``x`` (from
        the centre of the first pixel) and the same smoothed in time, ``area``, then ``start``, ``end`` (first
        and last frame) and ``length`` (frames seen) of the track.
    """
    table = sightings(tracks)
    numbers, first, counts = np.unique(table[:, 0], return_index=True, return_counts=True)
    of = np.repeat(np.arange(len(numbers)), counts)
    spacing = np.array(grid.spacing[-2:])
    places = table[:, 2:4] * spacing
    calm = np.zeros_like(places)
    for start, count in zip(first, counts, strict=True):
        rows_of = slice(start, start + count)
        calm[rows_of] = smoothed_path(places[rows_of], table[rows_of, 1], smooth)
    unit = {"pixel": "px", "micrometer": "um", "millimeter": "mm"}[grid.unit]
    columns = {"track": table[:, 0].astype(int)}
    if parents is not None:
        columns["parent"] = np.array([parents.get(int(n), 0) for n in numbers], int)[of]
    columns["frame"] = table[:, 1].astype(int) + 1
    units = dict.fromkeys(("y", "x", "y_smooth", "x_smooth"), unit) | {"area": f"{unit}^2"}
    if frame_interval:
        columns["time"], units["time"] = table[:, 1] * frame_interval, "s"
    columns |= {"y": places[:, 0], "x": places[:, 1], "y_smooth": calm[:, 0], "x_smooth": calm[:, 1]}
    columns["area"] = table[:, 4] * spacing.prod()
    last = first + counts - 1
    columns |= {"start": columns["frame"][first][of], "end": columns["frame"][last][of], "length": counts[of]}
    return Table(columns, units)


def smoothed_path(places: np.ndarray, frames: np.ndarray, smooth: float) -> np.ndarray:
    """Places of one object, averaged over the frames around by a Gaussian; gaps are left out.

    Examples
    --------
    >>> smoothed_path(np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 2]), 0.0).tolist()
    [[0.0], [1.0], [2.0]]
    """
    if smooth <= 0 or len(places) < 2:
        return places
    weight = np.exp(-0.5 * ((frames[:, None] - frames[None]) / smooth) ** 2)
    # a straight line fitted around each frame: a mean alone would pull the ends inwards
    total = weight.sum(1)
    mean_t = weight @ frames / total
    mean_p = weight @ places / total[:, None]
    spread = (weight * (frames[None] - mean_t[:, None]) ** 2).sum(1)
    moved = np.einsum("ij,ijk->ik", weight * (frames[None] - mean_t[:, None]), places[None] - mean_p[:, None])
    slope = np.divide(moved, spread[:, None], out=np.zeros_like(moved), where=spread[:, None] > 1e-12)
    return np.asarray(mean_p + slope * (frames - mean_t)[:, None])
