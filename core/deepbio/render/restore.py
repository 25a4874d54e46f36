"""The picture of a restoration: before and after (and the truth) at the same contrast, with a detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.errors import OptionError
from deepbio.image import Image
from deepbio.metrics.restoration import fit_intensity
from deepbio.render.overlay import PANEL, stretch
from deepbio.render.page import GAP, INK, PAPER, STRIP

if TYPE_CHECKING:
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["before_after", "picture"]

_DETAIL = 96  # pixels of the input along the edge of the detail
_PANEL = PANEL * 2 // 3


def picture(image: Image | None, result: Result, card: ModelCard | None, title: str) -> Picture.Image:
    """Draw what a restorer was given and what it gave; see `before_after`.

    Raises
    ------
    OptionError
        If there is no image to draw.
    """
    if image is None or result.image is None:
        raise OptionError("This model gives no image to draw.", "Leave 'overlay' out of --save.")
    return before_after(image, result.image, title=title)


def before_after(
    before: Image, after: Image, truth: Image | None = None, *, title: str = ""
) -> Picture.Image:
    """Draw images side by side at one contrast, whole and in a detail where there is much to see.

    The range from dark to bright is that of the restored image. Of stacks and movies the middle slice
    and frame are shown; of several channels, unless they are red, green and blue, the first.

    Parameters
    ----------
    before, after, truth : Image
        Of the same place; `after` and `truth` may have finer pixels. The truth is brought to the
        intensities of `after` by a factor and an offset.
    title : str
        Stands above.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Examples
    --------
    >>> image = Image(np.random.default_rng(0).normal(size=(90, 130)))
    >>> before_after(image, image, title="cells.tif").mode
    'RGB'
    """
    planes = [("before", _plane(before, before.is_rgb)), ("after", _plane(after, before.is_rgb))]
    if truth is not None:
        wanted = planes[1][1]
        true = _plane(truth, before.is_rgb)
        planes.append(("truth", fit_intensity(true, wanted) if true.shape == wanted.shape else true))
    low, high = np.percentile(planes[1][1], (0.5, 99.8))
    place = _busiest(planes[1][1].mean(-1), planes[0][1].shape[:2])
    rows = [
        [_shown(plane, (low, high)) for _, plane in planes],
        [_shown(_cut(plane, place, planes[0][1].shape[:2]), (low, high)) for _, plane in planes],
    ]
    return _page(rows, [name for name, _ in planes], title)


def _plane(image: Image, colour: bool) -> np.ndarray:
    """One plane, float32, shape (y, x, 1 or 3)."""
    key = tuple(
        slice(None)
        if axis in "YX" or (axis == "C" and colour)
        else 0
        if axis == "C"
        else image.size(axis) // 2
        for axis in image.axes
    )
    plane = np.asarray(image.array[key], np.float32)
    return np.moveaxis(plane, 0, -1) if plane.ndim == 3 else plane[..., None]


def _busiest(plane: np.ndarray, size: tuple[int, ...]) -> tuple[float, float]:
    """Middle, as parts of the height and width, of the piece of the detail's size with most contrast."""
    best, place = -1.0, (0.5, 0.5)
    parts = [max(1, min(8, n // _DETAIL)) for n in size]
    for y in range(parts[0]):
        for x in range(parts[1]):
            middle = ((y + 0.5) / parts[0], (x + 0.5) / parts[1])
            value = float(_cut(plane, middle, size).std())
            if value > best:
                best, place = value, middle
    return place


def _cut(plane: np.ndarray, place: tuple[float, float], size: tuple[int, ...]) -> np.ndarray:
    """The detail: so many pixels of the input, in the pixels that the plane has."""
    key = []
    for part, given, n in zip(place, size, plane.shape, strict=False):
        edge = min(n, round(_DETAIL * n / given))
        start = int(np.clip(round(part * n - edge / 2), 0, n - edge))
        key.append(slice(start, start + edge))
    return plane[tuple(key)]


def _shown(plane: np.ndarray, window: Sequence[float]) -> Picture.Image:
    """A panel of the usual width; pixels stay visible where they are enlarged."""
    grey = stretch(plane, *window)
    whole = Picture.fromarray(grey[..., 0] if grey.shape[-1] == 1 else grey).convert("RGB")
    scale = _PANEL / max(whole.size)
    size = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    return whole.resize(size, Picture.Resampling.NEAREST if scale > 1 else Picture.Resampling.BOX)


def _page(rows: Sequence[Sequence[Picture.Image]], names: Sequence[str], title: str) -> Picture.Image:
    heights = [max(panel.height for panel in row) for row in rows]
    width = max(panel.width for row in rows for panel in row)
    page = Picture.new(
        "RGB", (len(names) * (width + GAP) + GAP, STRIP + sum(heights) + GAP * (len(rows) + 1)), PAPER
    )
    draw = ImageDraw.Draw(page)
    draw.text((GAP, (STRIP + GAP) / 2), title, INK, ImageFont.load_default(17), anchor="lm")
    top = STRIP + GAP
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            page.paste(panel, (GAP + column * (width + GAP), top))
        top += height + GAP
    font = ImageFont.load_default(13)
    for column, name in enumerate(names):
        left = GAP + column * (width + GAP)
        draw.rectangle((left, STRIP + GAP, left + font.getlength(name) + 10, STRIP + GAP + 19), INK)
        draw.text((left + 5, STRIP + GAP + 10), name, PAPER, font, anchor="lm")
    return page
