"""From scores to labels, for one window of an image.

The instance channels are those of ``deepbio.training.targets``: foreground before the sigmoid,
depth, and one offset per axis. Two ways lead from them to objects, each in one pass:

* ``watershed``: cores where the depth is high are the seeds; a watershed on the depth
  (Beucher & Meyer, 1993; implemented in scikit-image) gives each foreground pixel to one of them.
* ``votes``: each foreground pixel votes for the place that its offset points to; the peaks of
  the smoothed votes are the centres, and a pixel belongs to the peak nearest to its vote
  (a Hough transform, as in Neven et al., CVPR 2019, doi:10.1109/CVPR.2019.00904).

Networks of others come with ways of their own: ``flows`` as Cellpose has them (:mod:`deepbio.tasks.flows`), and
``stars``, which takes the most probable of polygons that overlap, as StarDist does (:mod:`deepbio.tasks.stars`, of
polyhedra :mod:`deepbio.tasks.stars3d`).

All look no further than `Decoder.reach` pixels, so windows of a large image that overlap by
that much give the objects of the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from deepbio.tasks.decoder import FIRST_OFFSET, Decoder
from deepbio.tasks.flows import split_flows
from deepbio.tasks.flows3d import split_flows_3d
from deepbio.tasks.rays import rays_of
from deepbio.tasks.stars import split_stars
from deepbio.tasks.stars3d import candidates_of, split_stars_3d

__all__ = ["OFFSET_UNIT", "decode", "keep_largest", "regions_of", "split_objects"]

OFFSET_UNIT = 16.0
"""Pixels per unit of the offset channels: keeps their values near those of the others."""


def decode(scores: np.ndarray, decoder: Decoder) -> np.ndarray:
    """Labels of a whole image.

    Parameters
    ----------
    scores : ndarray of float32, shape (K, [z,] y, x)
        Scores of the network.
    decoder : Decoder
        How to read them.

    Returns
    -------
    ndarray of int32, shape ([z,] y, x)
        Classes, or objects numbered from 1 in the order of their seeds.
    """
    if decoder.method == "regions":
        return regions_of(scores, decoder).astype(np.int32)
    if not decoder.instances:
        classes = scores.argmax(0).astype(np.int32)
        keep_largest(classes, decoder.largest)
        return classes
    labels, _ = split_objects(scores, decoder)
    kept = decoder.keeps(np.bincount(labels.ravel()), labels.size)
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


def regions_of(scores: np.ndarray, decoder: Decoder) -> np.ndarray:
    """Labels of regions that lie over each other, as a tumour's core over the whole tumour.

    Parameters
    ----------
    scores : ndarray of float32, shape (K, [z,] y, x)
        A channel for each of the decoder's regions; more are left out.
    decoder : Decoder
        With ``regions``, and the probability from which a pixel belongs to one.

    Returns
    -------
    ndarray of uint8 or uint16, shape ([z,] y, x)

    Examples
    --------
    >>> scores = np.array([[2.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]], np.float32)
    >>> regions_of(scores, Decoder("regions", regions=(1, 3))).tolist()
    [3, 1, 3, 0]
    """
    level = decoder.threshold
    if decoder.logits:
        level = -math.inf if level <= 0 else math.inf if level >= 1 else math.log(level / (1 - level))
    labels = np.zeros(scores.shape[1:], np.min_scalar_type(max(decoder.regions)))
    for channel, label in zip(scores, decoder.regions, strict=False):
        labels[channel > level] = label
    return labels


def keep_largest(labels: np.ndarray, classes: Sequence[int]) -> None:
    """Keep only the largest connected component of some classes; the rest becomes background.

    Pixels that touch at a corner are connected. Of two of the same size the first is kept.

    Parameters
    ----------
    labels : ndarray of integers, shape ([z,] y, x)
        Classes of one image; changed in place.
    classes : sequence of int
        Which ones; each is looked at alone.

    Examples
    --------
    >>> labels = np.array([[1, 1, 0, 1], [0, 0, 2, 0]], np.uint8)
    >>> keep_largest(labels, [1])
    >>> labels.tolist()
    [[1, 1, 0, 0], [0, 0, 2, 0]]
    """
    for value in classes:
        box = _extent(labels, value)
        if box is None:
            continue
        part = labels[box]
        components, count = ndimage.label(part == value, np.ones((3,) * labels.ndim))
        if count > 1:
            size = np.bincount(components.ravel())
            size[0] = 0
            part[(components > 0) & (components != size.argmax())] = 0


def _extent(labels: np.ndarray, value: int) -> tuple[slice, ...] | None:
    """Bounding box of a label, or None; looks at one row at a time, as labels may be large."""
    rows = [n for n, row in enumerate(labels) if (row == value).any()]
    if not rows:
        return None
    flat = np.zeros(labels.shape[1:], bool)
    for n in rows:
        flat |= labels[n] == value
    others = [tuple(k for k in range(flat.ndim) if k != axis) for axis in range(flat.ndim)]
    places = [np.array(rows), *(np.flatnonzero(flat.any(axis=axes)) for axes in others)]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) for at in places)


def split_objects(scores: np.ndarray, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a window, small ones included, and where each has its seed (of stars: the centre).

    Parameters
    ----------
    scores : ndarray of float32, shape (K, [z,] y, x)
        Scores of the network.
    decoder : Decoder
        How to read them.

    Returns
    -------
    labels : ndarray of int32, shape ([z,] y, x)
        Objects, 1 to n in the order of their anchors.
    anchors : ndarray of int64, shape (n,)
        Flat index, in the window, of the first pixel of each object's seed. It is the same in
        every window that holds the object, so it identifies the object.
    """
    if decoder.method == "flows":
        return _by_flows(scores[:-1], _foreground(scores[-1], decoder), decoder)
    if decoder.method == "stars":
        places = scores[(slice(None), *(slice(None, None, step) for step in decoder.grid))]
        if not decoder.rays:
            return split_stars(places, decoder, scores.shape[1:])
        found = candidates_of(places, decoder, (0, 0, 0), scores.shape[1:])
        return split_stars_3d(found, rays_of(decoder.rays), decoder.overlap, scores.shape[1:])
    foreground = _foreground(scores[0], decoder)
    if decoder.method == "threshold":
        labels, count = ndimage.label(foreground)
        return labels, _first_pixels(labels, count)
    if decoder.method == "votes":
        return _by_votes(scores, foreground, decoder)
    return _by_watershed(scores, foreground, decoder)


