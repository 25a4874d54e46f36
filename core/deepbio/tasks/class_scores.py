"""From what a classifier's network gives to probabilities, and the mirror images it is asked about."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import softmax

from deepbio.engine.steps import apply_steps
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.running import mirror_axes

__all__ = ["as_probabilities", "in_order", "mirrored_axes"]


def mirrored_axes(card: ModelCard, options: RunOptions) -> list[tuple[int, ...]]:
    """Axes of a batch along which it is mirrored, for each mirror image."""
    axes = [axis + 2 for axis in mirror_axes(card, options)]
    return [one for count in range(len(axes) + 1) for one in itertools.combinations(axes, count)]


def as_probabilities(scores: np.ndarray, card: ModelCard) -> np.ndarray:
    """Scores after the card's post-processing; of a card that ends in none, their softmax."""
    ready = apply_steps(scores, ("batch", "channel"), card.output.steps).astype(np.float64)
    if any(step.id in ("softmax", "sigmoid") for step in card.output.steps):
        return ready
    told = ready.min(initial=0.0) >= 0 and np.allclose(ready.sum(1), 1, atol=1e-3)
    return ready if told else np.asarray(softmax(ready, axis=1))


def in_order(labels: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as 1, 2, 3... in the order of `numbers` (others 0), and the numbers."""
    place = np.searchsorted(numbers, labels)
    place = np.minimum(place, max(len(numbers) - 1, 0))
    known = numbers[place] == labels if len(numbers) else np.zeros(labels.shape, bool)
    return np.where(known, place + 1, 0).astype(np.int32), numbers
