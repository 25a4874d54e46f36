"""A plot of points in the plane, coloured by group, with a legend.

Drawn larger than asked for and reduced, which makes dots smooth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

__all__ = ["scatter_plot"]

FINER = 3
SIZE, MARGIN, LEGEND, LINE = 620, 46, 190, 22
INK, FAINT, PAPER, FRAME = (32, 34, 38), (110, 114, 120), (255, 255, 255), (205, 208, 212)
# Okabe & Ito's eight and four darker ones: told apart by nearly everybody.
COLOURS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233), (150, 140, 30),
    (90, 90, 90), (120, 60, 160), (150, 75, 30), (0, 90, 90), (170, 20, 60),
)  # fmt: skip


def scatter_plot(
    places: np.ndarray, names: tuple[str, str], groups: Sequence[str] | None = None, *, title: str = ""
) -> Picture.Image:
    """Draw points, each group in a colour of its own.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
        Along x and y.
    names : tuple of str
        What the axes are.
    groups : sequence of str, optional
        Group of each point; of more than twelve, the smaller ones are drawn as "others".
    title : str
        Stands above.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Examples
    --------
    >>> scatter_plot(np.random.default_rng(0).normal(size=(9, 2)), ("PC 1", "PC 2"), ["a", "b", "c"] * 3).mode
    'RGB'
    """
    told, colour = _grouped(groups, len(places))
    width = SIZE + (LEGEND if told else 0)
    page = Picture.new("RGB", (FINER * width, FINER * SIZE), PAPER)
    draw = ImageDraw.Draw(page)
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    inner = SIZE - 2 * MARGIN
    at = (places - low) / span * (inner - 24) + 12
    radius = float(np.clip(90 / np.sqrt(len(places)), 1.8, 5))
    draw.rectangle([FINER * v for v in (MARGIN, MARGIN, MARGIN + inner, MARGIN + inner)], None, FRAME, FINER)
    # in an order that does not let the last group cover the others
    for n in np.random.default_rng(0).permutation(len(places)):
        x, y = MARGIN + at[n, 0], MARGIN + inner - at[n, 1]
        box = [FINER * v for v in (x - radius, y - radius, x + radius, y + radius)]
        draw.ellipse(box, COLOURS[colour[n]], PAPER, 1)
    _text(draw, (MARGIN, MARGIN / 2), title, 16, "lm", INK)
    _text(draw, (MARGIN + inner / 2, SIZE - MARGIN / 2), names[0], 14, "mm", FAINT)
    side = Picture.new("RGB", (FINER * inner, FINER * LINE), PAPER)
    _text(ImageDraw.Draw(side), (inner / 2, LINE / 2), names[1], 14, "mm", FAINT)
    page.paste(side.rotate(90, expand=True), (FINER * (MARGIN // 2 - LINE // 2), FINER * MARGIN))
    for number, (name, count) in enumerate(told):
        y = MARGIN + 12 + number * LINE
        box = [FINER * v for v in (SIZE - 20, y - 6, SIZE - 8, y + 6)]
        draw.ellipse(box, COLOURS[number])
        _text(draw, (SIZE, y), f"{name[:18]} ({count})", 14, "lm", INK)
    return page.resize((width, SIZE), Picture.Resampling.LANCZOS)


def _grouped(groups: Sequence[str] | None, count: int) -> tuple[list[tuple[str, int]], list[int]]:
    """Names and sizes for the legend, and the colour of each point."""
    if groups is None:
        return [], [0] * count
    names, sizes = np.unique(np.asarray(groups, str), return_counts=True)
    told = [(str(name), int(size)) for name, size in zip(names, sizes, strict=True)]
    if len(told) > len(COLOURS):
        told = sorted(told, key=lambda one: -one[1])
        rest = sum(size for _, size in told[len(COLOURS) - 1 :])
        told = [*told[: len(COLOURS) - 1], ("others", rest)]
    number = {name: k for k, (name, _) in enumerate(told)}
    return told, [number.get(str(group), len(told) - 1) for group in groups]


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    color: tuple[int, int, int],
) -> None:
    font = ImageFont.load_default(FINER * size)
    draw.text((FINER * place[0], FINER * place[1]), text, color, font, anchor=anchor)
