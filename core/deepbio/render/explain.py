"""Maps over an image: which pixels speak for a class, and where a model is unsure.

Beside the image stands the image under the map, stronger where the map is higher, with a bar that says
what the colours are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from deepbio.errors import OptionError
from deepbio.image import Image
from deepbio.render.overlay import stretch

__all__ = ["colours", "heatmap"]

PANEL, GAP, STRIP, BAR, ROWS = 420, 10, 32, 92, 4
INK, FAINT, PAPER = (32, 34, 38), (110, 114, 120), (255, 255, 255)
# Anchors of matplotlib's inferno (CC0), and a blue to red that is white in the middle (ColorBrewer's RdBu).
RISING = (
    (0, 0, 4),
    (51, 10, 95),
    (120, 28, 109),
    (187, 55, 84),
    (237, 105, 37),
    (252, 181, 25),
    (252, 255, 164),
)
SIGNED = (
    (33, 102, 172),
    (103, 169, 207),
    (209, 229, 240),
    (247, 247, 247),
    (253, 219, 199),
    (239, 138, 98),
    (178, 24, 43),
)
_STRONGEST = 0.75  # of the map over the image
_TOP = 99.5  # percentile that has the last colour: single pixels do not decide


@dataclass(frozen=True)
class _Layer:
    """A map to draw: its pixels with the axes of the image without channels, and what they mean."""

    pixels: np.ndarray
    name: str
    low: float
    high: float
    signed: bool


def heatmap(
    image: Image, explanation: Image | None = None, uncertainty: Image | None = None, *, title: str = ""
) -> Picture.Image:
    """Draw an image beside itself under its explanation, its uncertainty, or both.

    Parameters
    ----------
    image : Image
        Any axes; of stacks and time-lapses up to four planes are shown.
    explanation : Image, optional
        On its grid; negative numbers are blue.
    uncertainty : Image, optional
        On its grid; the first channel is drawn.
    title : str
        Stands above.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    OptionError
        If there is no map, or it is not on the pixels of the image.

    Examples
    --------
    >>> image = Image(np.arange(48.0).reshape(6, 8))
    >>> heatmap(image, Image(np.eye(6, 8)), title="cell.tif").mode
    'RGB'
    """
    layers = [
        _layer(name, found)
        for name, found in (("explanation", explanation), ("uncertainty", uncertainty))
        if found is not None
    ]
    if not layers:
        raise OptionError("There is no map to draw.", "Ask for one with explain or uncertainty.")
    wanted = tuple(image.size(axis) for axis in image.axes if axis != "C")
    for one in layers:
        if one.pixels.shape != wanted:
            raise OptionError(
                f"The {one.name} has {one.pixels.shape} pixels and the image {wanted}: it has parts of its own.",
                "Save it as an image and leave 'heatmap' out.",
            )
    rows = [_row(image, layers, plane) for plane in _planes(image)]
    return _page(rows, layers, title)


def _page(rows: Sequence[Sequence[Picture.Image]], layers: Sequence[_Layer], title: str) -> Picture.Image:
    """The panels of each plane in a row, under the title, with the colours of each map beside the first."""
    width, height = rows[0][0].size
    page = Picture.new(
        "RGB",
        (
            GAP + (1 + len(layers)) * (width + GAP) + len(layers) * BAR,
            STRIP + GAP + len(rows) * (height + GAP),
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    _text(draw, (GAP, (STRIP + GAP) / 2), _fitting(title, page.width - 2 * GAP), 16, INK)
    for number, panels in enumerate(rows):
        top = STRIP + GAP + number * (height + GAP)
        left = GAP
        for column, panel in enumerate(panels):
            page.paste(panel, (left, top))
            left += width + GAP
            if column and not number:
                _draw_bar(page, draw, layers[column - 1], (left, top, height))
            left += BAR if column else 0
    return page


def colours(values: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Colours of numbers from 0 to 1 (signed: from -1 to 1), uint8 with a last axis of 3.

    Examples
    --------
    >>> colours(np.array([0.0, 1.0])).tolist(), colours(np.array([0.0]), signed=True).tolist()
    ([[0, 0, 4], [252, 255, 164]], [[247, 247, 247]])
    """
    anchors = np.array(SIGNED if signed else RISING, float)
    place = (np.clip(values, -1, 1) + 1) / 2 if signed else np.clip(values, 0, 1)
    at = place * (len(anchors) - 1)
    mixed = [np.interp(at, np.arange(len(anchors)), anchors[:, k]) for k in range(3)]
    return np.round(np.stack(mixed, axis=-1)).astype(np.uint8)


