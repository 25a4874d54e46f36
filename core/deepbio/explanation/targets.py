"""Which score is explained: a class by its name or number, or what the model itself says."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from deepbio.errors import InputMismatch, OptionError
from deepbio.families import family_of
from deepbio.library import ModelCard
from deepbio.tasks.sequence import following_of

__all__ = ["Target", "check_asked", "exclusive_of", "find_target", "names_of_scores", "speaks_of_frames"]

_EXPLAINED = ("segment", "classify", "sequence")
_UNSURE = (*_EXPLAINED, "restore")


@dataclass(frozen=True)
class Target:
    """A score of a network.

    Attributes
    ----------
    channel : int or None
        Which, counted from 0; None: of each frame the highest.
    name : str
        Of its class.
    """

    channel: int | None
    name: str


def names_of_scores(card: ModelCard) -> Mapping[int, str]:
    """Names of the scores by channel: of the classes where there are any, else of the channels.

    Raises
    ------
    InputMismatch
        If the model's scores are no classes.
    """
    check_asked(card, "gradcam", "")
    channels = dict(enumerate(card.output.channels))
    if speaks_of_frames(card):
        return channels
    classes = card.classes
    if card.task == "classify" and classes and len(classes) == len(channels or classes):
        return dict(enumerate(classes[number] for number in sorted(classes)))
    return {**channels, **classes}  # the label of a segmented class is its channel


def check_asked(card: ModelCard, explain: str, uncertainty: str) -> None:
    """Refuse, before the work, a question that the model's task has no answer to.

    Raises
    ------
    InputMismatch
        If a class is to be explained where there is none, or a made image is asked how sure it is.
    """
    task = family_of(card.task).name
    if (explain or uncertainty) and task == "generate":
        raise InputMismatch(
            f"The model '{card.name}' makes images and says nothing of one: there is no reason to explain and no "
            "answer to be unsure of.",
            "Leave 'explain' and 'uncertainty' out; 'layer' gives features of what it makes.",
        )
    if explain and task not in _EXPLAINED:
        raise InputMismatch(
            f"The model '{card.name}' is for the task {task!r}; only models that classify or segment, images or "
            "movies, have a class to explain.",
            "Leave 'explain' out; its uncertainty can be asked for.",
        )
    if uncertainty and task not in _UNSURE:
        raise InputMismatch(
            f"The model '{card.name}' is for the task {task!r}, which has no uncertainty.",
            "Leave 'uncertainty' out.",
        )


def speaks_of_frames(card: ModelCard) -> bool:
    """Whether the model tells classes of frames or of whole movies."""
    return card.task == "sequence" and following_of(card).kind != "segment"


def find_target(card: ModelCard, words: str) -> Target | None:
    """The class that a user names; None for ``""`` with a classifier, also of frames: what it says itself.

    For ``""`` with a segmentation it is the first class that is not background.

    Raises
    ------
    OptionError
        If there is no such class; the nearest names are given.
    """
    names = names_of_scores(card)
    if not words:
        if card.task == "classify" or speaks_of_frames(card):
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
    if card.task in ("classify", "sequence"):
        return True
    return dict(card.deepbio.get("decode", {})).get("method") == "classes"
