"""Checks of what a card says about space: ``grid``, ``mirror``, ``per_slice`` and ``sizes``.

See :class:`deepbio.engine.geometry.GridSpec` for what the entries of ``grid`` mean, and
:class:`deepbio.tasks.sizes.Sizes` for those of ``sizes``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deepbio.errors import CardError

__all__ = ["GRID_UNITS", "check_grid", "check_mirror", "check_per_slice", "check_sizes"]

GRID_UNITS = ("millimeter", "micrometer")
_KNOWN = ("spacing", "unit", "orientation", "crop", "interpolation", "inside", "back")
_WORDS = {  # what each entry may say
    "crop": ("nonzero", "positive"),
    "interpolation": ("nnunet", "monai", "linear"),
    "inside": ("nonzero",),
    "back": ("nearest",),
}
_PAIRS = ("LR", "PA", "SI")
_SIZES = ("typical", "target", "zoom", "auto", "usual", "exact")


def check_grid(entries: Mapping[str, Any], ndim: int | None = None) -> None:
    """Check the entries of ``grid``.

    Parameters
    ----------
    entries : mapping
        What stands under ``config: deepbio: grid:``.
    ndim : int, optional
        Number of spatial axes of the network; by default that of the spacing.

    Raises
    ------
    CardError
        If an entry is unknown, of the wrong type or impossible.

    Examples
    --------
    >>> check_grid({"spacing": [1.0, None, 0.5], "orientation": "SAR"}, 3)
    >>> check_grid({"spacing": [1.0, 0.0]}, 2)
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's grid has the spacing [1.0, 0.0]; expected positive numbers or null, one for
    each of the network's 2 axes.
    """
    if not isinstance(entries, Mapping):
        raise CardError(f"The card's grid is {entries!r}; expected a mapping.")
    unknown = sorted(map(str, set(entries) - set(_KNOWN)))
    if unknown:
        raise CardError(f"The card's grid has the entries {unknown}; known are {', '.join(_KNOWN)}.")
    spacing = _checked_spacing(entries.get("spacing"), ndim)
    unit = entries.get("unit", "millimeter")
    if unit not in GRID_UNITS:
        raise CardError(f"The card's grid has the unit {unit!r}; expected one of {', '.join(GRID_UNITS)}.")
    axes = ndim if ndim is not None else len(spacing) or None
    _check_orientation(entries.get("orientation") or "", axes)
    for name, words in _WORDS.items():
        said = entries.get(name) or ""
        if said not in ("", *words):
            raise CardError(
                f"The card's grid has {name} {said!r}; expected {' or '.join(map(repr, words))} or nothing."
            )
    if entries.get("inside") and entries.get("interpolation") not in ("nnunet", "monai"):
        raise CardError(
            "The card's grid has inside, which needs interpolation 'nnunet' or 'monai'; it has "
            f"{entries.get('interpolation') or 'none'}."
        )
    if entries.get("back") and entries.get("interpolation") != "monai":
        raise CardError("The card's grid has back, which needs interpolation 'monai'.")


def _checked_spacing(value: Any, ndim: int | None) -> tuple[Any, ...]:
    if value is None:
        return ()
    sizes = (ndim,) if ndim is not None else (0, 2, 3)
    good = isinstance(value, (list, tuple)) and (len(value) in sizes or not value)
    if not good or not all(s is None or _is_positive(s) for s in value):
        count = "one per axis" if ndim is None else f"one for each of the network's {ndim} axes"
        raise CardError(
            f"The card's grid has the spacing {value!r}; expected positive numbers or null, {count}."
        )
    return tuple(value)


def _is_positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _check_orientation(letters: Any, ndim: int | None) -> None:
    if letters == "":
        return
    expected = "one of L/R, one of P/A and one of S/I in the order of the array axes, such as 'SPL'"
    if not isinstance(letters, str) or len(letters) != 3:
        raise CardError(f"The card's grid has the orientation {letters!r}; expected {expected}.")
    if sorted(sum(letter in pair for letter in letters) for pair in _PAIRS) != [1, 1, 1]:
        raise CardError(f"The card's grid has the orientation {letters!r}; expected {expected}.")
    if ndim == 2:
        raise CardError(f"The card's grid has the orientation {letters!r}, but its network is 2D.")


def check_mirror(axes: Any, ndim: int) -> None:
    """Check ``mirror``: the array axes along which the anatomy may be mirrored.

    Parameters
    ----------
    axes : object
        What the card says.
    ndim : int
        Number of spatial axes of the network.

    Raises
    ------
    CardError
        If it is not a list of different axes of the network.

    Examples
    --------
    >>> check_mirror([3], 3)
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's mirror is [3]; expected different axes, 0 to 2.
    """
    numbers = isinstance(axes, (list, tuple)) and all(type(a) is int and 0 <= a < ndim for a in axes)
    if not numbers or len(set(axes)) != len(axes):
        raise CardError(f"The card's mirror is {axes!r}; expected different axes, 0 to {ndim - 1}.")


def check_per_slice(value: Any, ndim: int) -> None:
    """Check ``per_slice``: only a 2D network is run slice by slice.

    Raises
    ------
    CardError
        If it is not true or false, or true for a 3D network.
    """
    if not isinstance(value, bool):
        raise CardError(f"The card's per_slice is {value!r}; expected true or false.")
    if value and ndim != 2:
        raise CardError(f"The card's per_slice is true, but its network is {ndim}D.")


def check_sizes(entries: Mapping[str, Any]) -> None:
    """Check ``sizes``: the objects that a network was made for.

    Raises
    ------
    CardError
        If an entry is missing, unknown, of the wrong type or impossible.

    Examples
    --------
    >>> check_sizes({"typical": [14, 60], "target": [20, 40], "zoom": [0.5, 2], "auto": True})
    >>> check_sizes({"typical": [60, 14]})
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's sizes have typical [60, 14]; expected the smallest and the largest typical
    diameter of objects in pixels, such as [12, 60].
    """
    if not isinstance(entries, Mapping):
        raise CardError(f"The card's sizes are {entries!r}; expected a mapping.")
    unknown = sorted(map(str, set(entries) - set(_SIZES)))
    if unknown:
        raise CardError(f"The card's sizes have the entries {unknown}; known are {', '.join(_SIZES)}.")
    if not _is_range(entries.get("typical")):
        raise CardError(
            f"The card's sizes have typical {entries.get('typical')!r}; expected the smallest and the largest "
            "typical diameter of objects in pixels, such as [12, 60]."
        )
    low, high = entries["typical"]
    target = entries.get("target", (low, high))
    if not _is_range(target) or not (low <= target[0] and target[1] <= high):
        raise CardError(
            f"The card's sizes have target {target!r}; expected what smaller and what larger objects are brought "
            f"to, two diameters from {low} to {high}."
        )
    zoom = entries.get("zoom", (1, 1))
    if not _is_range(zoom) or not zoom[0] <= 1 <= zoom[1]:
        raise CardError(
            f"The card's sizes have zoom {zoom!r}; expected the least and the most, such as [0.5, 2], with 1 between."
        )
    for name in ("auto", "exact"):
        if not isinstance(entries.get(name, False), bool):
            raise CardError(f"The card's sizes have {name} {entries[name]!r}; expected true or false.")
    if "usual" in entries and (not _is_positive(entries["usual"]) or entries.get("auto")):
        raise CardError(
            f"The card's sizes have usual {entries['usual']!r}; expected a diameter in pixels, and no auto beside it."
        )


def _is_range(value: Any) -> bool:
    good = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_positive, value))
    return good and value[0] <= value[1]
