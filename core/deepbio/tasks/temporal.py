"""Scores of the frames of a movie, made steady in time."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

__all__ = ["low_pass", "softmax", "steadied"]

_CERTAIN = (
    4.0  # from the mean over the classes: beyond it a score is not more certain, so no frame outvotes many
)
_DEEP = 12.0  # pixels: so far from its border a shape is not more there, or not there


def steadied(
    scores: np.ndarray, *, smooth: float = 0.0, harmonics: int = 0, cyclic: bool = False
) -> np.ndarray:
    """Probabilities of the frames of a movie, smoothed in time.

    Parameters
    ----------
    scores : ndarray of float, shape (K, T, ...)
        Before softmax, of K classes. With axes y and x the first class is what lies between shapes.
    smooth : float
        Standard deviation in frames of a Gaussian over the probabilities; 0 is none.
    harmonics : int
        Of a cycle, how many waves are kept, of each pixel's signed distance to the shapes' borders (in pixels, at most
        12), without y and x of the scores; 0 keeps all. Unlike a Gaussian over probabilities this does not make the
        largest and the smallest size alike, and what is not there in every frame grows and shrinks instead of
        coming and going at once. The probabilities are then those of the distances, half at the border.
    cyclic : bool
        Whether the first frame follows the last.

    Returns
    -------
    ndarray of float32, shape (K, T, ...)

    Raises
    ------
    ValueError
        If harmonics are asked for of what is no cycle.
    """
    if harmonics and not cyclic:
        raise ValueError("harmonics are of a cycle; set cyclic")
    if harmonics and scores.shape[1] > 2:
        return softmax(low_pass(_centred(scores), harmonics, axis=1))
    probability = softmax(scores)
    if not smooth or scores.shape[1] < 2:
        return probability
    mode = "wrap" if cyclic else "nearest"
    return np.asarray(gaussian_filter1d(probability, smooth, axis=1, mode=mode), np.float32)


def _centred(scores: np.ndarray) -> np.ndarray:
    """Scores whose mean over time means something: distances to borders, or scores that no frame can dominate."""
    if scores.ndim < 4:
        return np.clip(scores - scores.mean(0, keepdims=True), -_CERTAIN, _CERTAIN)
    found = scores.argmax(0)
    distances = np.zeros(scores.shape, np.float32)
    for label in range(1, len(scores)):
        for t, frame in enumerate(found == label):
            distances[label, t] = _signed_distance(frame)
    return distances


def _signed_distance(shape: np.ndarray) -> np.ndarray:
    """Pixels to the border, above 0 inside, half a pixel at least, `_DEEP` at most."""
    if not shape.any():
        return np.full(shape.shape, -_DEEP, np.float32)
    inside, outside = distance_transform_edt(shape), distance_transform_edt(~shape)
    distance = np.where(shape, inside - 0.5, 0.5 - outside)
    return np.asarray(np.clip(distance, -_DEEP, _DEEP), np.float32)


def low_pass(values: np.ndarray, harmonics: int, axis: int) -> np.ndarray:
    """A cycle of its mean and its first waves.

    Examples
    --------
    >>> phase = 2 * np.pi * np.arange(20) / 20
    >>> slow, fast = 3 + np.cos(phase), np.cos(5 * phase)
    >>> bool(np.allclose(low_pass(slow + fast, 2, axis=0), slow))
    True
    """
    waves = np.fft.rfft(values, axis=axis)
    np.moveaxis(waves, axis, 0)[harmonics + 1 :] = 0
    return np.asarray(np.fft.irfft(waves, n=values.shape[axis], axis=axis), np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from scores, along the first axis."""
    powers = np.exp(scores - scores.max(0, keepdims=True))
    return np.asarray(powers / powers.sum(0, keepdims=True), np.float32)
