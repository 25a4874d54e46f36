"""Test-time mirroring: the mean of a network's scores over mirrored images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Runtime

__all__ = ["Mirrored"]


class Mirrored:
    """A runtime that asks another one for every mirror image of a tile and takes the mean.

    Parameters
    ----------
    runtime : Runtime
        Asked ``2 ** len(axes)`` times for each batch.
    axes : sequence of int
        Spatial axes of the tile, counted from 0, along which the anatomy may be mirrored.
    offsets : mapping of int to int
        Channels that say how far something is along an axis: in a mirror it is on the other side.
    """

    def __init__(
        self, runtime: Runtime, axes: Sequence[int], offsets: Mapping[int, int] | None = None
    ) -> None:
        self._runtime = runtime
        self._axes = tuple(axes)
        self._offsets = dict(offsets or {})
        self.name, self.precision, self.why = runtime.name, runtime.precision, runtime.why
        self.device: Device = runtime.device

    def __call__(self, batch: np.ndarray) -> Any:
        """Mean scores of a batch of tiles; see :class:`~deepbio.engine.runtimes.Runtime`."""
        total: Any = None
        flips = [
            tuple(axis + 2 for axis in chosen)
            for count in range(len(self._axes) + 1)
            for chosen in itertools.combinations(self._axes, count)
        ]
        for flip in flips:
            scores = self._runtime(np.ascontiguousarray(np.flip(batch, flip)) if flip else batch)
            scores = np.flip(scores, flip) if isinstance(scores, np.ndarray) else scores.flip(flip)
            if total is None:  # a copy: scores are valid until the next call
                total = scores.copy() if isinstance(scores, np.ndarray) else scores.clone()
                continue
            turned = [channel for channel, axis in self._offsets.items() if axis + 2 in flip]
            total += scores
            if turned:
                total[:, turned] -= 2 * scores[:, turned]
        total *= 1 / len(flips)
        return total
