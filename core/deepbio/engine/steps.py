"""The pre- and post-processing steps of BioImage.IO, on numpy, in float32.

Steps that need statistics of the whole image (percentiles, mean, deviation) look at it once, with
bounded memory, in :func:`prepare`; what comes back is applied tile by tile. Formulas:
https://bioimage-io.github.io/spec-bioimage-io (preprocessing and postprocessing of model 0.5).
Where the text leaves room, bioimageio.core 0.11 was followed (noted at the place), except that
every step sees what the step before it made (bioimageio.core takes the statistics of all steps from
the raw image) and that ``eps`` of the card is used (bioimageio.core takes 1e-6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from deepbio.engine.operators import compile_step, reads_image, same
from deepbio.engine.statistics import ArrayMeasure, Measure, Transform, check_finite, measure_of
from deepbio.errors import CardError
from deepbio.image import ArrayLike
from deepbio.library.card import SPATIAL, Step

__all__ = ["Normaliser", "apply_output_steps", "apply_steps", "needs_whole", "prepare"]


class Normaliser:
    """The steps of one image, ready to be applied to any block of it.

    Made by :func:`prepare`.
    """

    def __init__(
        self, transforms: Sequence[Transform], *, finite: bool, over: tuple[int, ...] | None = None
    ) -> None:
        self._transforms = tuple(transforms)
        self._finite = finite
        self._over = over  # where pixels that are 0 along these axes stay 0; None: nowhere

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Apply the steps to a block.

        Parameters
        ----------
        block : ndarray
            Raw pixels, with the axes that were given to :func:`prepare`; left as they are.

        Returns
        -------
        ndarray of float32
            A new array of the same shape.

        Raises
        ------
        InputMismatch
            If a pixel is NaN or infinite.
        """
        if not self._finite:
            check_finite(block)
        ready = _chain(self._transforms, np.array(block, np.float32))
        if self._over is not None:
            ready[np.broadcast_to(~np.any(block, axis=self._over, keepdims=True), ready.shape)] = 0
        return ready


def prepare(
    source: ArrayLike,
    axes: Sequence[str],
    steps: Sequence[Step],
    references: Mapping[str, ArrayLike] | None = None,
    *,
    inside: bool = False,
) -> Normaliser:
    """Find the statistics of an image that its pre-processing needs.

    Integers of up to 16 bit are read once and give exact statistics; other images are read once
    for each step that needs statistics (mean and deviation exact, percentiles exact up to 2**24
    values and from a regular subsample above). Memory does not grow with the image.

    Parameters
    ----------
    source : array-like
        The raw image, without a batch axis; it is sliced, never read whole.
    axes : sequence of str
        Names of its axes, such as ``("channel", "y", "x")``.
    steps : sequence of Step
        Steps in order.
    references : mapping of str to array-like, optional
        Unprocessed tensors, with the same axes, that steps may refer to by name.
    inside : bool
        Only pixels that are not 0 in all channels count, and the others stay 0 whatever the steps say.

    Returns
    -------
    Normaliser
        Applies the steps to blocks of the image.

    Raises
    ------
    InputMismatch
        If the image has NaN or infinite pixels (found here if statistics are needed, otherwise
        when a block is normalised).
    CardError
        If a step is not known, lacks an argument, or wants statistics per slice.

    Examples
    --------
    >>> image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    >>> normalise = prepare(image, ("channel", "y", "x"), [Step("scale_range", {"axes": ["y", "x"]})])
    >>> print(normalise(image[:, 1:]).round(3))
    [[[0.6 0.8 1. ]]]
    """
    names = tuple(axes)
    if len(names) != len(source.shape):
        raise CardError(f"The image has shape {tuple(source.shape)}, but the axes are {', '.join(names)}.")
    measure: Measure | None = None
    transforms: list[Transform] = []
    for number, step in enumerate(steps):
        wanted = reads_image(step)
        if wanted and measure is None:
            mixes = any(earlier.id == "softmax" for earlier in steps[:number])
            measure = measure_of(source, names, mixes=mixes, inside=inside)
        elif not wanted:
            _check_tiled(step)
        before = partial(_chain, tuple(transforms))
        transforms.append(compile_step(step, names, measure, before, _measures(references, names)))
    finite = measure is not None or np.dtype(source.dtype).kind != "f"
    over = tuple(k for k, name in enumerate(names) if name == "channel")
    return Normaliser(transforms, finite=finite, over=over if inside else None)


