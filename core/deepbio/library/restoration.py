"""What a card says of a model that restores images: ``config: deepbio: restore:``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepbio.errors import CardError
from deepbio.library.card import ModelCard, Step

__all__ = ["METHODS", "Restoration", "check_restoration"]

METHODS = ("paired", "noise2void", "superresolution", "autoencoder", "vae")
_LINEAR = (
    "ensure_dtype",
    "fixed_zero_mean_unit_variance",
    "scale_linear",
    "scale_range",
    "zero_mean_unit_variance",
)
_KNOWN = {"method", "factor", "units"}
_UNITS = ("input", "network")


@dataclass(frozen=True)
class Restoration:
    """How the output of a restorer's network becomes an image.

    Attributes
    ----------
    factor : tuple of int
        Pixels of the result for each of the input, per spatial axis of the network.
    normalised : bool
        Whether the output is in the units of the normalised input, and is to be brought back to those
        of the image. Else it is taken as it is.
    method : str
        How it was trained; empty where the card does not say.
    """

    factor: tuple[int, ...]
    normalised: bool = True
    method: str = ""

    @property
    def finer(self) -> bool:
        """Whether the result has more pixels than the input."""
        return math.prod(self.factor) > 1

    @staticmethod
    def from_card(card: ModelCard) -> Restoration:
        """What a card says, checked against its tensors.

        Raises
        ------
        CardError
            If its entries contradict each other.
        """
        if card.deepbio.get("grid"):
            raise CardError(
                f"The card '{card.name}' restores images and asks for a grid: interpolation would blur them.",
                "Remove 'grid' from the card.",
            )
        return check_restoration(card.deepbio.get("restore", {}), card.ndim, card.input.steps)


def check_restoration(entry: Any, ndim: int, steps: tuple[Step, ...] = ()) -> Restoration:
    """Read and check ``restore:`` of a card.

    Parameters
    ----------
    entry : mapping
        ``method`` (one of `METHODS`), ``factor`` (whole number, or one per axis; by default 1), ``units``
        ("input", the default: the network's output is in the units of its normalised input; "network":
        it is the result).
    ndim : int
        Spatial axes of the network.
    steps : tuple of Step
        Pre-processing of the input; it must be linear where the output is brought back.

    Raises
    ------
    CardError
        If an entry is not one of those.

    Examples
    --------
    >>> check_restoration({"factor": 2}, 2).factor
    (2, 2)
    >>> check_restoration({"factor": [2, 0]}, 2)
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The card's restore.factor is [2, 0]; expected 1 to 8, or 2 such numbers.
    """
    if not isinstance(entry, Mapping) or set(entry) - _KNOWN:
        found = sorted(map(str, entry)) if isinstance(entry, Mapping) else type(entry).__name__
        raise CardError(f"The card's restore has {found}; known are {', '.join(sorted(_KNOWN))}.")
    factor = entry.get("factor", 1)
    factors = tuple(factor) if isinstance(factor, list | tuple) else (factor,) * ndim
    if len(factors) != ndim or any(type(f) is not int or not 1 <= f <= 8 for f in factors):
        raise CardError(f"The card's restore.factor is {factor!r}; expected 1 to 8, or {ndim} such numbers.")
    method, units = entry.get("method", ""), entry.get("units", "input")
    if method not in ("", *METHODS) or units not in _UNITS:
        raise CardError(
            f"The card's restore has the method {method!r} and the units {units!r}; expected one of "
            f"{', '.join(METHODS)}, and {' or '.join(_UNITS)}."
        )
    bent = [step.id for step in steps if step.id not in _LINEAR]
    if units == "input" and bent:
        raise CardError(
            f"The card's step {bent[0]!r} cannot be undone, so the result cannot be brought to the image's units.",
            "Say 'units: network' under 'restore' if the output is the result.",
        )
    return Restoration(factors, units == "input", method)