def _foreground(score: np.ndarray, decoder: Decoder) -> np.ndarray:
    threshold = decoder.threshold
    if decoder.logits:
        if not 0 < threshold < 1:
            return np.full(score.shape, threshold <= 0)
        threshold = math.log(threshold / (1 - threshold))
    return np.asarray(score > threshold)


def _first_pixels(labels: np.ndarray, count: int) -> np.ndarray:
    """Flat index of the first pixel of each label 1 to `count`."""
    flat = np.flatnonzero(labels)
    first = np.full(count + 1, labels.size, np.int64)
    # written backwards, so that the first pixel of a label is the last one written
    first[labels.ravel()[flat[::-1]]] = flat[::-1]
    return first[1:]


def _by_watershed(
    scores: np.ndarray, foreground: np.ndarray, decoder: Decoder
) -> tuple[np.ndarray, np.ndarray]:
    relief = ndimage.gaussian_filter(scores[1], decoder.smoothing, truncate=3)
    core = (relief > decoder.seed) & foreground
    components, count = ndimage.label(foreground)
    # a component whose depth stays low is one object: all of it is the seed
    seeded = np.zeros(count + 1, bool)
    seeded[components[core]] = True
    core |= ~seeded[components] & foreground
    seeds, count = ndimage.label(core, np.ones((3,) * core.ndim))
    anchors = _first_pixels(seeds, count)
    np.negative(relief, out=relief)
    labels: np.ndarray = watershed(relief, seeds, mask=foreground)  # type: ignore[no-untyped-call]
    return labels.astype(np.int32, copy=False), anchors


def _by_flows(flows: np.ndarray, foreground: np.ndarray, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    how = {"steps": decoder.steps, "min_size": decoder.min_size}
    if foreground.ndim == 3:
        return split_flows_3d(flows, foreground, **how)
    return split_flows(flows, foreground, error=decoder.error, **how)


def _by_votes(scores: np.ndarray, foreground: np.ndarray, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    shape = foreground.shape
    pixels = np.flatnonzero(foreground)
    votes = _vote(scores, foreground, pixels)
    # a second look from where the first one pointed: offsets are most exact near the centre
    again = foreground.ravel()[votes]
    votes[again] = _vote(scores, foreground, votes[again])
    heat = np.bincount(votes, minlength=foreground.size).reshape(shape).astype(np.float32)
    heat = ndimage.gaussian_filter(heat, decoder.smoothing, truncate=3)
    top = ndimage.maximum_filter(heat, 2 * decoder.separation + 1)
    seeds, count = ndimage.label((heat == top) & (heat > decoder.peak), np.ones((3,) * len(shape)))
    labels = np.zeros(foreground.size, np.int32)
    if count:
        nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        labels[pixels] = seeds[tuple(nearest)].ravel()[votes]
    return labels.reshape(shape), _first_pixels(seeds, count)


def _vote(scores: np.ndarray, foreground: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Flat index of the place that each pixel (flat index) points to."""
    places = []
    for axis, (at, size) in enumerate(
        zip(np.unravel_index(pixels, foreground.shape), foreground.shape, strict=True)
    ):
        offset = scores[FIRST_OFFSET + axis].ravel()[pixels] * OFFSET_UNIT
        places.append(np.clip(np.rint(at + offset), 0, size - 1).astype(np.int64))
    return np.asarray(np.ravel_multi_index(places, foreground.shape))
