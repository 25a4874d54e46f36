"""Colours for label images: neighbours in number are far apart in colour."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["label_colours"]

_STEPS = 24  # candidates per colour channel
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65


@lru_cache(maxsize=1)
def label_colours() -> np.ndarray:
    """Compute a table of 256 colours, black first, each as far as can be from those before it.

    The colours are taken one by one from a lattice of sRGB: always the one whose smallest
    distance in CIE L*a*b* to all before it is largest, the idea of Glasbey et al., Colour displays
    for categorical images, Color Research and Application 32:304 (2007), doi:10.1002/col.20327.
    Dark colours are left out, as they would pass for background.

    Returns
    -------
    ndarray of uint8, shape (3, 256), read-only
        Red, green and blue of each index; the same at every call on every machine.

    Examples
    --------
    >>> table = label_colours()
    >>> table[:, 0].tolist(), table.shape, len(np.unique(table, axis=1).T)
    ([0, 0, 0], (3, 256), 256)
    """
    levels = np.linspace(0, 255, _STEPS).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _to_lab(candidates)
    bright = lab[:, 0] > 30
    candidates, lab = candidates[bright], lab[bright]
    chosen = [np.zeros(3)]
    nearest = ((lab - _to_lab(np.zeros((1, 3)))) ** 2).sum(axis=1)
    for _ in range(255):
        best = int(np.argmax(nearest.round(6)))  # rounded, so that ties fall the same way everywhere
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, ((lab - lab[best]) ** 2).sum(axis=1))
    table = np.array(chosen, np.uint8).T.copy()
    table.setflags(write=False)
    return table


def _to_lab(rgb: np.ndarray) -> np.ndarray:
    """Turn sRGB 0 to 255 into CIE L*a*b* (D65)."""
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
