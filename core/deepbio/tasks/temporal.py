"""Scores of the frames of a movie, made steady in time."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

__all__ = ["low_pass", "softmax", "steadied"]

_CERTAIN = (
    4.0  # from the mean over the classes: beyond it a score is not more certain, so no frame outvotes many
)


def steadied(
    scores: np.ndarray, *, smooth: float = 0.0, harmonics: int = 0, cyclic: bool = False
) -> np.ndarray:
    """Probabilities of the frames of a movie, smoothed in time.

    Parameters
    ----------
    scores : ndarray of float, shape (K, T, ...)
        Before softmax, of K classes.
    smooth : float
        Standard deviation in frames of a Gaussian over the probabilities; 0 is none.
    harmonics : int
        Of a cycle, how many waves of the scores are kept; 0 keeps all. A pixel that an object's border passes and comes
        back to needs one or two. Unlike a Gaussian this does not make the largest and the smallest size alike.
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
        centred = np.clip(scores - scores.mean(0, keepdims=True), -_CERTAIN, _CERTAIN)
        return softmax(low_pass(centred, harmonics, axis=1))
    probability = softmax(scores)
    if not smooth or scores.shape[1] < 2:
        return probability
    mode = "wrap" if cyclic else "nearest"
    return np.asarray(gaussian_filter1d(probability, smooth, axis=1, mode=mode), np.float32)


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
