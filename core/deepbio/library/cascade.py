"""What a card says of a cascade: a model that also takes what another one found, ``config: deepbio: cascade:``.

The other model, the first stage, lies in the package as a package of its own. The network's input has a channel
of labels behind those of the image, and stands on the card as the network takes it, so that every program of the
BioImage.IO family can run the network: normalised, without pre-processing. The steps that bring an image there
are under ``cascade``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from deepbio.errors import CardError
from deepbio.library.card import CARD_NAMES, ModelCard, Step, TensorSpec, read_card
from deepbio.library.fields import Fields, inside
from deepbio.library.tensors import read_step

__all__ = ["FIRST", "LABELS", "cascade_entry", "read_cascade", "stages"]

FIRST = "first_stage"
"""Folder of the first stage in the packages that are written here."""

LABELS = "labels of the first stage"
"""Name of the channel of labels."""

_KNOWN = ("package", "steps")


def cascade_entry(steps: list[Step]) -> dict[str, Any]:
    """The entry of a card.

    Parameters
    ----------
    steps : list of Step
        Pre-processing of the image's channels.

    Examples
    --------
    >>> cascade_entry([Step("sigmoid")])
    {'package': 'first_stage', 'steps': [{'id': 'sigmoid', 'kwargs': {}}]}
    """
    return {"package": FIRST, "steps": [{"id": one.id, "kwargs": dict(one.kwargs)} for one in steps]}


def read_cascade(ours: Fields, spec: TensorSpec, root: Path) -> tuple[TensorSpec, Path]:
    """The input as images have it, and the folder of the first stage.

    Parameters
    ----------
    ours : Fields
        What stands under ``config: deepbio:``.
    spec : TensorSpec
        The network's input, the last of whose channels are labels.
    root : Path
        Folder of the package.

    Raises
    ------
    CardError
        If the entry is not so, or there is no such package in the package.
    """
    entry = ours.child("cascade")
    unknown = sorted(map(str, set(entry.values) - set(_KNOWN)))
    if unknown:
        raise CardError(f"The card's {entry.where} has {unknown}; known are {', '.join(_KNOWN)}.")
    if len(spec.channels) < 2 or (spec.steps != () and [one.id for one in spec.steps] != ["ensure_dtype"]):
        raise CardError(
            f"The card has a cascade, and an input of {len(spec.channels)} channels with {len(spec.steps)} steps; "
            "expected channels of an image and one of labels, without steps: the image's stand under the cascade."
        )
    folder = inside(root, entry.text("package"))
    if not any((folder / name).is_file() for name in CARD_NAMES):
        raise CardError(
            f"The card's first stage {entry.text('package')!r} is no model package.",
            "Get the model package again.",
        )
    count = len(spec.channels) - 1
    axes = tuple(
        replace(axis, size=count, minimum=count) if axis.id == "channel" else axis for axis in spec.axes
    )
    steps = tuple(read_step(step, list(spec.axis_ids)) for step in entry.children("steps"))
    return replace(spec, axes=axes, channels=spec.channels[:-1], steps=steps), folder


def stages(card: ModelCard) -> tuple[ModelCard, ...]:
    """The card itself, and of a cascade that of its first stage.

    Raises
    ------
    CardError
        If the card of the first stage cannot be read, or is that of a cascade itself.
    """
    if card.first_stage is None:
        return (card,)
    first = read_card(card.first_stage)
    if first.first_stage is not None:
        raise CardError(
            f"The first stage of '{card.name}' is a cascade itself; expected two stages.",
            "Get the model package again.",
        )
    return card, first
