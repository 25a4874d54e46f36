"""Runs a network over an image tile by tile and hands out finished bands.

Memory is bounded by the tile times the cross-section of the image: one band of scores, as high as a
tile, rolls along the first axis; rows that no later tile touches are handed out. The source
is read strip by strip, never whole. The same lines work on numpy arrays and on torch tensors
that stay on their device.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from deepbio.engine.runtimes import Runtime
from deepbio.engine.tiling import TilePlan, blending_weights, floored_weights, own_spans
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Stage, silent

__all__ = ["ArraySource", "Source", "predict_pieces", "predict_scores", "predict_slabs"]

_PIECE = 2**18  # scores that are weighted and added at once: a megabyte


class Source(Protocol):
    """An image that is read part by part."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size ``(C, *spatial)``."""

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Pixels from `start` up to `stop` (spatial, inside the image): float32 ``(C, *size)``."""


class ArraySource:
    """A source over an array-like of shape ``(C, *spatial)``.

    Examples
    --------
    >>> source = ArraySource(np.arange(12).reshape(1, 3, 4))
    >>> source.read((1, 0), (3, 2)).tolist()
    [[[4.0, 5.0], [8.0, 9.0]]]
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """Size ``(C, *spatial)``."""
        return tuple(self._array.shape)

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Pixels from `start` up to `stop` as float32."""
        key = (slice(None), *map(slice, start, stop))
        return np.asarray(self._array[key], dtype=np.float32)


def predict_slabs(
    source: Source, runtime: Runtime, plan: TilePlan, *, listener: Listener = silent, item: str = ""
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Predict an image and hand out bands along its first spatial axis as they become final.

    Parameters
    ----------
    source : Source
        The normalised image, shape ``(C, *spatial)``.
    runtime : Runtime
        Runs the network on a batch of tiles.
    plan : TilePlan
        The tiles, made for the image's size.
    listener : Listener
        Told after each batch; raises Cancelled to stop between two batches.
    item : str
        The file or frame, for the listener.

    Yields
    ------
    start, stop : int
        Rows along the first spatial axis; the bands follow each other without gap.
    scores : ndarray, float32, shape (K, stop - start, ...)
        Blended scores, an array of the caller's own.

    Raises
    ------
    InputMismatch
        If plan and image disagree, or the network's output has another size than its input.
    """
    for band, stop in _finished(source, runtime, plan, listener, item):
        yield band.base, stop, band.own(stop)


