"""Which model a command runs: the one that is named, or the only one that fits."""

from __future__ import annotations

from pathlib import Path

from deepbio.errors import CardError, InputMismatch, OptionError, UnknownModel
from deepbio.families import FAMILIES
from deepbio.image import Image
from deepbio.library import ModelCard, find_model, list_models
from deepbio.options import RunOptions

__all__ = ["card_named", "fitting_card", "only_card", "path_or_name"]

_WORDS = {name: family.verb for name, family in FAMILIES.items()}  # task on the card -> word of its command


def card_named(name: str, task: str) -> ModelCard:
    """The card of a model, if it is for the task of the command (empty: for any).

    Raises
    ------
    UnknownModel
        If there is no such model.
    CardError
        If it is for another task; the hint says which command runs it.
    """
    try:
        card = find_model(name)
    except UnknownModel as error:
        raise UnknownModel(error.message, f"{error.hint} {_others(task)}".strip()) from None
    if task and card.task not in ("", task):
        raise CardError(
            f"The model '{card.name}' is for the task {card.task!r}; DeepBio {_WORDS[task]} runs those for {task!r}.",
            f'Use run("DeepBio {_WORDS.get(card.task, "Run")}", "model={card.name}").',
        )
    return card


def only_card(task: str) -> ModelCard:
    """The card of the only model for a task.

    Raises
    ------
    OptionError
        If there are none, or several.
    """
    cards = list_models(task)
    if len(cards) != 1:
        names = ", ".join(card.name for card in cards)
        raise OptionError(
            "The option 'model' is not given.", f"Choose one of: {names}." if names else _others(task)
        )
    return cards[0]


def fitting_card(image: Image, task: str, options: RunOptions) -> ModelCard:
    """The card of the one model for a task (empty: for any) that takes an image.

    Raises
    ------
    UnknownModel
        If no model is for the task.
    InputMismatch
        If none takes the image; the message says why, model by model.
    OptionError
        If several do.
    """
    from deepbio.worker.facts import fits

    cards = [card for card in list_models() if task in ("", card.task)]
    if not cards:
        raise UnknownModel("The option 'model' is not given.", _others(task))
    told = {
        "axes": image.axes,
        "shape": image.shape,
        "dtype": image.dtype.str,
        "channels": image.channels,
    }
    reasons = fits(told, options)["fits"]
    fitting = [card for card in cards if not reasons.get(card.name)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        why = " ".join(f"{card.name}: {reasons[card.name]}" for card in cards)
        raise InputMismatch(f"No model takes this image. {why}")
    names = ", ".join(card.name for card in fitting)
    raise OptionError(f"Several models take this image: {names}.", f"Choose one: model={fitting[0].name}.")


def _others(task: str) -> str:
    """What there is instead, where no model is for a task."""
    if not task or list_models(task):
        return ""
    others = ", ".join(f"'{card.name}' ({card.task})" for card in list_models())
    return (
        f"No model that {FAMILIES[task].summary} is installed (task {task!r}); there are: {others}. "
        "Add one with: deepbio models add FOLDER."
    )


def path_or_name(text: str) -> str:
    """A model of ours may be named by the last part of a path, as when macros move between machines."""
    path = Path(text)
    names = {card.name for card in list_models()}
    return path.name if not path.exists() and path.name in names else text
