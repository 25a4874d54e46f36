"""Box plots: one row a class, one panel a score, every value as a dot.

Drawn larger than asked for and reduced, which makes lines and dots smooth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

__all__ = ["Panel", "box_plot"]

FINER = 3  # drawn so many times larger
WIDTH = 360  # of a panel
GAP = 28
MARGIN = 74  # beside a panel, where some values are infinite
TOP, BOTTOM = 62, 34
ROW, LOW_ROW, MANY = 44, 24, 30  # height of a row; of rows beyond this many
LONGEST = 240  # of a name, in pixels
INK, FAINT, LINE = (32, 34, 38), (110, 114, 120), (225, 228, 232)
PAPER, BOX, DOT = (255, 255, 255), (198, 219, 239), (33, 102, 172)
TICKS = 6


@dataclass(frozen=True)
class Panel:
    """One score of all classes.

    Attributes
    ----------
    title : str
        What it is, with its unit.
    values : mapping of str to sequence of float
        Values by name of the row; those that are not finite are counted beside the row.
    low, high : float or None
        Ends of the axis; None lets the values decide.
    """

    title: str
    values: Mapping[str, Sequence[float]]
    low: float | None = None
    high: float | None = None


def box_plot(panels: Sequence[Panel], *, title: str = "") -> Picture.Image:
    """Draw panels beside each other that share their rows.

    A box spans the quartiles with a line at the median; whiskers reach the farthest values within
    1.5 times the box (Tukey, 1977); infinite values are told as "n missed".

    Parameters
    ----------
    panels : sequence of Panel
        At least one; the rows are those of the first.
    title : str
        Stands above all.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Examples
    --------
    >>> picture = box_plot([Panel("Dice", {"left": [0.8, 0.9, 0.85], "right": [0.7]}, high=1.0)])
    >>> picture.mode, picture.height
    ('RGB', 184)
    """
    rows = list(panels[0].values)
    row = ROW if len(rows) <= MANY else LOW_ROW
    names = (
        max(60, min(LONGEST, max((math.ceil(_font(15).getlength(name)) for name in rows), default=0))) + 24
    )
    size = names + len(panels) * (WIDTH + GAP) + 8, TOP + max(1, len(rows)) * row + BOTTOM
    page = Picture.new("RGB", (FINER * size[0], FINER * size[1]), PAPER)
    draw = ImageDraw.Draw(page)
    _text(draw, (16, 20), title, 17, "lm")
    for number, name in enumerate(rows):
        _text(draw, (names - 12, TOP + (number + 0.5) * row), _shortened(name), 15, "rm")
    for number, panel in enumerate(panels):
        _Axes(draw, panel, names + number * (WIDTH + GAP), row).draw(rows)
    return page.resize(size, Picture.Resampling.LANCZOS)


class _Axes:
    """One panel on the page; coordinates in pixels of the final picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, panel: Panel, left: int, row: int) -> None:
        self._draw, self._panel, self._left, self._row = draw, panel, left, row
        every = [v for values in panel.values.values() for v in values if math.isfinite(v)]
        low = panel.low if panel.low is not None else min(every, default=0.0)
        high = panel.high if panel.high is not None else max(every, default=1.0)
        if not high > low:
            low, high = (low - 0.5, low + 0.5) if panel.high is None else (high - 1.0, high)
        missed = any(math.isinf(v) for values in panel.values.values() for v in values)
        self._width = WIDTH - 12 - (MARGIN if missed else 0)
        self._step = nice_step(high - low)
        self._low = math.floor(low / self._step + 1e-9) * self._step
        self._high = math.ceil(high / self._step - 1e-9) * self._step

    def draw(self, rows: Sequence[str]) -> None:
        bottom = TOP + max(1, len(rows)) * self._row
        _text(self._draw, (self._left, TOP - 16), self._panel.title, 15, "lm")
        for n in range(round((self._high - self._low) / self._step) + 1):
            value = self._low + n * self._step
            x = self._x(value)
            _line(self._draw, (x, TOP, x, bottom), LINE, 1)
            _text(self._draw, (x, bottom + 14), f"{value:.6g}", 13, "mm", FAINT)
        for number, name in enumerate(rows):
            self._draw_row(TOP + (number + 0.5) * self._row, self._panel.values.get(name, ()))

    def _x(self, value: float) -> float:
        return self._left + self._width * (value - self._low) / (self._high - self._low)

    def _draw_row(self, y: float, values: Sequence[float]) -> None:
        finite = np.array([value for value in values if math.isfinite(value)])
        missed = sum(math.isinf(value) for value in values)
        if finite.size:
            self._draw_box(y, finite)
        if missed:
            _text(self._draw, (self._left + self._width + 12, y), f"{missed} missed", 13, "lm", FAINT)
        elif not finite.size:
            _text(self._draw, (self._left + 4, y), "none", 13, "lm", FAINT)

    def _draw_box(self, y: float, values: np.ndarray) -> None:
        half = self._row * 0.26
        first, median, third = np.percentile(values, (25, 50, 75))
        inside = values[(values >= first - 1.5 * (third - first)) & (values <= third + 1.5 * (third - first))]
        ends = self._x(float(inside.min())), self._x(float(inside.max()))
        _line(self._draw, (ends[0], y, ends[1], y), FAINT, 1.3)
        for end in ends:
            _line(self._draw, (end, y - half / 2, end, y + half / 2), FAINT, 1.3)
        corners = (self._x(float(first)), y - half, self._x(float(third)), y + half)
        self._draw.rectangle([FINER * c for c in corners], BOX, FAINT, FINER)
        shifts = np.random.default_rng(0).uniform(-0.7, 0.7, values.size) if values.size > 1 else np.zeros(1)
        for value, shift in zip(values, shifts, strict=True):
            x, at, radius = self._x(float(value)), y + shift * half, 2.2
            dot = (x - radius, at - radius, x + radius, at + radius)
            self._draw.ellipse([FINER * c for c in dot], DOT)
        middle = self._x(float(median))
        _line(self._draw, (middle, y - half, middle, y + half), INK, 2.2)


def nice_step(span: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `span` into at most `TICKS` parts.

    Examples
    --------
    >>> nice_step(1.0), nice_step(0.25), nice_step(70)
    (0.2, 0.05, 20.0)
    """
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(step * power for step in (1, 2, 5, 10) if step * power * TICKS >= span * (1 - 1e-9))


def _line(
    draw: ImageDraw.ImageDraw, ends: Sequence[float], color: tuple[int, int, int], width: float
) -> None:
    draw.line([FINER * c for c in ends], color, round(FINER * width))


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    color: tuple[int, int, int] = INK,
) -> None:
    draw.text((FINER * place[0], FINER * place[1]), text, color, _font(FINER * size), anchor=anchor)


def _shortened(name: str) -> str:
    """The name, cut where it is too wide."""
    if _font(15).getlength(name) <= LONGEST:
        return name
    keep = len(name)
    while _font(15).getlength(name[:keep] + "...") > LONGEST:
        keep -= 1
    return name[:keep] + "..."


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "pillow is built with FreeType"  # noqa: S101
    return font