def predict_pieces(
    source: Source, runtime: Runtime, plan: TilePlan, *, listener: Listener = silent, item: str = ""
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Predict an image and hand out what each tile says of the pixels that are nearest to its middle.

    For those who need only some of the scores: no band of them is kept.

    Parameters
    ----------
    source, runtime, plan, listener, item
        As for :func:`predict_slabs`; the plan's blend is ``"nearest"``.

    Yields
    ------
    start : tuple of int
        First pixel, a multiple of the plan's cell. Along the first axis it never goes back.
    scores : ndarray, float32, shape (K, *cells)
        A score for each cell; valid until the next.
    """
    _check_shape(source, plan)
    stage, reader = Stage(listener, "predict", plan.count, item), _Reader(source, plan)
    cell = plan.cell or (1,) * len(plan.tile)
    spans = [own_spans(t, starts, n) for t, starts, n in zip(plan.tile, plan.starts, cell, strict=True)]
    for row in range(len(plan.starts[0])):
        for tiles in plan.batches(row):
            scores = _checked(runtime(reader.fill(tiles)), len(tiles), plan)
            for index, part in zip(tiles, scores, strict=True):
                own = [one[i] for one, i in zip(spans, index, strict=True)]
                begins = [starts[i] for starts, i in zip(plan.starts, index, strict=True)]
                key = tuple(
                    slice((a - begin) // n, (b - begin) // n)
                    for (a, b), begin, n in zip(own, begins, cell, strict=True)
                )
                piece = part[(slice(None), *key)]
                yield (
                    tuple(a for a, _ in own),
                    piece if isinstance(piece, np.ndarray) else piece.cpu().numpy(),
                )
            del scores
            stage.step(len(tiles))


def predict_scores(
    source: Source, runtime: Runtime, plan: TilePlan, *, listener: Listener = silent, item: str = ""
) -> np.ndarray:
    """Predict an image whole; :func:`predict_slabs` with all bands put together.

    Returns
    -------
    ndarray, float32, shape (K, *spatial)
        Blended scores.
    """
    whole: np.ndarray | None = None
    for band, stop in _finished(source, runtime, plan, listener, item):
        if whole is None:
            if stop == plan.shape[0]:
                return band.own(stop)
            whole = np.empty((band.channels, *plan.shape), np.float32)
        whole[:, band.base : stop] = band.rows(stop)
    assert whole is not None, "a plan has at least one tile"  # noqa: S101
    return whole


def _finished(
    source: Source, runtime: Runtime, plan: TilePlan, listener: Listener, item: str
) -> Iterator[tuple[_Band, int]]:
    """Predict row by row of tiles; yield the band, and the row up to which it is final.

    When the caller asks for the next, the band rolls on.
    """
    _check_shape(source, plan)
    stage = Stage(listener, "predict", plan.count, item)
    reader = _Reader(source, plan)
    band: _Band | None = None
    for row, following in enumerate((*plan.starts[0][1:], plan.shape[0])):
        for tiles in plan.batches(row):
            scores = _per_pixel(_checked(runtime(reader.fill(tiles)), len(tiles), plan), plan)
            if band is None:
                band = _Band(plan, runtime, scores)
            band.add(tiles, scores)
            del scores  # let go before the next forward
            stage.step(len(tiles))
        if band is not None:
            yield band, following
            if following < plan.shape[0]:
                band.roll(following)


class _Reader:
    """Reads strips of the source and fills batches of tiles, padded as the plan says.

    A strip holds all tiles that differ along the last axis only, so rows of a file that is
    stored row by row are read once per strip and not once per tile.
    """

    def __init__(self, source: Source, plan: TilePlan) -> None:
        self._source, self._plan = source, plan
        row = math.prod(len(starts) for starts in plan.starts[1:])
        size = min(plan.batch, row)
        self._buffer = np.empty((size, source.shape[0], *plan.tile), np.float32)
        self._strip: np.ndarray | None = None
        self._strip_index: tuple[int, ...] | None = None

    def fill(self, tiles: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Batch of these tiles, ``(N, C, *tile)``; the same buffer in every call."""
        plan = self._plan
        for slot, index in zip(self._buffer, tiles, strict=False):
            strip = self._read(index[:-1])
            start = plan.starts[-1][index[-1]]
            low, high = _inside(start, plan.tile[-1], plan.shape[-1])
            starts = [each[i] for each, i in zip(plan.starts, index, strict=True)]
            if plan.pad == "zero":
                self._fill_with_zeros(slot, strip[..., low:high], starts)
            else:
                self._fill_by_repetition(slot, strip[..., low:high], starts)
        return self._buffer[: len(tiles)]

    def _fill_by_repetition(self, slot: np.ndarray, part: np.ndarray, starts: Sequence[int]) -> None:
        plan = self._plan
        repeated = _reflected if plan.pad == "reflect" else _held
        for axis, (n, size, start) in enumerate(zip(plan.shape, plan.tile, starts, strict=True)):
            if start < 0 or start + size > n:
                part = part.take(repeated(start, size, n) - max(start, 0), axis=axis + 1)
        slot[...] = part

    def _fill_with_zeros(self, slot: np.ndarray, part: np.ndarray, starts: Sequence[int]) -> None:
        inner = [
            slice(max(-start, 0), max(-start, 0) + n) for start, n in zip(starts, part.shape[1:], strict=True)
        ]
        if part.shape != slot.shape:
            slot[...] = 0
        slot[(slice(None), *inner)] = part

    def _read(self, index: tuple[int, ...]) -> np.ndarray:
        if self._strip is None or index != self._strip_index:
            plan = self._plan
            spans = [
                _inside(plan.starts[axis][i], plan.tile[axis], plan.shape[axis])
                for axis, i in enumerate(index)
            ]
            spans.append((0, plan.shape[-1]))
            self._strip = None  # let go of the last strip before the next one is read
            self._strip = self._source.read(tuple(low for low, _ in spans), tuple(high for _, high in spans))
            self._strip_index = index
        return self._strip


class _Band:
    """Scores of one row of tiles, added up in place and rolled along the first axis.

    It lives where the runtime's scores live, unless it does not fit there: then in main memory.
    """

    def __init__(self, plan: TilePlan, runtime: Runtime, scores: Any) -> None:
        self._plan = plan
        self.base = 0
        self.channels = int(scores.shape[1])
        shape = (self.channels, min(plan.tile[0], plan.shape[0]), *plan.shape[1:])
        self._on_device = not isinstance(scores, np.ndarray)
        if self._on_device and 4 * math.prod(shape) > runtime.device.free() // 2:
            self._on_device = False
        weights = () if plan.blend == "floored" else blending_weights(plan)
        self._band: Any
        self._weights: Any
        if self._on_device:
            self._band = scores.new_zeros(shape)
            self._weights = [[scores.new_tensor(w) for w in axis] for axis in weights]
        else:
            self._band = np.zeros(shape, np.float32)
            self._weights = weights

    def add(self, tiles: Sequence[tuple[int, ...]], scores: Any) -> None:
        """Add weighted tiles; `scores` is scratch space afterwards."""
        plan = self._plan
        if not self._on_device and not isinstance(scores, np.ndarray):
            scores = scores.cpu().numpy()
        for n, index in enumerate(tiles):
            inner: list[slice] = [slice(None)]
            outer: list[slice] = [slice(None)]
            weights = []
            for axis, i in enumerate(index):
                start = plan.starts[axis][i]
                low, high = _inside(start, plan.tile[axis], plan.shape[axis])
                inner.append(slice(low - start, high - start))
                offset = self.base if axis == 0 else 0
                outer.append(slice(low - offset, high - offset))
                if len(plan.starts[axis]) > 1 and self._weights:  # else the weight is one
                    weight = self._weights[axis][i][inner[-1]]
                    weights.append(weight.reshape(-1, *(1,) * (len(index) - 1 - axis)))
            if plan.blend == "floored" and plan.count > 1:
                own = floored_weights(plan, index)[tuple(inner[1:])]
                weights.append(scores.new_tensor(own) if self._on_device else own)
            part, target = scores[n][tuple(inner)], self._band[tuple(outer)]
            _add_weighted(part, weights, target)

    def rows(self, stop: int) -> np.ndarray:
        """The scores before row `stop`, which are final, in main memory; valid until the band rolls."""
        final = self._band[:, : stop - self.base]
        return final.cpu().numpy() if self._on_device else final

    def own(self, stop: int) -> np.ndarray:
        """The scores before row `stop` as an array of the caller's own."""
        if stop == self._plan.shape[0]:
            return self.rows(stop)  # the last ones: the band itself is not needed any more
        final = self._band[:, : stop - self.base]
        return final.to("cpu", copy=True).numpy() if self._on_device else final.copy()

    def roll(self, stop: int) -> None:
        """Forget the rows before `stop` and make room behind."""
        rows, kept = stop - self.base, self._band.shape[1] - (stop - self.base)
        # Row by row of tiles, for source and target overlap where neighbours share more than half.
        for low in range(0, kept, rows):
            high = min(low + rows, kept)
            self._band[:, low:high] = self._band[:, rows + low : rows + high]
        self._band[:, kept:] = 0
        self.base = stop


def _add_weighted(part: Any, weights: Sequence[Any], target: Any) -> None:
    """Add a tile times its weights to `target`; `part` is overwritten.

    In main memory some rows at a time: the product of the weights serves all channels, and the rows
    stay in the cache between the multiplication and the sum.
    """
    if not weights:
        target += part
        return
    count = part.shape[1]
    rows = count
    if isinstance(part, np.ndarray):
        rows = max(1, _PIECE // math.prod((part.shape[0], *part.shape[2:])))
    first = weights[0] if weights[0].ndim == part.ndim - 1 else None  # of the first axis
    plane = functools.reduce(operator.mul, weights if first is None else weights[1:], 1)
    for low in range(0, count, rows):
        piece = part[:, low : low + rows]
        piece *= plane if first is None else first[low : low + rows] * plane
        target[:, low : low + rows] += piece


def _inside(start: int, size: int, n: int) -> tuple[int, int]:
    """The part of a tile that lies inside the image."""
    return max(start, 0), min(start + size, n)


def _reflected(start: int, size: int, n: int) -> np.ndarray:
    """Indices into ``n`` pixels for a tile that reaches beyond them, mirrored as often as needed.

    The edge pixel is not repeated; an image of one pixel is repeated.
    """
    if n == 1:
        return np.zeros(size, int)
    period = 2 * (n - 1)
    index = np.arange(start, start + size) % period
    return np.minimum(index, period - index)


def _held(start: int, size: int, n: int) -> np.ndarray:
    """Indices into ``n`` pixels for a tile that reaches beyond them; the last pixel goes on."""
    return np.clip(np.arange(start, start + size), 0, n - 1)


def _check_shape(source: Source, plan: TilePlan) -> None:
    if tuple(source.shape[1:]) != plan.shape:
        raise InputMismatch(
            f"The tiles were planned for an image of {plan.shape} pixels; this one has {source.shape[1:]}."
        )


def _per_pixel(scores: Any, plan: TilePlan) -> Any:
    """Scores of cells, repeated for each of their pixels."""
    for axis, times in enumerate(plan.cell):
        if times > 1 and isinstance(scores, np.ndarray):
            scores = scores.repeat(times, axis + 2)
        elif times > 1:
            scores = scores.repeat_interleave(times, axis + 2)
    return scores


def _checked(scores: Any, count: int, plan: TilePlan) -> Any:
    """Scores if their shape is (N, K, *tile), or has a score for each cell of the tile."""
    shape = tuple(scores.shape)
    tile = plan.tile
    if plan.cell:
        tile = tuple(t // n for t, n in zip(plan.tile, plan.cell, strict=True))
    if len(shape) != 2 + len(plan.tile) or shape[0] != count or shape[2:] != tile:
        raise InputMismatch(
            f"The network answers {count} tiles of {plan.tile} pixels with an array of shape {shape}; "
            f"expected ({count}, K, {', '.join(map(str, tile))}).",
            "Networks that change the size of the image cannot be run in tiles.",
        )
    return scores
