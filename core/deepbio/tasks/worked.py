"""A frame as its network sees it, and the way back: for those who look into the network.

The tasks themselves do this as they need it; features and explanations need the same pixels, whatever
the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepbio.engine.geometry import GridSpec, labels_to_working
from deepbio.engine.resample import AxisMap, interpolate
from deepbio.image import ArrayLike, Grid, Image
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.first_stage import check_within
from deepbio.tasks.fitted import fit_size, middle, middle_spans
from deepbio.tasks.frames import Frame, FrameSource, frame_grid
from deepbio.tasks.opened import open_frame
from deepbio.tasks.placed import Placed, place_frame

__all__ = ["Worked", "coarser_grid", "work_on"]

Bands = Iterator[tuple[int, int, np.ndarray]]


@dataclass(frozen=True)
class Worked:
    """One frame on the grid that its network works on.

    Attributes
    ----------
    source : FrameSource
        Its normalised pixels.
    placed : Placed
        Where that grid lies, for networks that work in physical units.
    shape : tuple of int
        Size of the frame itself, without channels.
    inner : tuple of (int, int), or None
        For a classifier, whose images are brought to one size: first pixel and one past the last,
        along each axis, of what the image itself became; around it the border goes on.
    cut : tuple of (int, int, int), or None
        For a classifier of a fixed spacing: what of the working grid it sees, see `middle_spans`.
    """

    source: FrameSource
    placed: Placed
    shape: tuple[int, ...]
    inner: tuple[tuple[int, int], ...] | None = None
    cut: tuple[tuple[int, int, int], ...] | None = None

    def write(self, bands: Bands, out: np.ndarray) -> None:
        """Bring bands of one channel on the working grid back into an array of the frame's shape.

        What a classifier did not see is 0.
        """
        if self.cut is not None:
            bands = self._uncut(bands)
        if self.inner is None:
            inside = self.placed.inside(out)
            for start, stop, part in self.placed.to_input(bands):
                inside[start:stop] = part[0]
            return
        whole = np.concatenate([part for _, _, part in bands], axis=1)
        part = whole[(slice(None), *(slice(a, b) for a, b in self.inner))]
        maps = [AxisMap(b - a, n) for (a, b), n in zip(self.inner, self.shape, strict=True)]
        out[...] = interpolate(np.ascontiguousarray(part), maps, [(0, n) for n in self.shape])[0]

    def _uncut(self, bands: Bands) -> Bands:
        """What was seen of the working grid, at its place on it."""
        assert self.cut is not None, "it was cut"  # noqa: S101
        whole = np.concatenate([part for _, _, part in bands], axis=1)
        placement = self.placed.placement
        canvas = np.zeros(
            (whole.shape[0], *(self.shape if placement is None else placement.grid.shape)), np.float32
        )
        seen = tuple(slice(start, start + n) for start, _, n in self.cut)
        canvas[(slice(None), *seen)] = whole[(slice(None), *(slice(at, at + n) for _, at, n in self.cut))]
        yield 0, canvas.shape[1], canvas

    def labels(self, own: np.ndarray) -> np.ndarray:
        """Labels of the frame on the working grid (not for images brought to one size)."""
        return own if self.placed.placement is None else labels_to_working(own, self.placed.placement)

    def lattice(self) -> tuple[list[float], list[float]]:
        """Pixels of the frame per working pixel, and the frame's index where the first one begins."""
        if self.inner is not None:
            ratios = [n / (b - a) for n, (a, b) in zip(self.shape, self.inner, strict=True)]
            return ratios, [-a * ratio for (a, _), ratio in zip(self.inner, ratios, strict=True)]
        ratios, corner = _lattice(self.placed, len(self.shape))
        before = [start - at for start, at, _ in self.cut or ((0, 0, 0),) * len(ratios)]
        return ratios, [at + n * ratio for at, n, ratio in zip(corner, before, ratios, strict=True)]

    def coarser(self, image: Image, cells: Sequence[int], stride: Sequence[int]) -> Grid:
        """Where cells of `stride` working pixels lie in the world of the image (of slices: of the stack)."""
        if self.inner is None:
            before = [start - at for start, at, _ in self.cut or ((0, 0, 0),) * len(stride)]
            return coarser_grid(image, self.placed, cells, stride, before)
        return _on_image(image, cells, stride, self.lattice())


