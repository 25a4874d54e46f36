"""Labels of an image of any size, from bands of scores as they become final.

Objects are found in windows: a few bands with a margin on both sides. An object is known by the
place of its seed, which is the same in every window that sees all of it; so objects that
cross the border of a window are whole, and the result does not depend on where windows end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import ndimage

from deepbio.events import Listener, Stage, silent
from deepbio.tasks.decode import keep_largest, regions_of, split_objects
from deepbio.tasks.decoder import Decoder
from deepbio.tasks.rays import rays_of
from deepbio.tasks.stars import split_stars
from deepbio.tasks.stars3d import Candidates, candidates_of, split_stars_3d

__all__ = ["label_bands"]

_WINDOW_PIXELS = 2**23
_SHARE = 1 / 4  # of these pixels in windows of stars, whose scores have a channel for each ray
_MARGIN = 16  # beyond an object's reach: smoothing, and its neighbours' rims

Bands = Iterable[tuple[int, int, Any]]


def label_bands(
    bands: Bands,
    decoder: Decoder,
    out: Any,
    *,
    listener: Listener = silent,
    item: str = "",
    window_pixels: float = _WINDOW_PIXELS,
) -> int:
    """Write the labels of an image band by band.

    Parameters
    ----------
    bands : iterable of (start, stop, scores)
        Consecutive bands along the first axis; scores are float32, shape (K, stop - start, ...). Of stars in 3D
        they may be :class:`~deepbio.tasks.stars3d.Candidates`.
    decoder : Decoder
        How scores become labels.
    out : array of integers, shape ([z,] y, x)
        Where labels are written; memory maps and views are fine.
    listener : Listener
        Told after each window.
    item : str
        The file or frame, for the listener.
    window_pixels : float
        Pixels of a window, margins included, where the margins leave room.

    Returns
    -------
    int
        Number of objects, or of classes present.
    """
    if not decoder.instances:
        present: set[int] = set()
        for start, stop, scores in bands:
            out[start:stop] = regions_of(scores, decoder) if decoder.regions else scores.argmax(0)
            present.update(np.flatnonzero(np.bincount(np.ravel(out[start:stop]))).tolist())
        keep_largest(out, decoder.largest)
        return len(present - {0})
    if decoder.method == "threshold":
        return _label_components(bands, decoder, out)
    if decoder.method == "flows" and out.ndim == 3:  # there places are counted by the whole stack
        window_pixels = math.inf
    stars = _PolyhedraStitcher if decoder.rays else _StarStitcher
    stitcher = (stars if decoder.method == "stars" else _Stitcher)(decoder, out, window_pixels)
    stage: Stage | None = None
    for start, stop, scores in bands:
        stage = stage or Stage(listener, "instances", out.shape[0], item)
        stage.step(stitcher.add(start, stop, scores))
    return stitcher.finish()


def _label_components(bands: Bands, decoder: Decoder, out: Any) -> int:
    """Connected components have no bounded reach: their mask is kept whole, a byte per pixel."""
    mask = np.zeros(out.shape, bool)
    for start, stop, scores in bands:
        mask[start:stop] = split_objects(scores, decoder)[0] > 0
    labels, count = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    lut = _numbered(decoder.keeps(area, mask.size))
    out[...] = lut[labels]
    return int(lut.max(initial=0))


def _numbered(kept: np.ndarray) -> np.ndarray:
    """New label for each old one: 0 for those that are not kept, else consecutive."""
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)


class _Stitcher:
    """Collects bands, finds objects in windows, and gives each object one number."""

    def __init__(self, decoder: Decoder, out: Any, window_pixels: float) -> None:
        self._decoder, self._out = decoder, out
        self._margin = decoder.reach + _MARGIN
        rows = min(window_pixels / math.prod(out.shape[1:]), out.shape[0] + 2 * self._margin)
        self._core = max(int(rows) - 2 * self._margin, self._margin, 1)
        self._bands: list[tuple[int, int, Any]] = []
        self._done = 0
        self._numbers: dict[int, int] = {}  # flat index of the anchor -> provisional label
        self._area = np.zeros(1, np.int64)  # pixels by provisional label

    def add(self, start: int, stop: int, scores: Any) -> int:
        """Take the next band; return how many rows were labelled."""
        self._bands.append((start, stop, scores))
        before, height = self._done, self._out.shape[0]
        while self._done < height:
            core = min(self._done + self._core, height)
            # a last window that would be smaller than a margin is done with the one before
            core = height if height - core < self._margin else core
            if stop < min(core + self._margin, height):
                break
            self._label(core)
        return self._done - before

    def _label(self, core_stop: int) -> None:
        """Label the rows from those done up to `core_stop`, looking a margin further."""
        first = max(self._done - self._margin, 0)
        last = min(core_stop + self._margin, self._out.shape[0])
        first, labels, anchors = self._split(first, last)
        anchors = anchors + first * math.prod(self._out.shape[1:])
        core = labels[self._done - first : core_stop - first]
        present = np.flatnonzero(np.bincount(core.ravel(), minlength=1))
        lut = np.zeros(len(anchors) + 1, np.int32)
        for label in present[present > 0]:
            lut[label] = self._numbers.setdefault(int(anchors[label - 1]), len(self._numbers) + 1)
        numbered = lut[core]
        area = np.bincount(numbered.ravel(), minlength=len(self._numbers) + 1)
        area[: len(self._area)] += self._area
        self._area = area
        self._out[self._done : core_stop] = numbered
        self._done = core_stop

    def _split(self, first: int, last: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Objects of these rows, and the first of them."""
        return first, *split_objects(self._window(first, last), self._decoder)

    def _window(self, first: int, last: int) -> np.ndarray:
        """Scores of these rows; bands that no later window needs are let go."""
        self._bands = [band for band in self._bands if band[1] > first]
        parts = [
            scores[:, max(first - start, 0) : last - start]
            for start, stop, scores in self._bands
            if start < last
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def finish(self) -> int:
        """Drop small objects, number the rest in the order of their anchors; return how many."""
        self._bands = []
        order = [self._numbers[anchor] for anchor in sorted(self._numbers)]
        area = np.concatenate([self._area[:1], self._area[order]]) if order else self._area
        lut = np.zeros(len(order) + 1, np.int32)
        new = _numbered(self._decoder.keeps(area, math.prod(self._out.shape)))
        lut[order] = new[1:]
        rows = max(1, _WINDOW_PIXELS // math.prod(self._out.shape[1:]))
        for start in range(0, self._out.shape[0], rows):
            self._out[start : start + rows] = lut[self._out[start : start + rows]]
        return int(new.max(initial=0))


class _StarStitcher(_Stitcher):
    """Keeps the scores at the places of a network's grid only; they have a channel for each ray."""

    def __init__(self, decoder: Decoder, out: Any, window_pixels: float) -> None:
        self._step, self._divisor = decoder.grid, decoder.divisor[0]
        super().__init__(decoder, out, window_pixels * math.prod(decoder.grid) * _SHARE)

    def add(self, start: int, stop: int, scores: Any) -> int:
        step = self._step[0]
        return super().add(start, stop, scores[:, -start % step :: step, :: self._step[1]].copy())

    def _split(self, first: int, last: int) -> tuple[int, np.ndarray, np.ndarray]:
        first -= first % self._divisor
        shape = (last - first, self._out.shape[1])
        return first, *split_stars(self._window(first, last), self._decoder, shape, first)

    def _window(self, first: int, last: int) -> np.ndarray:
        """Scores of the places in these rows; bands that no later window needs are let go."""
        self._bands = [band for band in self._bands if band[1] > first]
        step, parts = self._step[0], []
        for start, stop, scores in self._bands:
            begin, end = (-(-row // step) for row in (max(start, first), min(stop, last)))
            before = -(-start // step)
            parts.append(scores[:, begin - before : max(end - before, 0)])
        return np.concatenate(parts, axis=1)


class _PolyhedraStitcher(_Stitcher):
    """Keeps candidates only."""

    def __init__(self, decoder: Decoder, out: Any, window_pixels: float) -> None:
        self._rays = rays_of(decoder.rays)
        super().__init__(decoder, out, window_pixels * math.prod(decoder.grid) * _SHARE)

    def add(self, start: int, stop: int, scores: Any) -> int:
        if not isinstance(scores, Candidates):
            first, *steps = self._decoder.grid
            places = scores[
                (slice(None), slice(-start % first, None, first), *(slice(None, None, n) for n in steps))
            ]
            begin = (-(-start // first) * first, 0, 0)
            scores = candidates_of(places, self._decoder, begin, self._out.shape)
        return super().add(start, stop, scores)

    def _split(self, first: int, last: int) -> tuple[int, np.ndarray, np.ndarray]:
        self._bands = [band for band in self._bands if band[1] > first]
        found = Candidates.joined([band[2] for band in self._bands], len(self._rays.vertices))
        found = found.chosen((found.points[:, 0] >= first) & (found.points[:, 0] < last))
        shape = (last - first, *self._out.shape[1:])
        return first, *split_stars_3d(found, self._rays, self._decoder.overlap, shape, first)
