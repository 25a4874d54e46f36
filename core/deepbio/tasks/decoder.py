"""How scores become labels: what a card says of it, and what a user may change.

The ways themselves are in :mod:`deepbio.tasks.decode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from deepbio.errors import CardError, InputMismatch
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.stars import check_stars

__all__ = ["FIRST_OFFSET", "METHODS", "Decoder", "decoder_of"]

FIRST_OFFSET = 2
"""Channel: after foreground and depth."""

METHODS = ("watershed", "votes", "flows", "stars", "threshold", "classes", "regions")

_LISTS = {
    "largest": ("classes", "classes (from 1)"),
    "regions": ("regions", "classes (from 1)"),
    "grid": ("stars", "pixels (from 1)"),
    "divisor": ("stars", "pixels (from 1)"),
}
"""Entries that are lists of whole numbers, the method that each is for, and what they count."""


@dataclass(frozen=True)
class Decoder:
    """How scores become labels; stands on the card under ``decode``.

    Attributes
    ----------
    method : {"watershed", "votes", "flows", "stars", "threshold", "classes", "regions"}
        For instances one of the first four; "threshold" makes connected components of channel 0;
        "classes" takes the channel with the highest score (0 is background); "regions" asks each channel for
        itself, and those that come later lie over the others.
    threshold : float
        Probability from which a pixel is foreground, or a candidate (stars).
    seed : float
        Depth from which a pixel belongs to an object's core (watershed).
    smoothing : float
        Standard deviation in pixels of the Gaussian that smooths depth or votes.
    peak : float
        Least height of a centre, in smoothed votes per pixel (votes).
    separation : int
        Centres are highest within so many pixels (votes).
    min_size : int
        Objects with fewer pixels are dropped.
    reach : int
        Largest extent in pixels of an object for which windows agree with the whole.
    logits : bool
        Whether channel 0 (of flows the last, of regions all channels) is before the sigmoid; else it is a probability.
    largest : tuple of int
        Classes of which only the largest connected component is kept (classes).
    regions : tuple of int
        Label of each channel (regions).
    steps : int
        How often a pixel moves on, on the network's grid (flows).
    error : float
        Largest mean squared difference between an object's flows and those of its shape (flows); 0 for any.
    share : float
        Objects with more than this part of the image's pixels are dropped; 0 for none (flows).
    overlap : float
        Common area of two polygons (volume of two polyhedra), as a part of the smaller one, above which the less
        probable is dropped (stars).
    grid : tuple of int
        Along [z,] y and x, pixels between those that have scores of their own (stars).
    divisor : tuple of int
        Along [z,] y and x, what the sizes of the network's images are multiples of (stars).
    rays : mapping
        Of stars in 3D: directions of the distances, see :func:`deepbio.tasks.rays.rays_of`.
    """

    method: str = "watershed"
    threshold: float = 0.5
    seed: float = 0.6
    smoothing: float = 0.7
    peak: float = 2.0
    separation: int = 2
    min_size: int = 12
    reach: int = 128
    logits: bool = True
    largest: tuple[int, ...] = ()
    regions: tuple[int, ...] = ()
    steps: int = 200
    error: float = 0.4
    share: float = 0.0
    overlap: float = 0.4
    grid: tuple[int, ...] = ()
    divisor: tuple[int, ...] = ()
    rays: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_card(cls, entries: Mapping[str, Any]) -> Decoder:
        """Read the card's entries.

        Raises
        ------
        CardError
            For an unknown method or entry, or an entry that is no list of whole numbers where one is meant.
        """
        known = {one.name for one in fields(cls)}
        unknown = set(entries) - known
        method = entries.get("method", "watershed")
        if unknown or method not in METHODS:
            raise CardError(
                f"The card's 'decode' has {dict(entries)}; "
                f"known are the entries {sorted(known)} and the methods {METHODS}."
            )
        lists = {}
        for name, (meant, what) in _LISTS.items():
            found = entries.get(name, ())
            listed = isinstance(found, (list, tuple)) and all(type(k) is int and k > 0 for k in found)
            if not listed or (found and method != meant):
                raise CardError(
                    f"The card's 'decode' has {name} {found!r} and the method {entries.get('method')!r}; "
                    f"expected a list of {what} and the method {meant!r}."
                )
            lists[name] = tuple(found)
        if method == "regions" and not lists["regions"]:
            raise CardError(
                "The card's 'decode' has the method 'regions' without regions: a label for each channel."
            )
        if method == "stars":
            check_stars(lists["grid"], lists["divisor"], entries.get("rays", {}))
        return cls(**{**entries, **lists})

    @property
    def instances(self) -> bool:
        """Whether labels are objects rather than classes."""
        return self.method not in ("classes", "regions")

    @property
    def by_seeds(self) -> bool:
        """Whether objects grow from seeds, whose distances are in pixels of the network's grid."""
        return self.method in ("watershed", "votes", "stars")

    def offsets(self, dims: int) -> dict[int, int]:
        """The channels that are offsets or flows, and the spatial axis of each.

        Examples
        --------
        >>> [Decoder(method).offsets(2) for method in ("votes", "flows", "classes")]
        [{2: 0, 3: 1}, {0: 0, 1: 1}, {}]
        """
        if self.method == "flows":
            return {axis: axis for axis in range(dims)}
        has_offsets = self.method in ("watershed", "votes")
        return {FIRST_OFFSET + axis: axis for axis in range(dims)} if has_offsets else {}

    def keeps(self, area: np.ndarray, size: int) -> np.ndarray:
        """Which labels (by number; 0 is background) are neither too small nor too large.

        Parameters
        ----------
        area : ndarray of int, shape (labels + 1,)
            Pixels of each.
        size : int
            Pixels of the image.
        """
        kept = area >= max(self.min_size, 1)
        if self.share > 0:
            kept &= area <= self.share * size
        kept[0] = False
        return np.asarray(kept)

    def replace(self, **changes: Any) -> Decoder:
        """Return a copy with some entries changed."""
        return replace(self, **changes)


def decoder_of(card: ModelCard, options: RunOptions) -> Decoder | None:
    """How this card's scores become labels; None where nobody can say.

    A foreign card with one output channel is read as a probability of foreground.

    Raises
    ------
    InputMismatch
        If there is an option for another way.
    """
    entries = card.deepbio.get("decode")
    if entries is not None:
        decoder = Decoder.from_card(entries)
    elif len(card.output.channels) <= 1:
        squashed = any(step.id == "sigmoid" for step in card.output.steps)
        decoder = Decoder("threshold", logits=not squashed and not _is_probability(card))
    else:
        return None
    if options.flow_threshold is not None and decoder.method != "flows":
        raise InputMismatch(
            f"The model '{card.name}' finds objects by {decoder.method!r}, not by flows.",
            "Leave 'flow_threshold' out.",
        )
    changes = {
        "threshold": options.threshold,
        "min_size": options.min_size,
        "error": options.flow_threshold,
    }
    return decoder.replace(**{name: value for name, value in changes.items() if value is not None})


def _is_probability(card: ModelCard) -> bool:
    return "prob" in (card.output.id + card.output.description).lower()
