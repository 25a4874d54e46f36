"""A 2D network of flows on a stack, looked at in slices along all three axes: Cellpose's ``do_3D``.

Each slice gives flows within itself, and whether its pixels belong to objects; those of the three directions are added,
so that each voxel has flows along z, y and x. Objects are then found in 3D (:mod:`deepbio.tasks.flows3d`). To the rest
of the program it looks like a 3D network that takes the stack as one tile.

Method: Stringer et al., Nature Methods 18:100 (2021, doi:10.1038/s41592-020-01018-x); as in Cellpose 3.1 intensities
are normalised by the whole stack, and slices are brought to the distance of pixels first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

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
from deepbio.tasks.opened import of_stack

__all__ = ["ThreePlanes", "stack_card", "whole_plan"]

_ACROSS = (  # of each look: the axis that slices are across, and the two that lie in them
    (0, (1, 2)),
    (1, (0, 2)),
    (2, (0, 1)),
)


def stack_card(card: ModelCard, image: Image, options: RunOptions) -> ModelCard:
    """The card of a 2D network of flows, as if it were one of a 3D network.

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
        If the model has no flows, the image is no stack, or an option is about slices.
    """
    if (card.deepbio.get("decode") or {}).get("method") != "flows" or card.ndim != 2:
        raise InputMismatch(
            f"do_3d is for 2D models that find objects by flows, as Cellpose's; '{card.name}' is none.",
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
    names = ("flow along z", *card.output.channels)
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
        replace(axis, size=len(channels)) if axis.id == "channel" and axis.size else axis
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
        self.name, self.precision, self.why = runtime.name, runtime.precision, runtime.why
        self.device: Device = runtime.device

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Scores of one stack: flows along z, y and x, and cells; float32, shape (1, 4, z, y, x)."""
        stack = batch[0]
        stage = Stage(self._listener, "predict", sum(stack.shape[1:]), self._item)
        total = np.zeros((1, 4, *stack.shape[1:]), np.float32)
        for across, within in _ACROSS:
            slices = np.moveaxis(stack, across + 1, 0)
            sums = np.moveaxis(total[0], across + 1, 0)
            plan = plan_for(self._card, slices.shape[2:], self._rung, overlap=self._options.overlap)
            for pixels, here in zip(slices, sums, strict=True):
                found = predict_scores(ArraySource(pixels), self._runtime, plan)
                for axis, flow in zip(within, found[:2], strict=True):
                    here[axis] += flow
                here[3] += found[2]
                stage.step()
        return total
