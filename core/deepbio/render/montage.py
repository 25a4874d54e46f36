"""Small pictures beside each other: a query, and what is like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.image import Image
from deepbio.render.overlay import stretch

__all__ = ["Tile", "montage"]

EDGE, GAP, CAPTION, COLUMNS = 150, 10, 40, 6
INK, FAINT, PAPER, MARK = (32, 34, 38), (110, 114, 120), (255, 255, 255), (213, 94, 0)


@dataclass(frozen=True)
class Tile:
    """One picture of a montage.

    Attributes
    ----------
    image : Image
        Its middle frame and slice are shown.
    name, note : str
        Two lines under it.
    centre : tuple of float or None
        Place of an object in pixels ``(y, x)``: then only what is around it is shown.
    marked : bool
        Whether it has a frame.
    """

    image: Image
    name: str
    note: str = ""
    centre: tuple[float, float] | None = None
    marked: bool = False


def montage(tiles: Sequence[Tile], *, around: int = 64) -> Picture.Image:
    """Lay tiles out in rows.

    Parameters
    ----------
    tiles : sequence of Tile
        At least one.
    around : int
        Edge in pixels of what is shown of an object.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Examples
    --------
    >>> montage([Tile(Image(np.eye(9)), "query", marked=True), Tile(Image(np.ones((5, 7))), "a.png")]).size
    (330, 210)
    """
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (GAP + columns * (EDGE + GAP), GAP + rows * (EDGE + CAPTION + GAP))
    page = Picture.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    for number, tile in enumerate(tiles):
        left = GAP + (number % columns) * (EDGE + GAP)
        top = GAP + (number // columns) * (EDGE + CAPTION + GAP)
        picture = _picture(tile, around)
        inset = (EDGE - picture.width) // 2, (EDGE - picture.height) // 2
        page.paste(picture, (left + inset[0], top + inset[1]))
        if tile.marked:
            draw.rectangle((left - 3, top - 3, left + EDGE + 2, top + EDGE + 2), None, MARK, 3)
        for line, (text, colour) in enumerate(((tile.name, INK), (tile.note, FAINT))):
            draw.text((left, top + EDGE + 5 + 17 * line), _fitting(text), colour, ImageFont.load_default(13))
    return page


def _picture(tile: Tile, around: int) -> Picture.Image:
    pixels = _pixels(tile.image)
    if tile.centre is not None:
        half = around // 2
        corner = [
            int(np.clip(round(c) - half, 0, max(0, n - around)))
            for c, n in zip(tile.centre, pixels.shape[:2], strict=True)
        ]
        pixels = pixels[corner[0] : corner[0] + around, corner[1] : corner[1] + around]
    picture = Picture.fromarray(np.ascontiguousarray(pixels))
    scale = EDGE / max(picture.size)
    edges = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(edges, Picture.Resampling.BICUBIC if scale > 1 else Picture.Resampling.BOX)


def _pixels(image: Image) -> np.ndarray:
    """The middle plane as people look at it, uint8 (y, x, 3)."""
    key = tuple(
        slice(None) if axis in "CYX" else size // 2
        for axis, size in zip(image.axes, image.shape, strict=True)
    )
    plane = np.asarray(image.array[key])
    if image.is_rgb and plane.dtype == np.uint8:
        return np.moveaxis(plane, 0, -1)
    grey = plane[0] if "C" in image.axes and not image.is_rgb else plane
    finite = grey[np.isfinite(grey)]
    low, high = np.percentile(finite, (0.5, 99.8)) if finite.size else (0.0, 0.0)
    shown = stretch(grey, float(low), float(high))
    return np.moveaxis(shown, 0, -1) if image.is_rgb else np.repeat(shown[..., np.newaxis], 3, axis=-1)


def _fitting(text: str) -> str:
    """Cut a text that is wider than a tile."""
    font = ImageFont.load_default(13)
    if font.getlength(text) <= EDGE:
        return text
    keep = len(text)
    while keep > 1 and font.getlength("..." + text[len(text) - keep :]) > EDGE:
        keep -= 1
    return "..." + text[len(text) - keep :]
