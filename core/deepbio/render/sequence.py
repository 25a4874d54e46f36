"""The picture of a model of sequences: frames with outlines, and the curve under them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.errors import OptionError
from deepbio.render.overlay import outlines, stretch

if TYPE_CHECKING:
    from deepbio.image import Image, LabelMap, Table
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["picture"]

_COLORS = ((255, 70, 70), (70, 200, 255), (255, 210, 60), (130, 230, 110), (230, 130, 255))
_FRAMES, _COLUMNS, _EDGE = 10, 5, 200
_GAP, _STRIP, _PLOT = 8, 30, 230
_PAPER, _INK, _GREY = (255, 255, 255), (25, 25, 25), (150, 150, 150)


def picture(image: Image | None, result: Result, card: ModelCard | None, title: str) -> Picture.Image:
    """Draw frames with outlines, and what the table tells as curves; of a classifier the curves alone.

    Parameters
    ----------
    image : Image or None
        The frames.
    result : Result
        With labels and a table, or a table of classes.
    card : ModelCard or None
        Not needed.
    title : str
        Heading.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    OptionError
        If there is nothing to draw.
    """
    if result.labels is None and result.table is None:
        raise OptionError("This model gave nothing to draw.", "Leave 'overlay' out of --save.")
    montage = None
    if image is not None and result.labels is not None:
        montage = _montage(image, result.labels)
    width = montage.width if montage is not None else 5 * _EDGE
    curve = _curves(result.table, width - 2 * _GAP) if result.table is not None else None
    height = _STRIP + sum(part.height + _GAP for part in (montage, curve) if part is not None)
    page = Picture.new("RGB", (width, height), _PAPER)
    ImageDraw.Draw(page).text((_GAP, _STRIP / 2), title, _INK, _font(16), anchor="lm")
    top = _STRIP
    if montage is not None:
        page.paste(montage, (0, top))
        top += montage.height + _GAP
    if curve is not None:
        page.paste(curve, (_GAP, top))
    return page


def _montage(image: Image, labels: LabelMap) -> Picture.Image:
    """Evenly spread frames of the slice that has most of the labels."""
    array = labels.numpy()
    z: int | None = None
    if "Z" in labels.axes:
        z = int(np.count_nonzero(array, axis=(0, 2, 3)).argmax())
        array = array[:, z]
    shown = np.unique(np.linspace(0, len(array) - 1, min(_FRAMES, len(array))).round().astype(int))
    pixels = np.stack([_plane(image, int(t), z) for t in shown])
    low, high = np.percentile(pixels, (0.5, 99.8))
    around = _around(array, pixels.shape[1:])
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    step = _EDGE + _GAP
    page = Picture.new("RGB", (columns * step + _GAP, rows * step), _PAPER)
    for number, (t, plane) in enumerate(zip(shown, pixels, strict=True)):
        panel = _panel(stretch(plane[around], low, high), array[t][around])
        row, column = divmod(number, columns)
        draw = ImageDraw.Draw(panel)
        draw.text((5, 3), f"{t + 1}", (255, 255, 255), _font(14), stroke_width=2, stroke_fill=(0, 0, 0))
        page.paste(panel, (_GAP + column * step, row * step))
    return page


def _plane(image: Image, t: int, z: int | None) -> np.ndarray:
    key = tuple({"T": t, "Z": z or 0, "C": 0}.get(axis, slice(None)) for axis in image.axes)
    return np.asarray(image.array[key], np.float32)


def _around(labels: np.ndarray, size: tuple[int, ...]) -> tuple[slice, slice]:
    """A square around all labels, with room; the whole frame where they are spread over it."""
    places = np.argwhere(labels.any(0))
    if not len(places):
        return slice(None), slice(None)
    low, high = places.min(0), places.max(0) + 1
    edge = int(min(*size, max(48, 1.8 * (high - low).max())))
    start = [int(np.clip((a + b - edge) // 2, 0, n - edge)) for a, b, n in zip(low, high, size, strict=True)]
    return slice(start[0], start[0] + edge), slice(start[1], start[1] + edge)


def _panel(grey: np.ndarray, labels: np.ndarray) -> Picture.Image:
    times = max(1, math.ceil(_EDGE / max(grey.shape)))
    large = np.repeat(np.repeat(grey.astype(np.uint8), times, 0), times, 1)
    numbers = np.repeat(np.repeat(labels, times, 0), times, 1)
    colored = np.repeat(large[..., None], 3, axis=-1)
    edge = outlines(numbers)
    colors = np.array(_COLORS, np.uint8)
    colored[edge] = colors[(numbers[edge] - 1) % len(_COLORS)]
    panel = Picture.fromarray(colored)
    scale = _EDGE / max(panel.size)
    return panel.resize((max(1, round(panel.width * scale)), max(1, round(panel.height * scale))))


def _curves(table: Table, width: int) -> Picture.Image:
    """The columns of sizes, or of probabilities, over the frames."""
    frames = table["frame"] if "frame" in table.columns else np.arange(len(table)) + 1
    lines: list[tuple[str, np.ndarray, np.ndarray]] = []
    word = next((name for name in ("volume", "area") if name in table.columns), "")
    if word:
        unit = table.units.get(word, "")
        for name in dict.fromkeys(table["name"].tolist()):
            rows = table["name"] == name
            lines.append((_caption(table, rows, name, unit), frames[rows], table[word][rows]))
    else:
        lines = [
            (name.removeprefix("probability_"), frames, table[name])
            for name in table.columns
            if name.startswith("probability_")
        ]
    page = Picture.new("RGB", (width, _PLOT), _PAPER)
    draw = ImageDraw.Draw(page)
    if not lines:
        return page
    highest = max(float(values.max()) for _, _, values in lines) or 1.0
    left, right, top, bottom = 60, width - 10, 12 + 18 * len(lines), _PLOT - 34
    for part in (0.0, 0.5, 1.0):
        y = bottom - part * (bottom - top)
        draw.line((left, y, right, y), (225, 225, 225))
        draw.text((left - 6, y), f"{part * highest:.4g}", _GREY, _font(12), anchor="rm")
    first, last = int(frames.min()), int(frames.max())
    for t in sorted({first, (first + last) // 2, last}):
        x = left + (t - first) / max(1, last - first) * (right - left)
        draw.text((x, bottom + 6), f"frame {t}", _GREY, _font(12), anchor="ra" if t == last else "ma")
    for number, (caption, at, values) in enumerate(lines):
        color = _COLORS[number % len(_COLORS)]
        points = [
            (
                left + (t - first) / max(1, last - first) * (right - left),
                bottom - v / highest * (bottom - top),
            )
            for t, v in zip(at.tolist(), values.tolist(), strict=True)
        ]
        draw.line(points, color, 3)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), color)
        draw.text((left, 4 + 18 * number), caption, color, _font(14))
    return page


def _caption(table: Table, rows: np.ndarray, name: str, unit: str) -> str:
    text = f"{name} ({unit})"
    if "ejection_fraction" not in table.columns:
        return text
    told = dict(zip(table["phase"][rows].tolist(), table["frame"][rows].tolist(), strict=True))
    fraction = float(table["ejection_fraction"][rows][0])
    if not math.isfinite(fraction):
        return text
    return f"{text}: ED in frame {told['ED']}, ES in frame {told['ES']}, ejection fraction {100 * fraction:.0f} %"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
