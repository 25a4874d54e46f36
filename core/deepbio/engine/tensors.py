"""Whole tensors through a card's network, as its own test does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepbio.engine.device import choose_device
from deepbio.engine.runtime import open_runtime
from deepbio.engine.steps import apply_steps
from deepbio.errors import CardError, InputMismatch
from deepbio.library import ModelCard
from deepbio.library.card import TensorSpec

__all__ = ["run_tensors"]


def run_tensors(
    card: ModelCard, tensors: Mapping[str, np.ndarray], *, runtime: str = "auto"
) -> dict[str, np.ndarray]:
    """Run a card's network on whole tensors, as its own test does.

    Parameters
    ----------
    card : ModelCard
        The model.
    tensors : mapping of str to ndarray
        Inputs by id, in the axes of the card, before pre-processing.
    runtime : str
        As in RunOptions.

    Returns
    -------
    dict of str to ndarray
        Outputs by id, after post-processing.
    """
    # of a cascade the tensor is what its network takes
    spec = card.input if card.first_stage is None else replace(card.input, steps=())
    if spec.id not in tensors:
        raise CardError(f"The card's input is {spec.id!r}; found {sorted(tensors)}.")
    batch = np.array(tensors[spec.id], np.float32)
    axes = spec.axis_ids
    if "channel" in axes and not spec.spatial and batch.shape[axes.index("channel")] != len(spec.channels):
        raise InputMismatch(
            f"The model '{card.name}' takes {len(spec.channels)} numbers for each image; found {batch.shape}."
        )
    # each image of the batch has statistics of its own
    without = tuple(axis for axis in axes if axis != "batch")
    at = axes.index("batch") if "batch" in axes else None
    images = [batch] if at is None else list(np.moveaxis(batch, at, 0))
    order = [without.index(name) for name in ("channel", "time", *"zyx") if name in without]
    ready = np.stack([_prepared(image, without, spec).transpose(order) for image in images])
    if "channel" not in without:
        ready = ready[:, None]
    network = open_runtime(
        card, device=choose_device("cpu"), runtime=runtime, tile=ready.shape[ready.ndim - card.ndim :]
    )
    scores = np.array(network(np.ascontiguousarray(ready)))
    results = [_arranged(one, card) for one in scores]
    return {card.output.id: np.stack(results) if at is not None else results[0]}


def _prepared(image: np.ndarray, axes: tuple[str, ...], spec: TensorSpec) -> np.ndarray:
    """Pixels after pre-processing; of a movie each frame for itself, as it is when a model runs."""
    if "time" not in axes:
        return apply_steps(image, axes, spec.steps)
    at, still = axes.index("time"), tuple(axis for axis in axes if axis != "time")
    frames = [apply_steps(frame, still, spec.steps) for frame in np.moveaxis(image, at, 0)]
    return np.stack(frames, axis=at)


def _arranged(scores: np.ndarray, card: ModelCard) -> np.ndarray:
    """Scores (K, [z,] y, x) after post-processing, in the card's own axes without batch."""
    spec = card.output
    names = tuple(axis for axis in ("channel", "time", *"zyx") if axis in spec.axis_ids)
    if "channel" not in names:
        scores = scores[0]
    ready = apply_steps(scores, names, spec.steps)
    return ready.transpose([names.index(axis) for axis in spec.axis_ids if axis != "batch"])
