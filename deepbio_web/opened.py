"""The images of a page: which of them is looked at and given to models, and which are its further channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepbio.errors import ImageError
from deepbio_web.reading import Loaded
from SlicerDeepBioLib.channels import check_alike, given, least, missing, names_for
from SlicerDeepBioLib.scene import SceneError

__all__ = ["Opened"]

Card = Mapping[str, Any]


class Opened:
    """Images that were opened together.

    Parameters
    ----------
    images : sequence of Loaded
        At least one; all of them planes, or none.

    Attributes
    ----------
    images : tuple of Loaded
    at : int
        Which one is looked at.

    Raises
    ------
    ImageError
        If there are planes beside volumes: the page has other views for them.
    """

    def __init__(self, images: Sequence[Loaded]) -> None:
        self.images = tuple(images)
        self.at = 0
        self._further: list[int | None] = []  # of the channels after the first
        first = self.images[0]
        for other in self.images[1:]:
            if other.is_flat != first.is_flat:
                flat, deep = (other, first) if other.is_flat else (first, other)
                raise ImageError(
                    f"'{flat.name}' is a plane, '{deep.name}' a volume; a page shows either planes or volumes.",
                    "Open them by themselves, each with a deepbio view of its own.",
                )

    @property
    def loaded(self) -> Loaded:
        """The one that is looked at."""
        return self.images[self.at]

    @property
    def choices(self) -> list[dict[str, Any]]:
        """All of them, for a list."""
        return [{"value": at, "title": one.name} for at, one in enumerate(self.images)]

    def show_for(self, card: Card | None) -> tuple[str, list[dict[str, Any]]]:
        """What to call the image that is looked at, and the choices of a model's further channels.

        Images that are as many as the channels are proposed in the order in which they were opened.
        """
        names, others = self._names(card), self._others()
        if card is None or not names:
            return "Image", []
        picked = [at if at in others else None for at in self._further[: len(names) - 1]]
        if not any(at is not None for at in picked) and len(others) == len(names) - 1:
            picked = list(others)
        self._further = picked + [None] * (len(names) - 1 - len(picked))
        choices = [one for one in self.choices if one["value"] in others]
        return f"Image ({names[0]})", [
            {
                "number": number,
                "name": name,
                "value": at,
                "choices": choices,
                "optional": number >= least(card),
            }
            for number, (name, at) in enumerate(zip(names[1:], self._further, strict=True), 1)
        ]

    def choose(self, number: int, at: int | None) -> None:
        """Take an image (None: none) for a channel of the model; the first one is number 0."""
        self._further[number - 1] = at

    def further(self, card: Card) -> list[Any]:
        """Nodes of a model's further channels, up to the first that is not chosen."""
        return given(self._nodes(card))

    def reasons(self, fits: Mapping[str, str], cards: Mapping[str, Card]) -> dict[str, str]:
        """Why each model does not take the image, or cannot have one for each channel; empty where it does.

        Parameters
        ----------
        fits : mapping of str to str
            What the worker says, who takes it that there are images enough.
        cards : mapping of str to mapping
            By name.
        """
        return {name: fits.get(name, "") or self._too_few(card) for name, card in cards.items()}

    def why_not(self, card: Card) -> str:
        """Why a model cannot be run on what is chosen; empty if it can."""
        name = missing(card, self._names(card), self._nodes(card))
        if name:
            return f"Choose an image for {name}."
        further = self.further(card)
        try:
            if further:
                check_alike([self.loaded.node, *further])
        except SceneError as error:
            return f"{error.message} Bring them to one grid first (registration, resampling)."
        return ""

    def _too_few(self, card: Card) -> str:
        names = self._names(card)
        if not names or least(card) <= 1 + len(self._others()):
            return ""
        return f"Takes {least(card)} images ({', '.join(names)}): open them together, deepbio view IMAGE IMAGE ..."

    def _names(self, card: Card | None) -> list[str]:
        return list(names_for(card, self.loaded.node))

    def _nodes(self, card: Card) -> list[Any]:
        count = max(len(self._names(card)) - 1, 0)
        return [None if at is None else self.images[at].node for at in self._further[:count]]

    def _others(self) -> list[int]:
        """Those that could be channels beside the one that is looked at."""
        return [
            at
            for at, one in enumerate(self.images)
            if at != self.at and one.frames == 1 and one.image.size("C") == 1
        ]
