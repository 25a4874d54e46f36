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
from typing import Any

import numpy as np

from deepbio.engine.statistics import ArrayMeasure, Measure, Transform, along, check_finite, measure_of
from deepbio.errors import CardError
from deepbio.image import ArrayLike
from deepbio.library.card import SPATIAL, Step

__all__ = ["Normaliser", "apply_output_steps", "apply_steps", "needs_whole", "prepare"]

EPS = 1e-6


class Normaliser:
    """The steps of one image, ready to be applied to any block of it.

    Made by :func:`prepare`.
    """

    def __init__(self, transforms: Sequence[Transform], *, finite: bool) -> None:
        self._transforms = tuple(transforms)
        self._finite = finite

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
        return _chain(self._transforms, np.array(block, np.float32))


def prepare(
    source: ArrayLike,
    axes: Sequence[str],
    steps: Sequence[Step],
    references: Mapping[str, ArrayLike] | None = None,
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
        wanted = _reads(step)
        if wanted and measure is None:
            mixes = any(earlier.id == "softmax" for earlier in steps[:number])
            measure = measure_of(source, names, mixes=mixes)
        elif not wanted:
            _check_tiled(step)
        before = partial(_chain, tuple(transforms))
        transforms.append(_compile(step, names, measure, before, _measures(references, names)))
    return Normaliser(transforms, finite=measure is not None or np.dtype(source.dtype).kind != "f")


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
        measure = ArrayMeasure(pixels, names) if _reads(step) else None
        pixels = _compile(step, names, measure, _same, _measures(references, names))(pixels)
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
    return any(_reads(step) for step in steps)


# --- from a step to a function of a block --------------------------------------------------------


def _same(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _chain(transforms: Sequence[Transform], pixels: np.ndarray) -> np.ndarray:
    for transform in transforms:
        pixels = transform(pixels)
    return pixels


def _reads(step: Step) -> bool:
    """Whether a step needs statistics."""
    if step.id == "clip":
        return step.kwargs.get("min_percentile") is not None or step.kwargs.get("max_percentile") is not None
    return step.id in ("zero_mean_unit_variance", "scale_range", "scale_mean_variance")


def _check_tiled(step: Step) -> None:
    axis = step.kwargs.get("axis")
    if axis not in (None, "channel"):
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


def _compile(
    step: Step,
    axes: tuple[str, ...],
    measure: Measure | None,
    before: Transform,
    reference: Callable[[str], Measure],
) -> Transform:
    """Turn a step into a function of a float32 block, which it may change."""
    simple = _SIMPLE.get(step.id)
    try:
        if step.id == "clip":
            return _clip(step.kwargs, measure, before)
        if simple is not None:
            return simple(step.kwargs, axes)
        measured = _MEASURED.get(step.id)
        if measured is None or measure is None:
            raise CardError(
                f"The processing step {step.id!r} is not known; known are {', '.join(sorted(known_steps()))}."
            )
        return measured(step.kwargs, measure, before, reference)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CardError):
            raise
        raise CardError(
            f"The card's step {step.id!r} has wrong arguments {dict(step.kwargs)}: {error!r}."
        ) from error


def known_steps() -> tuple[str, ...]:
    """Names of all steps."""
    return ("clip", *_SIMPLE, *_MEASURED)


def _values(
    kwargs: Mapping[str, Any], name: str, axes: tuple[str, ...], default: float | None = None
) -> np.ndarray:
    """An argument that is one number, or one per entry along ``axis``."""
    value = kwargs[name] if default is None else kwargs.get(name, default)
    if isinstance(value, (list, tuple)) and len(value) > 1:
        return along(value, axes.index(kwargs["axis"]), len(axes))
    return along(value, 0, len(axes))


def _affine(subtract: Any, divide: Any, add: Any = 0.0) -> Transform:
    """``(x - subtract) / divide + add``, in place; NaN-free as long as `divide` is not 0."""
    low, span, offset = (np.asarray(v, np.float32) for v in (subtract, divide, add))

    def transform(pixels: np.ndarray) -> np.ndarray:
        pixels -= low
        pixels /= span
        if offset.any():
            pixels += offset
        return pixels

    return transform


def _ensure_dtype(kwargs: Mapping[str, Any], axes: tuple[str, ...]) -> Transform:
    """Values as the type would hold them; the array stays float32, and integers saturate."""
    dtype = np.dtype(kwargs["dtype"])
    if dtype.kind == "f":
        return _same
    if dtype.kind == "b":
        return lambda pixels: np.not_equal(pixels, 0, out=pixels, casting="unsafe")
    limits = np.iinfo(dtype)
    return lambda pixels: np.clip(np.trunc(pixels, out=pixels), limits.min, limits.max, out=pixels)


def _binarize(kwargs: Mapping[str, Any], axes: tuple[str, ...]) -> Transform:
    threshold = _values(kwargs, "threshold", axes)
    return lambda pixels: np.greater(pixels, threshold, out=pixels, casting="unsafe")


def _scale_linear(kwargs: Mapping[str, Any], axes: tuple[str, ...]) -> Transform:
    gain, offset = _values(kwargs, "gain", axes, 1.0), _values(kwargs, "offset", axes, 0.0)

    def transform(pixels: np.ndarray) -> np.ndarray:
        pixels *= gain
        pixels += offset
        return pixels

    return transform


def _sigmoid(kwargs: Mapping[str, Any], axes: tuple[str, ...]) -> Transform:
    from scipy.special import expit

    return lambda pixels: np.asarray(expit(pixels, out=pixels))


def _softmax(kwargs: Mapping[str, Any], axes: tuple[str, ...]) -> Transform:
    where = axes.index(kwargs.get("axis", "channel"))

    def transform(pixels: np.ndarray) -> np.ndarray:
        pixels -= pixels.max(axis=where, keepdims=True)
        np.exp(pixels, out=pixels)
        pixels /= pixels.sum(axis=where, keepdims=True)
        return pixels

    return transform


def _fixed(kwargs: Mapping[str, Any], axes: tuple[str, ...]) -> Transform:
    # the eps is not in the text of the format, but in bioimageio.core
    return _affine(_values(kwargs, "mean", axes), _values(kwargs, "std", axes) + np.float32(EPS))


def _clip(kwargs: Mapping[str, Any], measure: Measure | None, before: Transform) -> Transform:
    low, high = kwargs.get("min"), kwargs.get("max")
    axes = kwargs.get("axes")
    # as bioimageio.core: a percentile is a value of the image, unless taken over the whole data set
    method = "linear" if axes is None or "batch" in axes else "inverted_cdf"
    for side in ("min", "max"):
        percentile = kwargs.get(f"{side}_percentile")
        if percentile is not None and measure is not None:
            (value,) = measure.quantiles(axes, [percentile / 100], method, before)
            low, high = (value, high) if side == "min" else (low, value)
    if low is None and high is None:
        raise CardError("The card's step 'clip' has neither a lower nor an upper limit.")
    lower = None if low is None else np.asarray(low, np.float32)
    upper = None if high is None else np.asarray(high, np.float32)
    return lambda pixels: np.clip(pixels, lower, upper, out=pixels)


def _zero_mean(
    kwargs: Mapping[str, Any], measure: Measure, before: Transform, reference: Callable[[str], Measure]
) -> Transform:
    mean, std = measure.moments(kwargs.get("axes"), before)
    return _affine(mean, std + float(kwargs.get("eps", EPS)))


def _scale_range(
    kwargs: Mapping[str, Any], measure: Measure, before: Transform, reference: Callable[[str], Measure]
) -> Transform:
    fractions = [
        float(kwargs.get("min_percentile", 0.0)) / 100,
        float(kwargs.get("max_percentile", 100.0)) / 100,
    ]
    other = kwargs.get("reference_tensor")
    where, first = (measure, before) if other is None else (reference(other), _same)
    low, high = where.quantiles(kwargs.get("axes"), fractions, "linear", first)
    return _affine(low, high - low + float(kwargs.get("eps", EPS)))


def _scale_mean_variance(
    kwargs: Mapping[str, Any], measure: Measure, before: Transform, reference: Callable[[str], Measure]
) -> Transform:
    eps = float(kwargs.get("eps", EPS))
    mean, std = measure.moments(kwargs.get("axes"), before)
    other_mean, other_std = reference(kwargs["reference_tensor"]).moments(kwargs.get("axes"), _same)
    return _affine(mean, (std + eps) / (other_std + eps), other_mean)


_SIMPLE: dict[str, Callable[[Mapping[str, Any], tuple[str, ...]], Transform]] = {
    "binarize": _binarize,
    "ensure_dtype": _ensure_dtype,
    "fixed_zero_mean_unit_variance": _fixed,
    "scale_linear": _scale_linear,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}
_MEASURED: dict[
    str, Callable[[Mapping[str, Any], Measure, Transform, Callable[[str], Measure]], Transform]
] = {
    "scale_mean_variance": _scale_mean_variance,
    "scale_range": _scale_range,
    "zero_mean_unit_variance": _zero_mean,
}
