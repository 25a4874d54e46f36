"""What a model can be given: an image, labels, or nothing at all."""

from __future__ import annotations

from deepbio.errors import InputMismatch
from deepbio.families import family_of
from deepbio.library import ModelCard

__all__ = ["check_imageless", "takes"]

_GENERATORS = {"class": ("nothing",), "paired": ("labels", "nothing"), "cycle": ("image",)}


def takes(card: ModelCard) -> tuple[str, ...]:
    """Kinds of input that a model takes, the usual one first.

    Returns
    -------
    tuple of str
        Of ``"image"``, ``"labels"`` (a label image where others take an image) and ``"nothing"`` (it
        makes images without one).
    """
    kind = (card.deepbio.get("generator") or {}).get("kind", "") if card.task == "generate" else ""
    return _GENERATORS.get(kind, ("image",))


def check_imageless(card: ModelCard) -> None:
    """Refuse a run without an image for models that need one.

    Raises
    ------
    InputMismatch
        If the model is no generator.
    """
    if family_of(card.task).name != "generate":
        raise InputMismatch(
            f"The model '{card.name}' needs an image; found none.", "Only generators run without one."
        )
