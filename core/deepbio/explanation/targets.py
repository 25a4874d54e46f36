"""Which score is explained: a class by its name or number, or what the model itself says."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from deepbio.errors import InputMismatch, OptionError
from deepbio.library import ModelCard

__all__ = ["Target", "exclusive_of", "find_target", "names_of_scores"]

_EXPLAINED = ("", "segment", "classify")


@dataclass(frozen=True)
class Target:
    """A score of a network.

    Attributes
    ----------
    channel : int
        Which, counted from 0.
    name : str
        Of its class.
    """

    channel: int
    name: str


def names_of_scores(card: ModelCard) -> Mapping[int, str]:
    """Names of the scores by channel: of the classes where there are any, else of the channels.

    Raises
    ------
    InputMismatch
        If the model's scores are no classes.
    """
    if card.task not in _EXPLAINED:
        raise InputMismatch(
            f"The model '{card.name}' is for the task {card.task!r}; only models that classify or segment "
            "have a class to explain.",
            "Its uncertainty can be asked for.",
        )
    channels = dict(enumerate(card.output.channels))
    classes = card.classes
    if card.task == "classify" and classes and len(classes) == len(channels or classes):
        return dict(enumerate(classes[number] for number in sorted(classes)))
    return {**channels, **classes}  # the label of a segmented class is its channel


def find_target(card: ModelCard, words: str) -> Target | None:
    """The class that a user names; None for ``""`` with a classifier: what it says itself.

    For ``""`` with a segmentation it is the first class that is not background.

    Raises
    ------
    OptionError
        If there is no such class; the nearest names are given.
    """
    names = names_of_scores(card)
    if not words:
        if card.task == "classify":
            return None
        first = 1 if exclusive_of(card) and len(names) > 1 else 0
        return Target(first, names.get(first, f"channel {first + 1}"))
    for channel, name in names.items():
        if name.casefold() == words.strip().casefold():
            return Target(channel, name)
    if words.isdigit() and int(words) in names:
        return Target(int(words), names[int(words)])
    near = difflib.get_close_matches(words, names.values(), n=3, cutoff=0.4)
    told = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has {', '.join(names.values())}."
    raise OptionError(f"The model '{card.name}' has no class {words!r}.", told)


def exclusive_of(card: ModelCard) -> bool:
    """Whether a pixel or image has one class only; else each score says yes or no for itself."""
    if card.task == "classify":
        return True
    return dict(card.deepbio.get("decode", {})).get("method") == "classes"
