"""A frame as its network sees it: on the working grid, and normalised.

Most cards have their pixels interpolated first and normalised then, tile by tile. Those whose grid asks for nnU-Net's
interpolation have it the other way round; slices of a stack then share the statistics and the box of the stack.
Those that ask for MONAI's may normalise the pixels that are not 0 alone, in each channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepbio.engine.early import EachInside, Limits, early_limits, early_statistics, early_working
from deepbio.engine.geometry import GridSpec, Placement, place, place_image
from deepbio.engine.placement import Box
from deepbio.engine.statistics import Transform
from deepbio.engine.steps import Normaliser, prepare
from deepbio.events import Listener, silent
from deepbio.image import Image
from deepbio.library import ModelCard
from deepbio.library.card import Step
from deepbio.tasks.frames import Frame, FrameSource, frame_grid, stack_of
from deepbio.tasks.placed import Placed, place_frame, settled

__all__ = ["Stack", "Stacks", "of_stack", "open_frame"]


@dataclass(frozen=True)
class Stack:
    """What the slices of a stack share.

    Attributes
    ----------
    box : tuple of (int, int)
        The part that is worked on.
    normalise : Normaliser
        With the statistics of the box.
    limits : tuple of ndarray, optional
        Smallest and largest values, where they are those of the whole box.
    """

    box: Box
    normalise: Normaliser
    limits: Limits | None = None


Stacks = dict[int | None, Stack]
"""Of each frame in time."""


def open_frame(
    image: Image,
    frame: Frame,
    card: ModelCard,
    spec: GridSpec,
    *,
    normalise: Normaliser | None = None,
    stacks: Stacks | None = None,
    listener: Listener = silent,
) -> tuple[Placed, FrameSource]:
    """Bring a frame to its network.

    Parameters
    ----------
    image : Image
        That the frame is of.
    frame : Frame
        Which part of it.
    card : ModelCard
        What the network takes.
    spec : GridSpec
        The grid that the card asks for.
    normalise : Normaliser, optional
        What another view of the same frame was normalised with.
    stacks : dict, optional
        Remembers what the slices of a stack share, from one call to the next.
    listener : Listener
        Hears the stage ``"resample"`` where it takes more than a moment; may raise `Cancelled`.

    Returns
    -------
    placed : Placed
        Where the frame lies; its view is raw pixels, or normalised ones where the card wants that first.
    source : FrameSource
        Normalised pixels for the engine.

    Raises
    ------
    InputMismatch
        If the spacing of the image cannot be meant, or it has NaN or infinite pixels.
    """
    if spec.interpolation != "nnunet":
        placed = place_frame(frame.view, frame_grid(image, frame), spec, listener)
        if spec.inside:
            each = EachInside(placed.view, card.input.steps)
            return placed, FrameSource(each, card, prepare(each, _axes(each.shape), each.rest))
        return placed, FrameSource(placed.view, card, normalise)
    placement, own, limits = _early(image, frame, card, spec, {} if stacks is None else stacks)
    view = settled(early_working(frame.view, placement, own, limits), placement, listener)
    as_it_is = prepare(np.zeros((1,) * len(view.shape), np.uint8), _axes(view.shape), ())
    return Placed(view, placement), FrameSource(view, card, as_it_is)


def _axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    return ("channel", *"zyx"[4 - len(shape) :])


def _early(
    image: Image, frame: Frame, card: ModelCard, spec: GridSpec, stacks: Stacks
) -> tuple[Placement, Transform, Limits | None]:
    """Where a frame lies, its normalisation and, of a slice, the limits of its stack."""
    grid = frame_grid(image, frame)
    if frame.z is None:
        placement = place_image(frame.view, grid, spec)
        return placement, early_statistics(frame.view, placement, spec, card.input.steps), None
    if frame.t not in stacks:
        stacks[frame.t] = _stack(image, frame, card, spec)
    stack = stacks[frame.t]
    return (
        place(grid, spec, stack.box[1:]),
        lambda block: stack.normalise(block[:, np.newaxis])[:, 0],
        stack.limits,
    )


def _stack(image: Image, frame: Frame, card: ModelCard, spec: GridSpec) -> Stack:
    """What the slices of a stack share: nnU-Net prepares all of it as one volume."""
    stack = stack_of(image, frame)
    spacing = (None, *spec.spacing) if spec.spacing else ()
    whole = place_image(
        stack.view,
        frame_grid(image, stack),
        replace(spec, spacing=spacing, orientation=""),
    )
    normalise = early_statistics(stack.view, whole, spec, [of_stack(one) for one in card.input.steps])
    if whole.thick == 0:  # slices are interpolated one by one
        return Stack(whole.box, normalise)
    low, high = early_limits(stack.view, whole, normalise)
    return Stack(whole.box, normalise, (low[:, 0], high[:, 0]))


def of_stack(step: Step) -> Step:
    """A step that is taken over slices, taken over their stack."""
    axes = step.kwargs.get("axes")
    return step if axes is None or "y" not in axes else Step(step.id, {**step.kwargs, "axes": ["z", *axes]})