def _layer(name: str, found: Image) -> _Layer:
    pixels = found.numpy()
    if "C" in found.axes:
        name = found.channels[0] if found.channels else name
        pixels = pixels.take(0, axis=found.axes.index("C"))
    pixels = pixels.astype(np.float32)
    if pixels.min() < 0:
        top = float(np.percentile(np.abs(pixels), _TOP)) or 1.0
        return _Layer(pixels, name, -top, top, True)
    return _Layer(pixels, name, 0.0, float(np.percentile(pixels, _TOP)) or float(pixels.max()) or 1.0, False)


def _planes(image: Image) -> list[dict[str, int]]:
    """Which planes are shown: frames of a time-lapse in their middle slice, else slices."""
    sizes = {axis: image.size(axis) for axis in "TZ" if axis in image.axes}
    middle = {axis: size // 2 for axis, size in sizes.items()}
    along = next((axis for axis in "TZ" if sizes.get(axis, 1) > 1), None)
    if along is None:
        return [middle]
    count = min(ROWS, sizes[along])
    places = ((np.arange(count) + 0.5) * sizes[along] / count).astype(int)
    return [{**middle, along: int(n)} for n in places]


def _row(image: Image, layers: list[_Layer], where: dict[str, int]) -> list[Picture.Image]:
    grey = _shown(image, where)
    panels = [grey]
    key = tuple(where.get(axis, slice(None)) for axis in image.axes if axis != "C")
    for layer in layers:
        values = layer.pixels[key] / layer.high
        strength = (np.abs(values) if layer.signed else values).clip(0, 1)[
            ..., np.newaxis
        ] ** 0.7 * _STRONGEST
        painted = colours(values, signed=False) if not layer.signed else _strong(values)
        panels.append((grey * (1 - strength) + painted * strength).astype(np.uint8))
    edge = max(grey.shape[:2])
    scale = PANEL / edge
    size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
    how = Picture.Resampling.NEAREST if scale > 1 else Picture.Resampling.BOX
    return [Picture.fromarray(panel).resize(size, how) for panel in panels]


def _strong(values: np.ndarray) -> np.ndarray:
    """Red for what speaks for the class, blue for what speaks against it: seen on any image."""
    colour = np.where(values[..., np.newaxis] > 0, SIGNED[-1], SIGNED[0])
    return colour.astype(np.uint8)


def _shown(image: Image, where: dict[str, int]) -> np.ndarray:
    """One plane as people look at it, uint8 (y, x, 3)."""
    plane = np.asarray(image.array[tuple(where.get(axis, slice(None)) for axis in image.axes)])
    if image.is_rgb and plane.dtype == np.uint8:
        return np.moveaxis(plane, 0, -1)
    grey = plane[0] if "C" in image.axes and not image.is_rgb else plane
    finite = grey[np.isfinite(grey)]
    low, high = np.percentile(finite, (0.5, 99.8)) if finite.size else (0.0, 0.0)
    shown = stretch(grey, float(low), float(high))
    return np.moveaxis(shown, 0, -1) if image.is_rgb else np.repeat(shown[..., np.newaxis], 3, axis=-1)


def _draw_bar(
    page: Picture.Image, draw: ImageDraw.ImageDraw, layer: _Layer, place: tuple[int, int, int]
) -> None:
    left, top, height = place
    tall = min(height, 180)
    values = np.linspace(1, -1 if layer.signed else 0, tall)
    column = colours(values, signed=layer.signed)[:, np.newaxis].repeat(14, axis=1)
    page.paste(Picture.fromarray(column), (left, top + 20))
    _text(draw, (left, top + 8), layer.name, 13, INK)
    for value, y in ((layer.high, top + 26), (layer.low, top + 14 + tall)):
        _text(draw, (left + 19, y), f"{value:.2g}", 13, FAINT)


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, color: tuple[int, int, int]
) -> None:
    draw.text(place, text, color, ImageFont.load_default(size), anchor="lm")


def _fitting(text: str, width: int) -> str:
    font = ImageFont.load_default(16)
    keep = len(text)
    while keep > 1 and font.getlength(text[:keep]) > width:
        keep -= 1
    return text[:keep]
