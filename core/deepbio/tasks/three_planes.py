"""A 2D network on a stack, looked at in slices along all three axes: Cellpose's ``do_3D``, also for networks of ours.

Each slice gives the way to the middle of an object within itself (flows, or offsets), and whether its pixels belong to
one; those of the three directions are put together, so that each voxel has a way along z, y and x: flows are added, as
in Cellpose, the scores of ours averaged and smoothed. Objects are then found in 3D.

Method: Stringer et al., Nature Methods 18:100 (2021, doi:10.1038/s41592-020-01018-x); as in Cellpose 3.1 intensities
are normalised by the whole stack, and slices are brought to the distance of pixels first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from deepbio.engine.ladder import Rung
from deepbio.engine.planning import plan_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.slabs import ArraySource, Source, predict_scores
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Stage, silent
from deepbio.image import Image
from deepbio.library import ModelCard
from deepbio.library.card import Axis, TensorSpec
from deepbio.options import RunOptions
from deepbio.tasks.decoder import FIRST_OFFSET
from deepbio.tasks.opened import of_stack

__all__ = ["METHODS", "predict_planes", "stack_card"]

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


def predict_planes(
    source: Source,
    card: ModelCard,
    runtime: Runtime,
    rung: Rung,
    *,
    overlap: float | None = None,
    listener: Listener = silent,
    item: str = "",
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Predict a stack in slices along each axis.

    Parameters
    ----------
    source : Source
        The normalised stack, shape ``(C, z, y, x)``; read whole, once.
    card : ModelCard
        The 2D network's own.
    runtime : Runtime
        Runs it on tiles of a slice.
    rung : Rung
        Largest tile, and how many at once.
    overlap : float, optional
        Of tiles, where the user says so.
    listener, item : Listener, str
        Hear of slices, and what the stack is called.

    Yields
    ------
    start, stop : int
        All slices.
    scores : ndarray, float32, shape (K + 1, z, y, x)
        With one way more than those of a slice.
    """
    shape = tuple(source.shape[1:])
    stack = source.read((0, 0, 0), shape)
    stage = Stage(listener, "predict", sum(shape), item)
    flows = card.deepbio["decode"]["method"] == "flows"
    total: np.ndarray | None = None
    for across, within in _ACROSS:
        slices = np.moveaxis(stack, across + 1, 0)
        plan = plan_for(card, slices.shape[2:], rung, overlap=overlap)
        for k, pixels in enumerate(slices):
            found = predict_scores(ArraySource(pixels), runtime, plan)
            if total is None:
                total = np.zeros((len(found) + 1, *shape), np.float32)
            here = np.moveaxis(total, across + 1, 0)[k]
            (_add_flows if flows else _add_offsets)(found, here, within)
            stage.step()
    assert total is not None, "a stack has slices"  # noqa: S101
    del stack
    if not flows:  # neighbouring slices disagree at outlines, which would be ragged
        for channel in total:
            ndimage.gaussian_filter(channel, _SMOOTHING, truncate=3, output=channel)
    yield 0, shape[0], total


def _add_flows(found: np.ndarray, here: np.ndarray, within: tuple[int, int]) -> None:
    """Add the scores of a slice to those of its voxels: two flows, and what is left."""
    here[list(within)] += found[:2]
    here[3:] += found[2:]


def _add_offsets(found: np.ndarray, here: np.ndarray, within: tuple[int, int]) -> None:
    """The same of networks of ours, whose offsets come last and are seen twice, all else three times."""
    here[:FIRST_OFFSET] += found[:FIRST_OFFSET] / 3
    here[[FIRST_OFFSET + axis for axis in within]] += found[FIRST_OFFSET : FIRST_OFFSET + 2] / 2
