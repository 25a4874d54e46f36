"""The page that pictures of results lie on: title, panels, captions, scale bar, legend of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.image import Image

__all__ = ["CLASS_COLORS", "GAP", "INK", "PAPER", "STRIP", "Bar", "page_of", "scale_bar", "with_legend"]

GAP = 8
STRIP = 30
INK = (32, 34, 38)
PAPER = (255, 255, 255)
# Okabe & Ito's, for classes: told apart by nearly everybody, and seen on grey images; then three of Tol's.
CLASS_COLORS = np.array(
    ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167),
     (0, 114, 178), (136, 34, 85), (153, 153, 51), (187, 187, 187)), np.uint8
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A scale bar: its length in pixels of the picture, and what it stands for."""

    pixels: int
    text: str


def scale_bar(image: Image, scale: float, width: int) -> Bar | None:
    """A round length near a fifth of the panel; None where no pixel size is known."""
    symbol = {"micrometer": "um", "millimeter": "mm"}.get(image.grid.unit)
    if symbol is None:
        return None
    per_pixel = image.grid.spacing[-1] / scale
    wanted = width / 5 * per_pixel
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step for step in (1, 2, 5) if step * power <= wanted) * power
    return Bar(max(1, round(length / per_pixel)), f"{length:g} {symbol}")


def page_of(
    rows: list[list[Picture.Image]], captions: list[str], title: str, bar: Bar | None
) -> Picture.Image:
    """Lay the panels out under a strip with the title."""
    width, height = rows[0][0].size
    row_height = height + GAP
    page = Picture.new("RGB", (3 * width + 4 * GAP, STRIP + len(rows) * row_height + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, STRIP / 2 + GAP / 2), _fitting(title, page.width - 2 * GAP), INK, _font(17), anchor="lm")
    for number, panels in enumerate(rows):
        top = STRIP + GAP + number * row_height
        for column, panel in enumerate(panels):
            page.paste(panel, (GAP + column * (width + GAP), top))
        if captions:
            _boxed(draw, (GAP, top), captions[number], right=False)
    if bar is not None:
        _draw_bar(draw, bar, right=GAP + width - 10, bottom=STRIP + GAP + height - 10)
    return page


def with_legend(page: Picture.Image, names: Mapping[int, str]) -> Picture.Image:
    """Put the classes' colours and names under the page."""
    font, line = _font(15), 22
    places: list[tuple[int, int]] = []
    left, row = GAP, 0
    for name in names.values():
        wide = round(font.getlength(name)) + 42
        if left > GAP and left + wide > page.width:
            left, row = GAP, row + 1
        places.append((left, row))
        left += wide
    widest = max(round(font.getlength(name)) + 42 for name in names.values())
    size = max(page.width, GAP + widest), page.height + (row + 1) * line + GAP
    longer = Picture.new("RGB", size, PAPER)
    longer.paste(page, (0, 0))
    draw = ImageDraw.Draw(longer)
    for (label, name), (x, at) in zip(names.items(), places, strict=True):
        top = page.height + at * line
        color = CLASS_COLORS[(label - 1) % (len(CLASS_COLORS) - 1) + 1]
        draw.rectangle((x, top + 3, x + 14, top + 17), tuple(map(int, color)))
        draw.text((x + 20, top + 10), name, INK, font, anchor="lm")
    return longer


def _fitting(text: str, width: int) -> str:
    """Shorten a text that is too wide, in its middle."""
    font = _font(17)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and font.getlength(f"{text[: keep // 2]}...{text[-(keep // 2) :]}") > width:
        keep -= 1
    return f"{text[: keep // 2]}...{text[-(keep // 2) :]}"


def _boxed(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, *, right: bool) -> None:
    """White text on a dark box, legible on any image."""
    font = _font(13)
    wide = font.getlength(text) + 10
    left = place[0] - (wide if right else 0)
    draw.rectangle((left, place[1], left + wide, place[1] + 19), INK)
    draw.text((left + 5, place[1] + 10), text, PAPER, font, anchor="lm")


def _draw_bar(draw: ImageDraw.ImageDraw, bar: Bar, *, right: int, bottom: int) -> None:
    draw.rectangle((right - bar.pixels, bottom - 5, right + 1, bottom), INK)
    draw.rectangle((right - bar.pixels + 1, bottom - 4, right, bottom - 1), PAPER)
    _boxed(draw, (right + 2, bottom - 28), bar.text, right=True)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
