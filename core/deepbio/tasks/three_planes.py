"""A 2D network on a stack, looked at in slices along all three axes: Cellpose's ``do_3D``, also for networks of ours.

Each slice gives the way to the middle of an object within itself (flows, or offsets), and whether its pixels belong to
one; those of the three directions are put together, so that each voxel has a way along z, y and x: flows are added, as
in Cellpose, the scores of ours averaged and smoothed. Objects are then found in 3D. To the rest of the program it looks
like a 3D network that takes the stack as one tile.

Method: Stringer et al., Nature Methods 18:100 (2021, doi:10.1038/s41592-020-01018-x); as in Cellpose 3.1 intensities
are normalised by the whole stack, and slices are brought to the distance of pixels first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from deepbio.engine.device import Device
from deepbio.engine.ladder import Rung
from deepbio.engine.planning import plan_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.slabs import ArraySource, predict_scores
from deepbio.engine.tiling import TilePlan
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Stage
from deepbio.image import Image
from deepbio.library import ModelCard
from deepbio.library.card import Axis, TensorSpec
from deepbio.options import RunOptions
from deepbio.tasks.decoder import FIRST_OFFSET
from deepbio.tasks.opened import of_stack

__all__ = ["METHODS", "ThreePlanes", "stack_card", "whole_plan"]

METHODS = ("flows", "votes", "watershed")
"""Ways to find objects that work in 3D, too."""

_SMOOTHING = 1.0  # voxels
_ACROSS = (  # of each look: the axis that slices are across, and the two that lie in them
    (0, (1, 2)),
    (1, (0, 2)),
    (2, (0, 1)),
)


def stack_card(card: ModelCard, image: Image, options: RunOptions) -> ModelCard:
    """The card of a 2D network, as if it were one of a 3D network.

    Parameters
    ----------
    card : ModelCard
        The network's own.
    image : Image
        A stack; its spacing says how far slices are apart.
    options : RunOptions
        With ``do_3d``.

    Raises
    ------
    InputMismatch
        If the model does not find objects by ways to their middles, the image is no stack, or an option is
        about slices.
    """
    method = (card.deepbio.get("decode") or {}).get("method")
    if method not in METHODS or card.ndim != 2:
        raise InputMismatch(
            f"do_3d is for 2D models that find objects by {', '.join(METHODS)}, as 'nuclei' and Cellpose's; "
            f"'{card.name}' is none.",
            "Leave do_3d out; link_slices joins what a 2D model finds in the slices of a stack.",
        )
    if "Z" not in image.axes:
        raise InputMismatch(f"do_3d is for stacks; the image has the axes {image.axes}.", "Leave do_3d out.")
    asked = {
        "link_slices": options.link_slices,
        "explain": options.explain,
        "uncertainty": options.uncertainty,
    }
    besides = [name for name, value in {**asked, "layer": options.layer}.items() if value]
    if besides:
        raise InputMismatch(
            f"do_3d finds objects in 3D, without {', '.join(besides)}.", "Choose one of both."
        )
    grid: dict[str, Any] = dict(card.deepbio.get("grid") or {})
    apart, *within = image.grid.spacing
    if image.grid.unit != "pixel" and apart != min(within):
        grid |= {"spacing": [min(within), None, None], "unit": image.grid.unit}
    first = 0 if method == "flows" else FIRST_OFFSET
    told = card.output.channels
    names = (*told[:first], "along z", *told[first:]) if told else ()
    return replace(
        card,
        inputs=(_deep(card.input, card.input.channels), *card.inputs[1:]),
        outputs=(_deep(card.output, names), *card.outputs[1:]),
        deepbio={**card.deepbio, "grid": grid},
    )


def _deep(tensor: TensorSpec, channels: tuple[str, ...]) -> TensorSpec:
    """A tensor of 2D images, with depth."""
    names = tensor.axis_ids
    at = min(names.index(name) for name in ("y", "x"))
    axes = tuple(
        replace(axis, size=len(channels)) if axis.id == "channel" and axis.size and channels else axis
        for axis in tensor.axes
    )
    steps = tuple(of_stack(step) for step in tensor.steps)
    return replace(tensor, axes=(*axes[:at], Axis("z"), *axes[at:]), channels=channels, steps=steps)


def whole_plan(shape: tuple[int, ...]) -> TilePlan:
    """The stack as one tile."""
    return TilePlan(shape, shape, ((0,),) * len(shape))


class ThreePlanes:
    """A runtime for stacks that asks another one about the slices along each axis.

    Parameters
    ----------
    card : ModelCard
        The 2D network's own.
    runtime : Runtime
        Runs it on tiles of a slice.
    rung : Rung
        Largest tile, and how many at once.
    options : RunOptions
        What the user asked for.
    listener, item : Listener, str
        Hear of slices, and what the stack is called.
    """

    def __init__(
        self,
        card: ModelCard,
        runtime: Runtime,
        rung: Rung,
        options: RunOptions,
        listener: Listener,
        item: str,
    ) -> None:
        self._card, self._runtime, self._rung, self._options = card, runtime, rung, options
        self._listener, self._item = listener, item
        self._method = card.deepbio["decode"]["method"]
        self.name, self.precision, self.why = runtime.name, runtime.precision, runtime.why
        self.device: Device = runtime.device

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Scores of one stack, with one way more than those of its slices; float32, shape (1, K + 1, z, y, x)."""
        stack = batch[0]
        stage = Stage(self._listener, "predict", sum(stack.shape[1:]), self._item)
        total: np.ndarray | None = None
        for across, within in _ACROSS:
            slices = np.moveaxis(stack, across + 1, 0)
            plan = plan_for(self._card, slices.shape[2:], self._rung, overlap=self._options.overlap)
            for k, pixels in enumerate(slices):
                found = predict_scores(ArraySource(pixels), self._runtime, plan)
                if total is None:
                    total = np.zeros((1, len(found) + 1, *stack.shape[1:]), np.float32)
                self._add(found, np.moveaxis(total[0], across + 1, 0)[k], within)
                stage.step()
        assert total is not None, "a stack has slices"  # noqa: S101
        if self._method != "flows":  # neighbouring slices disagree at outlines, which would be ragged
            for channel in total[0]:
                ndimage.gaussian_filter(channel, _SMOOTHING, truncate=3, output=channel)
        return total

    def _add(self, found: np.ndarray, here: np.ndarray, within: tuple[int, int]) -> None:
        """Add the scores of a slice to those of its voxels."""
        if self._method == "flows":
            here[list(within)] += found[:2]
            here[3:] += found[2:]
            return
        here[:FIRST_OFFSET] += found[:FIRST_OFFSET] / 3  # seen from three sides
        here[[FIRST_OFFSET + axis for axis in within]] += found[FIRST_OFFSET : FIRST_OFFSET + 2] / 2
