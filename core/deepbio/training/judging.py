"""A trained classifier as the eye of a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from deepbio.engine.runtimes.with_torch import load_module
from deepbio.errors import OptionError
from deepbio.library import ModelCard, find_model
from deepbio.library.card import Weights
from deepbio.networks.projected import ProjectedDiscriminator

__all__ = ["judge_arguments", "look_through"]

_EDGE = 96  # pixels, where the card leaves the size open
_WIDTH = 48
_FIXED = "fixed_zero_mean_unit_variance"


def judge_arguments(name: str, classes: Sequence[str], channels: int) -> dict[str, Any]:
    """What a `ProjectedDiscriminator` is to know of a classifier.

    Parameters
    ----------
    name : str
        As for `deepbio.load_model`.
    classes : sequence of str
        Of the images, as on the card of the generator.
    channels : int
        Of the images.

    Returns
    -------
    dict
        ``judge``, ``edge``, ``mean``, ``std``, ``width`` and ``order``; the last is empty where the classifier
        does not know all of the classes.

    Raises
    ------
    OptionError
        If it is no 2D classifier of ours for such images, or normalises in another way than by a fixed mean.
    """
    card, weights = _classifier(name)
    arguments = dict(weights.arguments)
    if arguments["in_channels"] != channels:
        raise OptionError(
            f"The images have {channels} channels; the classifier {name!r} takes {arguments['in_channels']}.",
            "Choose another judge.",
        )
    fixed = [step for step in card.input.steps if step.id == _FIXED]
    if len(fixed) != 1 or any(step.id not in (_FIXED, "ensure_dtype") for step in card.input.steps):
        found = ", ".join(step.id for step in card.input.steps)
        raise OptionError(
            f"The classifier {name!r} normalises by {found or 'nothing'}; expected {_FIXED} alone.",
            "Choose another judge.",
        )
    edges = [int(axis.size or 0) or max(_EDGE, int(axis.minimum)) for axis in card.input.spatial]
    names = [card.classes[label] for label in sorted(card.classes)]
    order = [names.index(one) for one in classes] if set(classes) <= set(names) else []
    mean, std = fixed[0].kwargs["mean"], fixed[0].kwargs["std"]
    return {
        "judge": arguments,
        "edge": edges[0],
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "width": _WIDTH,
        "order": order,
    }


def look_through(rival: nn.Module, name: str) -> None:
    """Give a discriminator the weights of its classifier."""
    assert isinstance(rival, ProjectedDiscriminator)  # noqa: S101 - for the type checker
    _, weights = _classifier(name)
    weights.verify()
    rival.judge.load_state_dict(load_module(weights).state_dict())


def _classifier(name: str) -> tuple[ModelCard, Weights]:
    card = find_model(name)
    weights = card.weights_of("safetensors")
    if weights is None or weights.network != "classifier" or weights.arguments.get("dims") != 2:
        raise OptionError(
            f"The model {name!r} is no 2D classifier of ours, so no discriminator can look through it.",
            "Choose another judge, such as one that deepbio trained on the same images.",
        )
    return card, weights
