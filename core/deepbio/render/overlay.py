"""A picture of a result: the image, its outlined objects and its labels, side by side.

Made with pillow and numpy alone, so that it works wherever deepbio does. Large images are reduced
while they are read, in bands of rows, so memory follows the picture and not the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Picture

from deepbio.image import Grid, Image, LabelMap
from deepbio.io.lut import label_colours
from deepbio.render.page import CLASS_COLORS, page_of, scale_bar, with_legend

__all__ = ["count_per_frame", "outlines", "overlay", "stretch"]

PANEL = 560  # pixels along the longer edge of a panel, about
FRAMES = 4  # of a stack or time-lapse, at most
_SQUARE = 1.1  # pixels that are longer by less are drawn as squares
# Of several channels without colours of their own: told apart by most colour-blind people too.
CHANNEL_COLORS = ((255, 255, 255),), ((0, 255, 0), (255, 0, 255)), ((0, 170, 255), (0, 255, 0), (255, 60, 60))


def overlay(image: Image, labels: LabelMap, *, title: str = "") -> Picture.Image:
    """Draw image, outlines and labels side by side; of stacks and time-lapses some frames in rows.

    Volumes of patients are shown as radiologists look at them: anterior or the head up, the patient's
    left on the right.

    Parameters
    ----------
    image : Image
        Any axes of ``"TCZYX"``; pixels are read in bands.
    labels : LabelMap
        On the same grid.
    title : str
        Stands above the panels, followed by the number of objects.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Examples
    --------
    >>> labels = LabelMap(np.pad(np.array([[1, 1], [2, 2]]), 4))
    >>> overlay(Image(labels.array * 100.0), labels, title="two.tif").mode
    'RGB'
    """
    frames = list(_frames(labels))
    height, width = labels.shape[-2:]
    panel = PANEL if len(frames) == 1 else PANEL * 2 // 3
    tall, wide = _aspect(image.grid)
    edge = round(max(height * tall, width * wide))
    reduce = max(1, -(-edge // (2 * panel)))  # a big image may take two times the panel
    enlarge = max(1, round(panel / edge))
    windows = _windows(image, frames, reduce)
    rows = [
        [_stretched(one, tall, wide) for one in _row(image, labels, frame, (reduce, enlarge), windows)]
        for frame in frames
    ]
    captions = [frame.caption for frame in frames] if len(frames) > 1 else []
    scale = enlarge / reduce * wide
    page = page_of(
        rows, captions, f"{title}   {_counted(labels)}".strip(), scale_bar(image, scale, rows[0][0].width)
    )
    return with_legend(page, labels.names) if labels.names else page


def _aspect(grid: Grid) -> tuple[float, float]:
    """How much taller and wider a pixel is than the finer side of it; nearly square ones are left so."""
    down, across = grid.spacing[-2:]
    if grid.unit == "pixel" or max(down, across) < _SQUARE * min(down, across):
        return 1.0, 1.0
    return down / min(down, across), across / min(down, across)


def _stretched(panel: Picture.Image, tall: float, wide: float) -> Picture.Image:
    size = round(panel.width * wide), round(panel.height * tall)
    return panel if size == panel.size else panel.resize(size, Picture.Resampling.NEAREST)


def stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low`..`high` to 0..255 as uint8, cut off outside; a flat image becomes mid grey.

    Examples
    --------
    >>> stretch(np.array([0.0, 5.0, 10.0, 20.0]), 0.0, 10.0).tolist()
    [0, 128, 255, 255]
    """
    if not high > low:
        return np.full(pixels.shape, 128, np.uint8)
    scaled = (np.nan_to_num(pixels.astype(np.float32)) - low) / (high - low)
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


