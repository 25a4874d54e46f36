"""The picture of a classification: images beside their probabilities, a map of tiles, or objects by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.errors import OptionError
from deepbio.image import RGB
from deepbio.render.overlay import overlay, stretch
from deepbio.render.page import CLASS_COLORS

if TYPE_CHECKING:
    from deepbio.image import Image, Table
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["picture"]

_EDGE = 360  # pixels of the longer edge of an image, about
_MAP_EDGE = 640
_BARS = 5  # classes shown, at most
_ROWS = 6  # frames or slices shown, at most
_BAR, _NAMES, _LINE = 240, 210, 34
_GAP, _STRIP, _LEAST = 12, 36, 560
_ENTRY = 310  # width of a class in the legend
_INK, _FAINT, _PAPER = (32, 34, 38), (225, 228, 232), (255, 255, 255)
_STRONGEST = 0.6  # of a class's colour over the image, where it is certain


def picture(image: Image | None, result: Result, card: ModelCard | None, title: str) -> Picture.Image:
    """Draw what a classifier said.

    Parameters
    ----------
    image : Image
        What it looked at.
    result : Result
        Of whole images: each (up to six frames or slices) beside bars of its likeliest classes. Of
        tiles: the image under the colour of each place's likeliest class, stronger where it is surer.
        Of objects: their outlines and classes.
    card : ModelCard, optional
        Not needed.
    title : str
        Stands above.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    OptionError
        If there is neither a table nor a map.
    """
    if image is None or (result.table is None and result.image is None):
        raise OptionError("The model gave no classes to draw.", "Leave 'overlay' out of --save.")
    if result.labels is not None:
        return overlay(image, result.labels, title=title)
    if result.image is not None:
        return _map_picture(image, result.image, title)
    assert result.table is not None, "one of them is there"  # noqa: S101
    return _bars_picture(image, result.table, title)


# --- whole images -------------------------------------------------------------------------------


def _bars_picture(image: Image, table: Table, title: str) -> Picture.Image:
    count = len(table)
    shown = np.unique(np.linspace(0, count - 1, min(count, _ROWS)).round().astype(int))
    names = [name for name in table.columns if name.startswith("p_")]
    rows = []
    for number in shown:
        where = {
            axis: int(table[word][number]) - 1
            for axis, word in (("T", "frame"), ("Z", "slice"))
            if word in table.columns
        }
        told = ", ".join(f"{'slice' if axis == 'Z' else 'frame'} {at + 1}" for axis, at in where.items())
        edge = _EDGE if len(shown) == 1 else _EDGE // 2
        probabilities = np.array([float(table[name][number]) for name in names])
        rows.append(
            (_plane(image, where, edge), told, [name[2:].replace("_", " ") for name in names], probabilities)
        )
    lines = min(_BARS, len(names)) * _LINE
    longest = max(_font(16).getlength(word) for word in rows[0][2])
    told_width = min(_NAMES, math.ceil(longest) + 24)
    heights = [max(panel.height, lines) + _GAP for panel, *_ in rows]
    wide = max(panel.width for panel, *_ in rows)
    size = max(wide + told_width + _BAR + 90 + 2 * _GAP, _LEAST), _STRIP + sum(heights)
    page = Picture.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(page)
    _text(draw, (_GAP, _STRIP // 2), _cut(title, page.width - 2 * _GAP, 16), 16)
    top = _STRIP
    for (panel, told, words, probabilities), height in zip(rows, heights, strict=True):
        page.paste(panel, (_GAP, top))
        if told:
            draw.rectangle((_GAP, top, _GAP + 8 + int(_font(13).getlength(told)), top + 19), _INK)
            _text(draw, (_GAP + 4, top + 10), told, 13, _PAPER)
        place = (wide + 2 * _GAP + told_width, max(top, top + (panel.height - lines) // 2))
        _bars(draw, place, words, probabilities)
        top += height
    return page


def _bars(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], names: Sequence[str], probabilities: np.ndarray
) -> None:
    """The likeliest classes, the first on top; the place is where their bars begin."""
    left, top = place
    for line, k in enumerate(np.argsort(-probabilities, kind="stable")[:_BARS]):
        y = top + line * _LINE
        value = float(probabilities[k])
        bold = line == 0
        _text(draw, (left - 10, y + _LINE // 2), _cut(names[k], _NAMES - 14, 16), 16, anchor="rm")
        bar = (left, y + 7, left + _BAR, y + _LINE - 7)
        draw.rectangle(bar, _FAINT)
        if round(_BAR * value) > 0:
            color = (0, 114, 178) if bold else (140, 174, 200)
            draw.rectangle((bar[0], bar[1], bar[0] + round(_BAR * value), bar[3]), color)
        _text(draw, (bar[2] + 8, y + _LINE // 2), f"{100 * value:.1f} %", 15)


# --- a map of tiles -----------------------------------------------------------------------------


def _map_picture(image: Image, heat: Image, title: str) -> Picture.Image:
    where = {axis: image.size(axis) // 2 for axis in "TZ" if axis in image.axes}
    plain = _plane(image, where, _MAP_EDGE)
    key: list[int | slice] = []
    for axis in heat.axes[:-2]:
        if axis == "C":
            key.append(slice(None))
        else:  # of a 3D model's map, the cell that the slice lies in
            key.append(where[axis] * heat.size(axis) // image.size(axis))
    chances = np.asarray(heat.array[tuple(key)])
    rows, columns = _cells(plain, image, heat)
    best = chances.argmax(0)
    colors = CLASS_COLORS[1 + best % (len(CLASS_COLORS) - 1)][rows][:, columns]
    sure = (chances.max(0)[rows][:, columns, None] - 1 / len(chances)) / (1 - 1 / len(chances))
    alpha = np.clip(sure, 0, 1) * _STRONGEST
    mixed = np.asarray(plain) * (1 - alpha) + colors * alpha
    painted = Picture.fromarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))
    names = heat.channels or tuple(f"class {k + 1}" for k in range(len(chances)))
    present = [k for k in range(len(names)) if (best == k).any()]
    width = 2 * plain.width + 3 * _GAP
    across = max(1, width // _ENTRY)
    lines = -(-len(present) // across)
    page = Picture.new("RGB", (width, _STRIP + plain.height + 2 * _GAP + 24 * lines), _PAPER)
    draw = ImageDraw.Draw(page)
    _text(draw, (_GAP, _STRIP // 2), _cut(title, page.width - 2 * _GAP, 16), 16)
    page.paste(plain, (_GAP, _STRIP))
    page.paste(painted, (2 * _GAP + plain.width, _STRIP))
    for number, k in enumerate(present):
        x = _GAP + number % across * _ENTRY
        y = _STRIP + plain.height + _GAP + 24 * (number // across)
        color = tuple(map(int, CLASS_COLORS[1 + k % (len(CLASS_COLORS) - 1)]))
        draw.rectangle((x, y + 4, x + 16, y + 20), color)
        told = f"{names[k]}: {100 * float((best == k).mean()):.0f} % of the image"
        _text(draw, (x + 24, y + 12), _cut(told, _ENTRY - 30, 15), 15)
    return page


def _cells(plain: Picture.Image, image: Image, heat: Image) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the map for each row and column of the picture."""
    found = []
    for size, axis in ((plain.height, -2), (plain.width, -1)):
        step = heat.grid.spacing[axis] / image.grid.spacing[axis]
        pixel = (np.arange(size) + 0.5) * image.shape[axis] / size
        found.append(np.minimum((pixel / step).astype(int), heat.shape[axis] - 1))
    return found[0], found[1]


