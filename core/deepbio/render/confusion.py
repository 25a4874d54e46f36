"""The picture of an evaluation of classes: confusion matrix, and whether probabilities mean what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.metrics.classes import calibration_error, reliability

__all__ = ["draw_confusion"]

_FINER = 2  # drawn so many times larger
_CELL, _SIDE = 54, 320  # of a cell, and of the diagram
_GAP, _STRIP, _FOOT = 24, 56, 96
_INK, _FAINT, _PAPER, _BLUE = (32, 34, 38), (200, 204, 210), (255, 255, 255), (0, 90, 160)


def draw_confusion(
    matrix: np.ndarray, names: Sequence[str], truth: np.ndarray, probabilities: np.ndarray, title: str
) -> Picture.Image:
    """Draw a confusion matrix beside a reliability diagram.

    Parameters
    ----------
    matrix : ndarray of int, shape (K, K)
        Rows are the true classes.
    names : sequence of str
        Of the classes.
    truth, probabilities : ndarray
        As in `reliability`.
    title : str
        Stands above.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Examples
    --------
    >>> given = np.array([[0.9, 0.1], [0.3, 0.7]])
    >>> draw_confusion(np.eye(2, dtype=int), ("a", "b"), np.array([0, 1]), given, "two").mode
    'RGB'
    """
    left = max(90, *(math.ceil(_font(15).getlength(name)) for name in names)) + 40
    inner = len(names) * _CELL
    height = _STRIP + max(inner + left, _SIDE + _FOOT)
    page = _Page((left + inner + 3 * _GAP + 60 + _SIDE + _GAP, height))
    page.text((_GAP, 22), title, 17)
    top = _STRIP
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for row, name in enumerate(names):
        page.text((left - 10, top + (row + 0.5) * _CELL), name, 15, "rm")
        page.turned((left + (row + 0.5) * _CELL, top + inner + 8), name)
        for column in range(len(names)):
            part = share[row, column]
            x, y = left + column * _CELL, top + row * _CELL
            color = tuple(round(255 + (b - 255) * part**0.6) for b in _BLUE)
            page.box((x, y, x + _CELL - 2, y + _CELL - 2), color if matrix[row, column] else (246, 247, 249))
            if matrix[row, column]:
                ink = _PAPER if part > 0.4 else _INK
                page.text((x + _CELL / 2, y + _CELL / 2), str(matrix[row, column]), 15, "mm", ink)
    page.text((left, height - 14), "rows: the truth; columns: what was found", 13)
    _diagram(page, (left + inner + 2 * _GAP + 60, top), truth, probabilities)
    return page.finished()


def _diagram(page: _Page, place: tuple[int, int], truth: np.ndarray, probabilities: np.ndarray) -> None:
    x, y = place
    confidence, accuracy, counts = reliability(truth, probabilities)
    for part in range(6):
        at = part / 5 * _SIDE
        page.line((x, y + _SIDE - at, x + _SIDE, y + _SIDE - at), _FAINT)
        page.text((x - 8, y + _SIDE - at), f"{part / 5:.1f}", 13, "rm")
        page.text((x + at, y + _SIDE + 14), f"{part / 5:.1f}", 13, "mm")
    page.line((x, y + _SIDE, x + _SIDE, y), (120, 124, 130))
    width = _SIDE / len(counts)
    for k in np.flatnonzero(counts):
        page.box(
            (x + k * width + 2, y + _SIDE * (1 - accuracy[k]), x + (k + 1) * width - 2, y + _SIDE), _BLUE
        )
        middle, high = x + (k + 0.5) * width, y + _SIDE * (1 - confidence[k])
        page.line((middle - width / 2, high, middle + width / 2, high), (230, 120, 0), 2.5)
    page.text((x + _SIDE / 2, y + _SIDE + 36), "probability of the likeliest class", 14, "mm")
    told = f"blue: how often it is right; orange: what it said; error {calibration_error(truth, probabilities):.3f}"
    page.text((x + _SIDE / 2, y + _SIDE + 58), told, 13, "mm")


class _Page:
    """A picture in the making; coordinates in pixels of the final one."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._page = Picture.new("RGB", (_FINER * size[0], _FINER * size[1]), _PAPER)
        self._draw = ImageDraw.Draw(self._page)

    def text(
        self,
        place: tuple[float, float],
        text: str,
        size: int,
        anchor: str = "lm",
        color: tuple[int, int, int] = _INK,
    ) -> None:
        at = _FINER * place[0], _FINER * place[1]
        self._draw.text(at, text, color, _font(_FINER * size), anchor=anchor)

    def turned(self, place: tuple[float, float], text: str) -> None:
        """Text that runs down from a place."""
        font = _font(_FINER * 15)
        size = math.ceil(font.getlength(text)) + 4, _FINER * 20
        strip = Picture.new("RGB", size, _PAPER)
        ImageDraw.Draw(strip).text((size[0], size[1] / 2), text, _INK, font, anchor="rm")
        strip = strip.transpose(Picture.Transpose.ROTATE_90)
        self._page.paste(strip, (round(_FINER * place[0] - size[1] / 2), round(_FINER * place[1])))

    def box(self, corners: Sequence[float], color: tuple[int, ...]) -> None:
        self._draw.rectangle([_FINER * c for c in corners], color)

    def line(self, ends: Sequence[float], color: tuple[int, int, int], width: float = 1.0) -> None:
        self._draw.line([_FINER * c for c in ends], color, round(_FINER * width))

    def finished(self) -> Picture.Image:
        return self._page.resize(self._size, Picture.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "pillow is built with FreeType"  # noqa: S101
    return font