def outlines(labels: np.ndarray) -> np.ndarray:
    """Pixels of objects that touch something else: a line one pixel wide inside each object.

    Parameters
    ----------
    labels : ndarray of int, shape (y, x)

    Returns
    -------
    ndarray of bool, shape (y, x)

    Examples
    --------
    >>> outlines(np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 2]])).astype(int).tolist()
    [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    """
    edge = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    edge[1:] |= down
    edge[:-1] |= down
    across = labels[:, 1:] != labels[:, :-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge & (labels > 0)


def count_per_frame(labels: LabelMap) -> list[int]:
    """Count the different labels of each frame; one number where there is no time.

    Examples
    --------
    >>> count_per_frame(LabelMap(np.array([[[0, 1]], [[3, 4]]]), "TYX"))
    [1, 2]
    """
    frames = [labels.array[t] for t in range(labels.shape[0])] if "T" in labels.axes else [labels.array]
    return [_count(frame) for frame in frames]


def _count(labels: Any) -> int:
    """Count the labels of one frame, ticking them off band by band: sorting takes seconds and memory."""
    rows = max(1, 2**22 // max(1, math.prod(labels.shape[1:])))
    bands = range(0, labels.shape[0], rows)
    top = max(int(np.max(labels[first : first + rows])) for first in bands)
    if top > 4 * math.prod(labels.shape) + 2**16:
        found = np.unique(labels[...])
        return int(np.count_nonzero(found))
    seen = np.zeros(top + 1, bool)
    for first in bands:
        seen[labels[first : first + rows].ravel()] = True
    return int(np.count_nonzero(seen[1:]))


@dataclass(frozen=True)
class _Frame:
    """One plane of a stack or time-lapse."""

    where: dict[str, int]
    caption: str


def _frames(labels: LabelMap) -> Iterator[_Frame]:
    """Planes to show: frames of a time-lapse (middle slice), else slices of a stack, evenly spread."""
    sizes = {axis: labels.shape[labels.axes.index(axis)] for axis in "TZ" if axis in labels.axes}
    middle = {axis: size // 2 for axis, size in sizes.items()}
    along = next((axis for axis in "TZ" if sizes.get(axis, 1) > 1), None)
    if along is None:
        yield _Frame(middle, "")
        return
    size = sizes[along]
    count = min(FRAMES, size)
    if along == "T":
        shown = np.linspace(0, size - 1, count).round().astype(int)
    else:  # spread over the slices that have labels; the ends of a stack are often empty
        filled = np.flatnonzero([np.any(labels.array[z]) for z in range(size)])
        first, last = (filled[0], filled[-1] + 1) if filled.size else (0, size)
        shown = np.unique(first + ((np.arange(count) + 0.5) * (last - first) / count).astype(int))
    for number in shown:
        yield _Frame({**middle, along: int(number)}, f"{along.lower()} = {number + 1} of {size}")


def _plane(array: Any, axes: str, where: dict[str, int], reduce: int) -> np.ndarray:
    """Read one plane, or one per channel, as means (float32) of blocks of `reduce` x `reduce` pixels."""
    height, width = array.shape[-2:]
    lead = tuple(where.get(axis, 0) if axis != "C" else slice(None) for axis in axes[:-2])
    if reduce == 1:
        return np.asarray(array[lead])
    rows, columns = height // reduce, width // reduce
    band = max(1, 512 // reduce)
    parts = []
    for first in range(0, rows, band):
        last = min(first + band, rows)
        pixels = np.asarray(array[(*lead, slice(first * reduce, last * reduce), slice(0, columns * reduce))])
        blocks = pixels.reshape(*pixels.shape[:-2], last - first, reduce, columns, reduce)
        parts.append(blocks.mean(axis=(-3, -1), dtype=np.float32))
    return np.concatenate(parts, axis=-2)


def _label_plane(labels: LabelMap, where: dict[str, int], reduce: int) -> np.ndarray:
    """Read one plane of labels, every `reduce`-th pixel of it."""
    height, width = labels.shape[-2:]
    lead = tuple(where.get(axis, 0) for axis in labels.axes[:-2])
    if reduce == 1:
        return np.asarray(labels.array[lead])
    rows, columns = height // reduce, width // reduce
    band = max(1, 512 // reduce)
    parts = []
    for first in range(0, rows, band):
        last = min(first + band, rows)
        pixels = np.asarray(
            labels.array[(*lead, slice(first * reduce, last * reduce), slice(0, columns * reduce))]
        )
        parts.append(pixels[reduce // 2 :: reduce, reduce // 2 :: reduce])
    return np.concatenate(parts)


def _windows(image: Image, frames: list[_Frame], reduce: int) -> np.ndarray | None:
    """Display range of each channel, shape (channels, 2), the same for all frames; None for 8-bit colour."""
    if image.is_rgb and image.dtype == np.uint8:
        return None
    values = [_channels_first(image, frame.where, reduce) for frame in (frames[0], frames[-1])]
    sample = np.concatenate([value.reshape(len(value), -1) for value in values], axis=1)
    if image.is_rgb:  # one range for all three, or the colours would change
        return np.tile(_percentiles(sample, (0.1, 99.9)), (3, 1))
    return np.stack([_percentiles(channel, (0.5, 99.8)) for channel in sample])


def _percentiles(values: np.ndarray, ranks: tuple[float, float]) -> np.ndarray:
    """Percentiles of the finite values; zeros where there are none."""
    finite = values[np.isfinite(values)]
    return np.percentile(finite, ranks) if finite.size else np.zeros(2)


def _channels_first(image: Image, where: dict[str, int], reduce: int) -> np.ndarray:
    """One plane as (channel, y, x); of many channels the first three."""
    plane = _plane(image.array, image.axes, where, reduce)
    return plane[:3] if "C" in image.axes else plane[np.newaxis]


def _colored(image: Image, where: dict[str, int], reduce: int, windows: np.ndarray | None) -> np.ndarray:
    """One plane as people look at it, uint8 (y, x, 3)."""
    planes = _channels_first(image, where, reduce)
    if windows is None:
        return np.moveaxis(np.clip(planes + 0.5, 0, 255).astype(np.uint8), 0, -1)
    grey = np.stack([stretch(plane, *window) for plane, window in zip(planes, windows, strict=True)])
    if image.is_rgb:
        return np.moveaxis(grey, 0, -1)
    colors = np.array(CHANNEL_COLORS[len(grey) - 1], np.float32)
    mixed = np.tensordot(grey.astype(np.float32), colors / 255, axes=(0, 0))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _row(
    image: Image, labels: LabelMap, frame: _Frame, sizes: tuple[int, int], windows: np.ndarray | None
) -> list[Picture.Image]:
    """The three panels of one frame."""
    reduce, enlarge = sizes
    turned = _turned(image.grid)
    pixels = _enlarged(_colored(image, frame.where, reduce, windows)[turned], enlarge)
    numbers = _enlarged(_label_plane(labels, frame.where, reduce)[turned], enlarge)
    outlined = pixels.copy()
    edge = outlines(numbers)
    if labels.names:
        painted = CLASS_COLORS[np.where(numbers > 0, (numbers - 1) % (len(CLASS_COLORS) - 1) + 1, 0)]
        outlined[edge] = painted[edge]
    else:
        painted = label_colours().T[np.where(numbers > 0, (numbers - 1) % 255 + 1, 0)]
        outlined[edge] = _outline_color(pixels, image.is_rgb)
    return [Picture.fromarray(panel) for panel in (pixels, outlined, painted)]


def _turned(grid: Grid) -> tuple[slice, slice]:
    """Rows and columns of a slice in the order in which people look at a patient; others as they lie."""
    if grid.ndim != 3 or grid.unit != "millimeter":
        return slice(None), slice(None)
    steps = []
    for column in grid.direction.T[1:]:
        main = int(np.argmax(np.abs(column)))
        wanted = -1 if main == 2 else 1  # down or right: inferior, else posterior or left
        steps.append(slice(None, None, 1 if column[main] * wanted > 0 else -1))
    return steps[0], steps[1]


def _outline_color(pixels: np.ndarray, is_rgb: bool) -> tuple[int, int, int]:
    """Yellow, which stands out from fluorescence and from purple stain; on a white ground green or red."""
    if pixels.mean() < 175:
        return 255, 221, 0
    return (0, 150, 0) if is_rgb else (255, 40, 40)


def _enlarged(pixels: np.ndarray, times: int) -> np.ndarray:
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _counted(labels: LabelMap) -> str:
    counts = count_per_frame(labels)
    few, many = min(counts), max(counts)
    number = str(few) if few == many else f"{few} to {many}"
    if labels.names:
        text = f"{number} of {len(labels.names)} classes"
    else:
        text = f"{number} object{'' if number == '1' else 's'}"
    return text if len(counts) == 1 else f"{text} in each of {len(counts)} frames"
