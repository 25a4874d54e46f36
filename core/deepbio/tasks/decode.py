"""From scores to labels, for one window of an image.

The instance channels are those of ``deepbio.training.targets``: foreground before the sigmoid,
depth, and one offset per axis. Two ways lead from them to objects, each in one pass:

* ``watershed``: cores where the depth is high are the seeds; a watershed on the depth
  (Beucher & Meyer, 1993; implemented in scikit-image) gives each foreground pixel to one of them.
* ``votes``: each foreground pixel votes for the place that its offset points to; the peaks of
  the smoothed votes are the centres, and a pixel belongs to the peak nearest to its vote
  (a Hough transform, as in Neven et al., CVPR 2019, doi:10.1109/CVPR.2019.00904).

``stars`` takes the most probable of polygons that overlap (:mod:`deepbio.tasks.stars`).

All look no further than `Decoder.reach` pixels, so windows of a large image that overlap by
that much give the objects of the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from deepbio.errors import CardError
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.stars import check_stars, split_stars

__all__ = [
    "METHODS",
    "OFFSET_UNIT",
    "Decoder",
    "decode",
    "decoder_of",
    "keep_largest",
    "regions_of",
    "split_objects",
]

OFFSET_UNIT = 16.0
"""Pixels per unit of the offset channels: keeps their values near those of the others."""

_FIRST_OFFSET = 2
"""Channel: after foreground and depth."""

METHODS = ("watershed", "votes", "stars", "threshold", "classes", "regions")

_LISTS = {
    "largest": ("classes", "classes (from 1)"),
    "regions": ("regions", "classes (from 1)"),
    "grid": ("stars", "pixels (from 1)"),
    "divisor": ("stars", "pixels (from 1)"),
}
"""Entries that are lists of whole numbers, the method that each is for, and what they count."""


@dataclass(frozen=True)
class Decoder:
    """How scores become labels; stands on the card under ``decode``.

    Attributes
    ----------
    method : {"watershed", "votes", "stars", "threshold", "classes", "regions"}
        For instances one of the first three; "threshold" makes connected components of channel 0;
        "classes" takes the channel with the highest score (0 is background); "regions" asks each channel for
        itself, and those that come later lie over the others.
    threshold : float
        Probability from which a pixel is foreground, or a candidate (stars).
    seed : float
        Depth from which a pixel belongs to an object's core (watershed).
    smoothing : float
        Standard deviation in pixels of the Gaussian that smooths depth or votes.
    peak : float
        Least height of a centre, in smoothed votes per pixel (votes).
    separation : int
        Centres are highest within so many pixels (votes).
    min_size : int
        Objects with fewer pixels are dropped.
    reach : int
        Largest extent in pixels of an object for which windows agree with the whole.
    logits : bool
        Whether channel 0 (of regions, all channels) is before the sigmoid; else it is a probability.
    largest : tuple of int
        Classes of which only the largest connected component is kept (classes).
    regions : tuple of int
        Label of each channel (regions).
    overlap : float
        Common area of two polygons, as a part of the smaller one, above which the less probable is dropped (stars).
    grid : tuple of int
        Along y and x, pixels between those that have scores of their own (stars).
    divisor : tuple of int
        Along y and x, what the sizes of the network's images are multiples of (stars).
    """

    method: str = "watershed"
    threshold: float = 0.5
    seed: float = 0.6
    smoothing: float = 0.7
    peak: float = 2.0
    separation: int = 2
    min_size: int = 12
    reach: int = 128
    logits: bool = True
    largest: tuple[int, ...] = ()
    regions: tuple[int, ...] = ()
    overlap: float = 0.4
    grid: tuple[int, ...] = ()
    divisor: tuple[int, ...] = ()

    @classmethod
    def from_card(cls, entries: Mapping[str, Any]) -> Decoder:
        """Read the card's entries.

        Raises
        ------
        CardError
            For an unknown method or entry, or an entry that is no list of whole numbers where one is meant.
        """
        known = {field.name for field in fields(cls)}
        unknown = set(entries) - known
        method = entries.get("method", "watershed")
        if unknown or method not in METHODS:
            raise CardError(
                f"The card's 'decode' has {dict(entries)}; "
                f"known are the entries {sorted(known)} and the methods {METHODS}."
            )
        lists = {}
        for name, (meant, what) in _LISTS.items():
            found = entries.get(name, ())
            listed = isinstance(found, (list, tuple)) and all(type(k) is int and k > 0 for k in found)
            if not listed or (found and method != meant):
                raise CardError(
                    f"The card's 'decode' has {name} {found!r} and the method {entries.get('method')!r}; "
                    f"expected a list of {what} and the method {meant!r}."
                )
            lists[name] = tuple(found)
        if method == "regions" and not lists["regions"]:
            raise CardError(
                "The card's 'decode' has the method 'regions' without regions: a label for each channel."
            )
        if method == "stars":
            check_stars(lists["grid"], lists["divisor"])
        return cls(**{**entries, **lists})

    @property
    def instances(self) -> bool:
        """Whether labels are objects rather than classes."""
        return self.method not in ("classes", "regions")

    @property
    def by_seeds(self) -> bool:
        """Whether objects grow from seeds, whose distances are in pixels of the network's grid."""
        return self.method in ("watershed", "votes", "stars")

    def offsets(self, dims: int) -> dict[int, int]:
        """The channels that are offsets, and the spatial axis of each.

        Examples
        --------
        >>> Decoder("votes").offsets(2), Decoder("classes").offsets(2)
        ({2: 0, 3: 1}, {})
        """
        has_offsets = self.method in ("watershed", "votes")
        return {_FIRST_OFFSET + axis: axis for axis in range(dims)} if has_offsets else {}

    def replace(self, **changes: Any) -> Decoder:
        """Return a copy with some entries changed."""
        return replace(self, **changes)


def decoder_of(card: ModelCard, options: RunOptions) -> Decoder | None:
    """How this card's scores become labels; None where nobody can say.

    A foreign card with one output channel is read as a probability of foreground.
    """
    entries = card.deepbio.get("decode")
    if entries is not None:
        decoder = Decoder.from_card(entries)
    elif len(card.output.channels) <= 1:
        squashed = any(step.id == "sigmoid" for step in card.output.steps)
        decoder = Decoder("threshold", logits=not squashed and not _is_probability(card))
    else:
        return None
    changes = {"threshold": options.threshold, "min_size": options.min_size}
    return decoder.replace(**{name: value for name, value in changes.items() if value is not None})


def _is_probability(card: ModelCard) -> bool:
    return "prob" in (card.output.id + card.output.description).lower()


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
    area = np.bincount(labels.ravel())
    kept = area >= decoder.min_size
    kept[0] = False
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
    if decoder.method == "stars":
        step_y, step_x = decoder.grid
        return split_stars(scores[:, ::step_y, ::step_x], decoder, scores.shape[1:])
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
        offset = scores[2 + axis].ravel()[pixels] * OFFSET_UNIT
        places.append(np.clip(np.rint(at + offset), 0, size - 1).astype(np.int64))
    return np.asarray(np.ravel_multi_index(places, foreground.shape))
