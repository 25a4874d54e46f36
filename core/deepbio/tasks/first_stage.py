"""The first stage of a cascade: which model it is, and how it is run for the second."""

from __future__ import annotations

from dataclasses import replace

from deepbio.engine.geometry import GridSpec, place
from deepbio.errors import CardError, InputMismatch
from deepbio.image import Image
from deepbio.library import ModelCard
from deepbio.library.cascade import stages
from deepbio.options import RunOptions

__all__ = ["as_taken", "check_within", "first_stage_of", "options_for_first"]


def first_stage_of(card: ModelCard) -> ModelCard:
    """The card of a cascade's first stage.

    Parameters
    ----------
    card : ModelCard
        Of the cascade.

    Raises
    ------
    CardError
        If it is no model that segments the same images into classes.
    """
    assert card.first_stage is not None, "it is a cascade"  # noqa: S101
    _, first = stages(card)
    if (first.task, first.ndim, first.input.channels) != (card.task, card.ndim, card.input.channels):
        raise CardError(
            f"The first stage of '{card.name}' is for {first.task!r} in {first.ndim}D of {first.input.channels}; "
            f"expected the same images: {card.task!r} in {card.ndim}D of {card.input.channels}.",
            "Get the model package again.",
        )
    return first


def as_taken(image: Image, card: ModelCard) -> Image:
    """The image with pixels as large as the cascade takes them where the image does not say, for both stages alike."""
    spec = GridSpec.from_card(card.deepbio.get("grid"))
    grid = image.grid
    if grid.unit != "pixel" or len(spec.spacing) != grid.ndim or None in spec.spacing:
        return image
    axes = place(grid, GridSpec(orientation=spec.orientation)).axes
    known = dict(zip(axes, spec.spacing, strict=True))
    spacing = tuple(float(known[axis] or 1) for axis in range(grid.ndim))
    return replace(image, grid=replace(grid, spacing=spacing, unit=spec.unit))


def options_for_first(first: ModelCard, options: RunOptions) -> RunOptions:
    """How the first stage is run, where the second is run with `options`: tiles are each one's own."""
    return RunOptions(
        device=options.device,
        runtime=options.runtime,
        precision=options.precision,
        mirror=options.mirror and bool(first.deepbio.get("mirror")),
        channel=options.channel,
        output=("labels",),
    )


def check_within(card: ModelCard, what: str) -> None:
    """Refuse to look into a cascade: a look sees one network, and this one needs the labels of another.

    Raises
    ------
    InputMismatch
        If the card is that of a cascade.
    """
    if card.first_stage is not None:
        raise InputMismatch(
            f"The model '{card.name}' is a cascade, whose network needs what its first stage found; {what} is not "
            "known of such.",
            f"Its first stage is a model of its own: {card.first_stage}.",
        )
