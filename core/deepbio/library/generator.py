"""What a card says of a generator under ``config: deepbio: generator:``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepbio.errors import CardError

__all__ = ["GENERATORS", "check_generator"]

GENERATORS = ("class", "paired", "cycle")
"""Kinds: an image of a class from a latent, an image from a mask, and one kind of image from another."""


def check_generator(said: Mapping[str, Any]) -> None:
    """Check the entry of a card.

    Parameters
    ----------
    said : mapping
        ``kind``; for classes ``latent``; for masks ``appearances`` (rows of background, foreground
        and spread) and ``masks`` (see `deepbio.tasks.random_masks.MaskStyle`).

    Raises
    ------
    CardError
        If it is not that.

    Examples
    --------
    >>> check_generator({"kind": "class", "latent": 64})
    """
    kind = said.get("kind")
    if kind not in GENERATORS:
        raise CardError(f"The card's generator is of kind {kind!r}; expected {' or '.join(GENERATORS)}.")
    if kind == "class":
        latent = said.get("latent")
        if type(latent) is not int or latent < 1:
            raise CardError(
                f"The card's generator has a latent of {latent!r}; expected a whole number from 1."
            )
        return
    if kind == "cycle":
        return
    rows = said.get("appearances")
    if not isinstance(rows, list) or not rows or any(not _is_appearance(row) for row in rows):
        raise CardError(
            "The card's generator needs 'appearances': rows of background, foreground above it, and spread."
        )
    masks = said.get("masks")
    if not isinstance(masks, Mapping):
        raise CardError(f"The card's generator has masks of {masks!r}; expected a mapping.")


def _is_appearance(row: Any) -> bool:
    numbers = isinstance(row, list) and len(row) == 3 and all(isinstance(n, int | float) for n in row)
    return numbers and 0 <= row[0] < row[1] and row[2] >= 0
