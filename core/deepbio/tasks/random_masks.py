"""Masks of round objects, made at random in the sizes and numbers of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from deepbio.errors import CardError

__all__ = ["MaskStyle", "make_mask", "measure_masks"]

_WAVES = 4  # of an outline; more would make it ragged
_ROUGHNESS = 0.06
_TRIES = 20  # places tried for an object
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class MaskStyle:
    """Sizes and numbers of objects.

    Attributes
    ----------
    edge : int
        Edge of the images, in pixels.
    areas : tuple of float
        Quantiles (5, 25, 50, 75, 95 %) of the objects' median area of an image, in pixels.
    spread : float
        Standard deviation of the logarithm of the area within an image.
    cover : tuple of float
        The same quantiles of the part of an image that objects cover.
    elongation : float
        Median ratio of the axes.
    overlap : float
        Part of the objects that touch another.
    """

    edge: int
    areas: tuple[float, ...]
    spread: float
    cover: tuple[float, ...]
    elongation: float
    overlap: float

    @classmethod
    def from_card(cls, said: Mapping[str, Any]) -> MaskStyle:
        """Read it from a card.

        Raises
        ------
        CardError
            If entries are missing, unknown or no numbers.
        """
        known = [one.name for one in fields(cls)]
        try:
            values = {
                name: tuple(map(float, value)) if isinstance(value, list) else float(value)
                for name, value in said.items()
            }
            style = cls(**{**values, "edge": int(said["edge"])})  # type: ignore[arg-type]
        except (TypeError, ValueError, KeyError) as error:
            raise CardError(
                f"The card's masks are {dict(said)}; expected the numbers {', '.join(known)}."
            ) from error
        if style.edge < 16 or not style.areas or min(style.areas) < 1 or not style.cover:
            raise CardError(
                f"The card's masks have edge {style.edge}, areas {style.areas}; expected 16 and 1 at least."
            )
        return style

    def to_card(self) -> dict[str, Any]:
        """Plain values for a card."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def make_mask(style: MaskStyle, random: np.random.Generator) -> np.ndarray:
    """Make a mask.

    Returns
    -------
    ndarray of int32, shape (edge, edge)
        Objects from 1; no two overlap.

    Examples
    --------
    >>> style = MaskStyle(64, (60.0, 80.0), 0.2, (0.2, 0.3), 1.3, 0.2)
    >>> mask = make_mask(style, np.random.default_rng(2))
    >>> mask.shape, bool(0.1 < (mask > 0).mean() < 0.4)
    ((64, 64), True)
    """
    mask = np.zeros((style.edge, style.edge), np.int32)
    median = float(np.exp(np.interp(random.random(), *_curve(np.log(style.areas)))))
    cover = float(np.interp(random.random(), *_curve(style.cover)))
    number = 0
    left = max(1, round(2 * cover * mask.size / median)) + _TRIES
    while (mask > 0).mean() < cover and left:
        left -= 1
        area = median * float(np.exp(random.normal(0, style.spread)))
        touching = random.random() < style.overlap
        for _ in range(_TRIES):
            outline = _outline(area, style.elongation, mask.shape, random)
            taken = float((mask[outline] > 0).mean()) if outline[0].size else 1.0
            # one that touches may be cut by its neighbour, never hidden by it
            if taken == 0 or (touching and taken < 0.2):
                number += 1
                free = mask[outline] == 0
                mask[outline[0][free], outline[1][free]] = number
                break
    return mask


def _curve(values: Any) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, float)
    at = np.asarray(_QUANTILES) if len(values) == len(_QUANTILES) else np.linspace(0.05, 0.95, len(values))
    return at, values


def _outline(
    area: float, elongation: float, shape: tuple[int, ...], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of one object: an ellipse whose radius waves a little; it may reach over the border."""
    ratio = 1 + abs(random.normal(0, 1)) * (elongation - 1) * 1.48
    radius = np.sqrt(area / np.pi)
    centre = random.random(2) * np.asarray(shape)
    reach = int(np.ceil(radius * np.sqrt(ratio) * 1.4)) + 1
    low = np.maximum(np.floor(centre).astype(int) - reach, 0)
    high = np.minimum(np.floor(centre).astype(int) + reach + 1, shape)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]].astype(float)
    turn = random.random() * np.pi
    dy, dx = y - centre[0], x - centre[1]
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    distance = np.hypot(along / np.sqrt(ratio), across * np.sqrt(ratio)) / radius
    angle = np.arctan2(across, along)
    waves = range(2, _WAVES + 1)
    limit = 1 + sum(
        random.normal(0, _ROUGHNESS / wave) * np.cos(wave * angle + random.random() * 2 * np.pi)
        for wave in waves
    )
    rows, columns = np.nonzero(distance < limit)
    return rows + low[0], columns + low[1]


def measure_masks(masks: list[np.ndarray], edge: int) -> MaskStyle:
    """The style of given masks, for pieces of `edge` pixels."""
    from skimage.measure import regionprops_table

    areas, spreads, covers, ratios, touching = [], [], [], [], []
    for mask in masks:
        names = ("area", "axis_major_length", "axis_minor_length")
        found = regionprops_table(mask, properties=names)  # type: ignore[no-untyped-call]
        size = found["area"]
        if not len(size):
            continue
        areas.append(float(np.median(size)))
        spreads.append(float(np.std(np.log(size))))
        covers.append(float((mask > 0).mean()))
        ratios.extend(found["axis_major_length"] / np.maximum(found["axis_minor_length"], 1))
        touching.append(_touching(mask) / len(size))
    return MaskStyle(
        edge=edge,
        areas=tuple(np.quantile(areas, _QUANTILES).round(1).tolist()),
        spread=round(float(np.median(spreads)), 3),
        cover=tuple(np.quantile(covers, _QUANTILES).round(4).tolist()),
        elongation=round(float(np.median(ratios)), 3),
        overlap=round(float(np.mean(touching)), 3),
    )


def _touching(mask: np.ndarray) -> int:
    """Number of objects that touch another."""
    found: set[int] = set()
    for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        found |= set(a[meet].tolist()) | set(b[meet].tolist())
    return len(found)
