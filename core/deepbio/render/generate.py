"""The picture of what a generator made: a sheet of samples, or masks beside their images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from deepbio.errors import OptionError

if TYPE_CHECKING:
    from PIL import Image as Picture

    from deepbio.image import Image
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["picture"]

_MOST = 64
_EDGE = 128  # at least, of a sample on the sheet
_LINE = 14  # pixels for a line of text
_MARGIN = 4


def picture(image: Image | None, result: Result, card: ModelCard | None, title: str) -> Picture.Image:
    """Draw samples with class and seed, or each made image beside its mask.

    Raises
    ------
    OptionError
        If no image was made.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw

    if result.image is None:
        raise OptionError("There is no image to draw.", "Ask for 'image'.")
    tiles = _tiles(result)[:_MOST]
    words = _words(result, len(tiles))
    scale = max(1, -(-_EDGE // tiles[0].shape[0]))
    height, width = tiles[0].shape[0] * scale, tiles[0].shape[1] * scale
    columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * height / width) + 0.49)))
    rows = -(-len(tiles) // columns)
    line = _LINE if any(words) else 0
    step = (height + line + _MARGIN, width + _MARGIN)
    size = (columns * step[1] + _MARGIN, rows * step[0] + _MARGIN + _LINE)
    sheet = Pillow.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 1), title, fill="black")
    for number, (tile, text) in enumerate(zip(tiles, words, strict=True)):
        top = _LINE + _MARGIN + number // columns * step[0]
        left = _MARGIN + number % columns * step[1]
        big = Pillow.fromarray(tile).resize((width, height), Pillow.Resampling.NEAREST)
        sheet.paste(big, (left, top))
        draw.text((left + 1, top + height), text, fill="black")
    return sheet


def _tiles(result: Result) -> list[np.ndarray]:
    """Images as uint8 (y, x, 3); with masks, the mask in grey on the left."""
    assert result.image is not None  # noqa: S101 - seen by the caller
    image = result.image
    pixels = image.numpy()
    pixels = np.moveaxis(pixels, image.axes.index("C"), -1) if "C" in image.axes else pixels[..., None]
    pixels = pixels.reshape(-1, *pixels.shape[-3:])
    pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels[..., :3]
    if result.labels is None:
        return list(pixels)
    masks = result.labels.numpy().reshape(-1, *pixels.shape[1:3])
    return [np.concatenate([_coloured(m), one], 1) for m, one in zip(masks, pixels, strict=True)]


def _coloured(labels: np.ndarray) -> np.ndarray:
    """Each object in a colour of its own."""
    hues = np.random.default_rng(1).integers(90, 256, (int(labels.max()) + 1, 3), dtype=np.uint8)
    hues[0] = 0
    return np.asarray(hues[labels])


def _words(result: Result, count: int) -> list[str]:
    table = result.table
    if table is None or "class" not in table.columns:
        return [""] * count
    return [f"{name} {seed}" for name, seed in zip(table["class"], table["seed"], strict=True)][:count]
