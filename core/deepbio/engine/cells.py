"""Feature maps of an image on the coarser grid of a layer, tile by tile.

A cell is the square (cube) of ``stride`` pixels that one place of a feature map stands for. Tiles
start at multiples of the stride, so that the cells of neighbours are the same; of each tile only what
is nearer to its own centre than to its neighbours' is kept. Memory is the tile, and the cells of
the image (in a file where they would fill the memory).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deepbio.engine.slabs import Source
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Stage, silent

__all__ = ["CellPlan", "plan_cells", "predict_cells"]


class _Features(Protocol):
    def __call__(self, batch: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class CellPlan:
    """Where the tiles of one image are, and which cells of each are kept.

    Attributes
    ----------
    shape : tuple of int
        Size of the image along its spatial axes.
    tile : tuple of int
        Size of every tile, in pixels.
    stride : tuple of int
        Pixels per cell.
    starts : tuple of tuple of int
        First pixel of the tiles along each axis.
    bounds : tuple of tuple of int
        Along each axis, the cells at which one tile hands over to the next, with both ends.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    stride: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    bounds: tuple[tuple[int, ...], ...]

    @property
    def cells(self) -> tuple[int, ...]:
        """Size of the feature maps."""
        return tuple(-(-n // s) for n, s in zip(self.shape, self.stride, strict=True))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return math.prod(len(starts) for starts in self.starts)

    def cover(self) -> np.ndarray:
        """The part of each cell that lies inside the image, float32 of the shape `cells`."""
        whole = np.ones((), np.float32)
        for n, s, count in zip(self.shape, self.stride, self.cells, strict=True):
            part = np.ones(count, np.float32)
            part[-1] = (n - (count - 1) * s) / s
            whole = whole[..., np.newaxis] * part
        return whole


def plan_cells(
    spatial_shape: Sequence[int],
    *,
    tile: Sequence[int],
    stride: Sequence[int],
    overlap: float = 0.125,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> CellPlan:
    """Cut an image into tiles whose cells fit together.

    Parameters
    ----------
    spatial_shape : sequence of int
        Size of the image.
    tile : sequence of int
        Largest tile.
    stride : sequence of int
        Pixels per cell.
    overlap : float
        Least overlap of neighbours as a fraction of the tile.
    sizes : sequence of (int, int), optional
        Smallest size that the network takes and the step between sizes, per axis; a step of 0 means
        that only that size is taken. By default any.

    Raises
    ------
    InputMismatch
        If no size that the network takes is a multiple of the stride.

    Examples
    --------
    >>> plan = plan_cells((100,), tile=(48,), stride=(8,), overlap=0.25, sizes=[(16, 16)])
    >>> plan.tile, plan.starts, plan.bounds, plan.cells
    ((48,), ((0, 32, 56),), ((0, 5, 8, 13),), (13,))
    """
    shape = tuple(int(n) for n in spatial_shape)
    cuts = [
        _cut(n, t, s, overlap, one)
        for n, t, s, one in zip(shape, tile, stride, sizes or [(1, 1)] * len(shape), strict=True)
    ]
    return CellPlan(
        shape,
        tuple(size for size, _, _ in cuts),
        tuple(stride),
        tuple(starts for _, starts, _ in cuts),
        tuple(bounds for _, _, bounds in cuts),
    )


def _cut(
    n: int, tile: int, stride: int, overlap: float, sizes: tuple[int, int]
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Tile size, starts and bounds along one axis of `n` pixels."""
    minimum, step = sizes
    cells = -(-n // stride)
    size = _size(n, minimum, step, stride, up=True)
    if n <= size <= max(tile, minimum):
        return size, (0,), (0, cells)
    size = _size(max(tile, minimum), minimum, step, stride, up=False)
    if size >= n:
        return size, (0,), (0, cells)
    move = max(stride, int(size * (1 - overlap)) // stride * stride)
    last = -(-(n - size) // stride) * stride
    starts = (*range(0, last, move), last)
    # two neighbours share the cells from the later one's start to the earlier one's end: cut in the middle
    inner = [(after + before + size) // (2 * stride) for before, after in itertools.pairwise(starts)]
    return size, starts, (0, *inner, cells)


def _size(n: int, minimum: int, step: int, stride: int, *, up: bool) -> int:
    """The size next to `n` that the network takes and that is a multiple of the stride."""
    if step == 0:
        candidates = [minimum] if minimum % stride == 0 else []
    else:
        first = max(0, (n - minimum) // step) + (1 if up and minimum < n and (n - minimum) % step else 0)
        steps = range(first, first + stride) if up else range(first, -1, -1)
        found = (minimum + k * step for k in steps)
        candidates = [size for size in itertools.islice(found, stride) if size % stride == 0][:1]
        if not candidates and not up:
            return _size(minimum, minimum, step, stride, up=True)
    if not candidates:
        raise InputMismatch(
            f"The network takes sizes of {minimum} + n * {step} pixels, none of them a multiple of the "
            f"layer's stride {stride}.",
            "Choose another layer.",
        )
    return candidates[0]


def predict_cells(
    source: Source,
    features: _Features,
    plan: CellPlan,
    out: Any = None,
    *,
    listener: Listener = silent,
    item: str = "",
) -> Any:
    """Compute the feature maps of an image.

    Parameters
    ----------
    source : Source
        The normalised image, shape ``(C, *spatial)``.
    features : callable
        Gives ``(1, F, *cells)`` (or ``(1, F)``: one cell) of a batch of one tile ``(1, C, *tile)``.
    plan : CellPlan
        The tiles.
    out : callable, optional
        ``out(shape) -> array`` makes the array for the result; by default zeros in memory.
    listener : Listener
        Told after each tile; raises Cancelled to stop.
    item : str
        The file or frame, for the listener.

    Returns
    -------
    array-like of float32, shape (F, *cells)
    """
    stage = Stage(listener, "features", plan.count, item)
    result: Any = None
    for index in itertools.product(*(range(len(starts)) for starts in plan.starts)):
        start = tuple(plan.starts[axis][i] for axis, i in enumerate(index))
        maps = np.asarray(features(_read(source, plan, start)[np.newaxis]))[0]
        maps = maps.reshape(len(maps), *(maps.shape[1:] or (1,) * len(plan.shape)))
        wanted = tuple(t // s for t, s in zip(plan.tile, plan.stride, strict=True))
        if maps.shape[1:] != wanted:
            raise InputMismatch(
                f"The layer answers a tile of {plan.tile} pixels with maps of {maps.shape[1:]} cells; "
                f"expected {wanted}.",
                "Choose another layer.",
            )
        if result is None:
            shape = (len(maps), *plan.cells)
            result = np.zeros(shape, np.float32) if out is None else out(shape)
        spans = [(plan.bounds[axis][i], plan.bounds[axis][i + 1]) for axis, i in enumerate(index)]
        first = [begin // s for begin, s in zip(start, plan.stride, strict=True)]
        inside = tuple(slice(a - at, b - at) for (a, b), at in zip(spans, first, strict=True))
        result[(slice(None), *(slice(a, b) for a, b in spans))] = maps[(slice(None), *inside)]
        stage.step()
    return result


def _read(source: Source, plan: CellPlan, start: tuple[int, ...]) -> np.ndarray:
    """Pixels of one tile; beyond the end of the image mirrored ones."""
    stop = tuple(min(a + t, n) for a, t, n in zip(start, plan.tile, plan.shape, strict=True))
    pixels = source.read(start, stop)
    missing = [(0, a + t - b) for a, t, b in zip(start, plan.tile, stop, strict=True)]
    if any(after for _, after in missing):
        pixels = np.pad(pixels, [(0, 0), *missing], mode="reflect")
    return np.ascontiguousarray(pixels, np.float32)