# --- drawing ------------------------------------------------------------------------------------


def _plane(image: Image, where: dict[str, int], edge: int) -> Picture.Image:
    """One plane as people look at it, its longer edge about `edge` pixels."""
    key = [slice(None) if axis == "C" else where.get(axis, image.size(axis) // 2) for axis in image.axes[:-2]]
    reduce = max(1, max(image.shape[-2:]) // (2 * edge))
    pixels = np.asarray(image.array[(*key, slice(None, None, reduce), slice(None, None, reduce))])
    pixels = pixels[:3] if "C" in image.axes else pixels[None]
    if not (image.channels == RGB and image.dtype == np.uint8):
        finite = np.where(np.isfinite(pixels), pixels, 0)
        windows = [np.percentile(one, (0.5, 99.8)) for one in finite]
        pixels = np.stack([stretch(one, *window) for one, window in zip(finite, windows, strict=True)])
    if len(pixels) < 3:
        pixels = np.repeat(pixels[:1], 3, axis=0)
    picture = Picture.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    factor = edge / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, Picture.Resampling.NEAREST if factor > 2 else Picture.Resampling.BOX)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    color: tuple[int, int, int] = _INK,
    *,
    anchor: str = "lm",
) -> None:
    draw.text(place, text, color, _font(size), anchor=anchor)


def _cut(text: str, width: int, size: int) -> str:
    """The text, cut where it is too wide."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep and font.getlength(text[:keep] + "...") > width:
        keep -= 1
    return text[:keep] + "..."


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "pillow is built with FreeType"  # noqa: S101
    return font
