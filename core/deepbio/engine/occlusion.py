"""Occlusion: how much a class's score falls where a part of the image is covered.

Zeiler and Fergus, ECCV 2014 (arXiv:1311.2901). It needs scores only, so it runs in every runtime.
"""

from __future__ import annotations

import itertools

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Runtime
from deepbio.engine.spread import as_numpy
from deepbio.events import Listener, Stage, silent

__all__ = ["Occlusion"]

_PARTS = 8  # windows of an eighth of the tile, moved by half of that
_PARTS_OF_TIME = 4
_AT_ONCE = 8


class Occlusion:
    """A runtime that covers windows of each tile with the tile's mean colour and looks at the score.

    Parameters
    ----------
    runtime : Runtime
        Gives scores.
    channel : int or None
        The score that is explained; None: the highest one, of each frame its own.
    exclusive : bool
        Whether a pixel is of the class where its score is the highest; else where it is positive.
    window : int or None
        Edge in pixels of what is covered; by default an eighth of the tile.
    movie : bool
        Whether the first axis of a tile is time, of which a quarter is covered at once.
    listener : Listener
        Hears of windows; may raise Cancelled.
    """

    name, precision, why = "occlusion", "fp32", "parts of the image are covered"

    def __init__(
        self,
        runtime: Runtime,
        channel: int | None,
        *,
        exclusive: bool = True,
        window: int | None = None,
        movie: bool = False,
        listener: Listener = silent,
    ) -> None:
        self.device: Device = runtime.device
        self._runtime, self._channel, self._exclusive = runtime, channel, exclusive
        self._window, self._movie, self._listener = window, movie, listener

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Maps ``(N, 1, *tile)``: by how much the score falls, mean over the windows over a pixel."""
        return np.stack([self._map(tile) for tile in batch])

    def _map(self, tile: np.ndarray) -> np.ndarray:
        spatial = tile.shape[1:]
        edges = [min(self._window or max(1, n // _PARTS), n) for n in spatial]
        moves = [max(1, edge // 2) for edge in edges]
        if self._movie:  # without overlap in time: it is many forwards as it is
            edges[0] = moves[0] = max(1, -(-spatial[0] // _PARTS_OF_TIME))
        starts = [
            sorted({*range(0, n - edge, move), n - edge})
            for n, edge, move in zip(spatial, edges, moves, strict=True)
        ]
        places = list(itertools.product(*starts))
        whole = as_numpy(self._runtime(tile[np.newaxis].astype(np.float32)))
        mask = self._mask(whole)
        before = self._score(whole, mask)[0]
        colour = tile.reshape(len(tile), -1).mean(axis=1)
        total, count = np.zeros(spatial, np.float64), np.zeros(spatial, np.float64)
        stage = Stage(self._listener, "occlusion", len(places))
        for first in range(0, len(places), _AT_ONCE):
            keys = [
                tuple(slice(a, a + edge) for a, edge in zip(place, edges, strict=True))
                for place in places[first : first + _AT_ONCE]
            ]
            covered = np.repeat(tile[np.newaxis], len(keys), axis=0).astype(np.float32)
            for one, key in zip(covered, keys, strict=True):
                one[(slice(None), *key)] = colour.reshape(-1, *(1,) * len(spatial))
            after = self._score(as_numpy(self._runtime(covered)), mask)
            for key, value in zip(keys, after, strict=True):
                total[key] += before - value
                count[key] += 1
            stage.step(len(keys))
        return (total / count)[np.newaxis].astype(np.float32)

    def _mask(self, scores: np.ndarray) -> np.ndarray | None:
        if self._channel is None:
            return np.asarray(scores.argmax(axis=1, keepdims=True))
        if scores.ndim == 2:
            return None
        if self._exclusive and scores.shape[1] > 1:
            return np.asarray(scores.argmax(axis=1) == self._channel)
        return np.asarray(scores[:, self._channel] > 0)

    def _score(self, scores: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        if self._channel is None and mask is not None:
            chosen = np.broadcast_to(mask, (len(scores), *mask.shape[1:]))
            found = np.take_along_axis(scores, chosen, axis=1)
            return np.asarray(found.reshape(len(found), -1).sum(axis=1, dtype=np.float64))
        wanted = scores[:, self._channel]
        if mask is None:
            return np.array(wanted, np.float64)
        return np.asarray((wanted * mask).reshape(len(wanted), -1).sum(axis=1, dtype=np.float64))