def coarser_grid(
    image: Image, placed: Placed, cells: Sequence[int], stride: Sequence[int], before: Sequence[int] = ()
) -> Grid:
    """Where cells of `stride` working pixels lie in the world of an image (of slices: of the stack).

    Parameters
    ----------
    image : Image
        Whose frame was placed.
    placed : Placed
        The frame on its working grid.
    cells : sequence of int
        Their number along each axis.
    stride : sequence of int
        Working pixels of a cell.
    before : sequence of int, optional
        Working pixels before the first cell.
    """
    before = before or [0] * len(stride)
    placement = placed.placement
    if placement is not None and placement.grid.ndim == image.grid.ndim:
        return _coarser(placement.grid, cells, [float(s) for s in stride], [float(n) for n in before])
    ratios, corner = _lattice(placed, len(stride))
    corner = [at + n * ratio for at, n, ratio in zip(corner, before, ratios, strict=True)]
    return _on_image(image, cells, stride, (ratios, corner))


def _lattice(placed: Placed, ndim: int) -> tuple[list[float], list[float]]:
    """Pixels of the frame per working pixel, and the frame's index where the first one begins."""
    placement = placed.placement
    if placement is None:
        return [1.0] * ndim, [0.0] * ndim
    ratios = [n / m for n, m in zip(placement.box_shape, placement.grid.shape, strict=True)]
    return ratios, [float(start) for start, _ in placement.box]


def _on_image(
    image: Image, cells: Sequence[int], stride: Sequence[int], lattice: tuple[list[float], list[float]]
) -> Grid:
    ratios, corner = lattice
    steps = [s * ratio for s, ratio in zip(stride, ratios, strict=True)]
    if image.grid.ndim == len(steps) + 1:  # slices: their axes, beside the stack's first one
        return _coarser(image.grid, [image.grid.shape[0], *cells], [1.0, *steps], [0.0, *corner])
    return _coarser(image.grid, cells, steps, corner)


def _coarser(grid: Grid, cells: Sequence[int], steps: Sequence[float], corner: Sequence[float]) -> Grid:
    first = [at + step / 2 - 0.5 for at, step in zip(corner, steps, strict=True)]
    spacing = tuple(s * step for s, step in zip(grid.spacing, steps, strict=True))
    return Grid(tuple(cells), spacing, tuple(grid.to_world(first)), grid.direction, grid.unit)


def work_on(
    image: Image, frame: Frame, card: ModelCard, options: RunOptions, spec: GridSpec, *, parts: bool = False
) -> Worked:
    """Bring a frame to its network.

    Parameters
    ----------
    image, frame : Image, Frame
        The image, and which part of it.
    card : ModelCard
        What the network takes.
    options : RunOptions
        With ``classify="tiles"`` a classifier is shown the parts of the image as they are.
    spec : GridSpec
        The grid that the card asks for.
    parts : bool
        The same, because objects are looked at.
    """
    check_within(card, "what its layers see")
    shape = tuple(frame.view.shape[1:])
    if card.task == "classify" and not parts and getattr(options, "classify", "auto") != "tiles":
        size = _input_size(card)
        if spec.spacing:
            placed = place_frame(frame.view, frame_grid(image, frame), spec)
            cut = tuple(middle_spans(placed.view.shape[1:], size))
            return Worked(FrameSource(middle(placed.view, size), card), placed, shape, cut=cut)
        pixels: ArrayLike = frame.view
        if size != shape:
            pixels = fit_size(np.asarray(frame.view[...]), size)
        return Worked(FrameSource(pixels, card), Placed(frame.view), shape, _inner(shape, size))
    placed, source = open_frame(image, frame, card, spec)
    return Worked(source, placed, shape)


def _input_size(card: ModelCard) -> tuple[int, ...]:
    from deepbio.tasks.classify import input_size

    return input_size(card)


def _inner(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Where `fit_size` puts the image."""
    scale = min(wanted / n for wanted, n in zip(size[-2:], shape[-2:], strict=True))
    edges = [max(1, min(w, round(n * scale))) for w, n in zip(size[-2:], shape[-2:], strict=True)]
    target = (*size[:-2], *edges)
    starts = [(w - n) // 2 for w, n in zip(size, target, strict=True)]
    return tuple((a, a + n) for a, n in zip(starts, target, strict=True))