def apply_steps(
    array: np.ndarray,
    axes: Sequence[str],
    steps: Sequence[Step],
    references: Mapping[str, ArrayLike] | None = None,
) -> np.ndarray:
    """Apply steps to an array that is whole and in memory.

    Parameters
    ----------
    array : ndarray
        Pixels or scores; left as they are.
    axes : sequence of str
        Names of its axes; here statistics along any of them are possible.
    steps : sequence of Step
        Steps in order.
    references : mapping of str to array-like, optional
        Unprocessed tensors, with the same axes, that steps may refer to by name.

    Returns
    -------
    ndarray of float32
        Of the same shape.

    Raises
    ------
    CardError
        If a step is not known or lacks an argument.

    Examples
    --------
    >>> apply_steps(np.array([[-1.0, 0.5, 7.0]]), ("y", "x"), [Step("clip", {"min": 0, "max": 1})]).tolist()
    [[0.0, 0.5, 1.0]]
    """
    return _apply(np.array(array, np.float32), tuple(axes), steps, references)


def _apply(
    pixels: np.ndarray,
    names: tuple[str, ...],
    steps: Sequence[Step],
    references: Mapping[str, ArrayLike] | None,
) -> np.ndarray:
    for step in steps:
        measure = ArrayMeasure(pixels, names) if reads_image(step) else None
        pixels = compile_step(step, names, measure, same, _measures(references, names))(pixels)
    return pixels


def apply_output_steps(
    scores: np.ndarray,
    steps: Sequence[Step],
    references: Mapping[str, ArrayLike] | None = None,
) -> np.ndarray:
    """Apply post-processing to the scores of one image; see :func:`apply_steps`.

    Parameters
    ----------
    scores : ndarray of float32, shape (K, [z,] y, x)
        Scores; changed in place, since they may be large. Bands of an image may be given one by
        one where :func:`needs_whole` says no.
    steps : sequence of Step
        Steps in order.
    references : mapping of str to array-like, optional
        Unprocessed tensors, with the same axes, that steps may refer to by name.

    Returns
    -------
    ndarray of float32
        Of the same shape.
    """
    axes = ("channel", *SPATIAL[len(SPATIAL) + 1 - scores.ndim :])
    return _apply(np.require(scores, np.float32, "W"), axes, steps, references)


def needs_whole(steps: Sequence[Step]) -> bool:
    """Whether a step needs statistics, so that the image cannot be processed band by band.

    Examples
    --------
    >>> needs_whole([Step("sigmoid")]), needs_whole([Step("zero_mean_unit_variance")])
    (False, True)
    """
    return any(reads_image(step) for step in steps)


def _chain(transforms: Sequence[Transform], pixels: np.ndarray) -> np.ndarray:
    for transform in transforms:
        pixels = transform(pixels)
    return pixels


def _check_tiled(step: Step) -> None:
    axis = step.kwargs.get("axis")
    if axis not in (None, "channel"):  # a tile does not know where it lies
        raise CardError(
            f"The card's step {step.id!r} has a value per {axis!r}, which tiles of an image cannot have."
        )


def _measures(references: Mapping[str, ArrayLike] | None, axes: tuple[str, ...]) -> Callable[[str], Measure]:
    def find(name: str) -> Measure:
        if references is None or name not in references:
            known = ", ".join(references or ()) or "none"
            raise CardError(f"The card's processing refers to the tensor {name!r}; known here: {known}.")
        return measure_of(references[name], axes, mixes=False)

    return find
