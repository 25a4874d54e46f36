"""From what a classifier's network gives to probabilities, and the mirror images it is asked about."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import softmax

from deepbio.engine.steps import apply_steps
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.tasks.running import mirror_axes

__all__ = ["as_probabilities", "countable", "in_order", "mirrored_axes"]

_FEW = 1 << 16  # labels below it never make a table large


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


def countable(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels that tables can have a row for each number of, up to the highest.

    Returns
    -------
    labels : ndarray of int
        As they are or, where their numbers are far above what there are pixels for, as 1, 2, 3...
    numbers : ndarray of int64, or None
        What they were, in order; None where they are as they were.

    Examples
    --------
    >>> labels, numbers = countable(np.array([0, 5_000_000_000, 7]))
    >>> labels.tolist(), numbers.tolist()
    ([0, 2, 1], [7, 5000000000])
    """
    if labels.max(initial=0) < max(_FEW, 4 * labels.size):
        return labels, None
    labels = labels.astype(np.int64)
    numbers = np.unique(labels[labels > 0])
    return in_order(labels, numbers)
