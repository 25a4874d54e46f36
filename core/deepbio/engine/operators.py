"""From a processing step of a card to a function of a block of pixels.

The functions take float32 blocks, may change them, and return float32 blocks of the same shape.
See :mod:`deepbio.engine.steps`, which is what others use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deepbio.engine.statistics import Measure, Transform, along
from deepbio.errors import CardError
from deepbio.library.card import Step

__all__ = ["compile_step", "known_steps", "reads_image", "same"]

EPS = 1e-6


def same(pixels: np.ndarray) -> np.ndarray:
    """Leave the pixels as they are."""
    return pixels


def reads_image(step: Step) -> bool:
    """Whether a step needs statistics."""
    if step.id == "clip":
        return step.kwargs.get("min_percentile") is not None or step.kwargs.get("max_percentile") is not None
    return step.id in ("zero_mean_unit_variance", "scale_range", "scale_mean_variance")


def compile_step(
    step: Step,
    axes: tuple[str, ...],
    measure: Measure | None,
    before: Transform,
    reference: Callable[[str], Measure],
) -> Transform:
    """Turn a step into a function of a float32 block, which it may change."""
    if step.id == "clip":
        return _clip(step.kwargs, measure, before)
    if step.id in _MEASURED and measure is not None:
        return _MEASURED[step.id](step.kwargs, measure, before, reference)
    if step.id not in _SIMPLE:
        raise CardError(
            f"The processing step {step.id!r} is not known; known are {', '.join(sorted(known_steps()))}."
        )
    try:
        return _SIMPLE[step.id](step.kwargs, axes)
    except (KeyError, TypeError, ValueError) as error:
        raise CardError(
            f"The card's step {step.id!r} has wrong arguments {dict(step.kwargs)}: {error!r}."
        ) from error


def known_steps() -> tuple[str, ...]:
    """Names of all steps."""
    return ("clip", *_SIMPLE, *_MEASURED)


def _number(kwargs: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = kwargs.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CardError(f"The card's processing has {name} {value!r}; expected a number.")
    return float(value)


def _joint(kwargs: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The axes that are taken jointly; None for all."""
    axes = kwargs.get("axes")
    if axes is not None and not isinstance(axes, (list, tuple)):
        raise CardError(f"The card's processing has axes {axes!r}; expected a list of names.")
    return None if axes is None else tuple(axes)


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
        return same
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
    axes = _joint(kwargs)
    # as bioimageio.core: a percentile is a value of the image, unless taken over the whole data set
    method = "linear" if axes is None or "batch" in axes else "inverted_cdf"
    limits: list[np.ndarray | None] = []
    for side in ("min", "max"):
        limit = None if kwargs.get(side) is None else np.asarray(_number(kwargs, side), np.float32)
        if kwargs.get(f"{side}_percentile") is not None and measure is not None:
            fraction = _number(kwargs, f"{side}_percentile") / 100
            limit = measure.quantiles(axes, [fraction], method, before)[0].astype(np.float32)
        limits.append(limit)
    low, high = limits
    if low is None and high is None:
        raise CardError("The card's step 'clip' has neither a lower nor an upper limit.")
    return lambda pixels: np.clip(pixels, low, high, out=pixels)


def _zero_mean(
    kwargs: Mapping[str, Any], measure: Measure, before: Transform, reference: Callable[[str], Measure]
) -> Transform:
    mean, std = measure.moments(_joint(kwargs), before)
    return _affine(mean, std + _number(kwargs, "eps", EPS))


def _scale_range(
    kwargs: Mapping[str, Any], measure: Measure, before: Transform, reference: Callable[[str], Measure]
) -> Transform:
    low_percentile, high_percentile = (
        _number(kwargs, "min_percentile", 0.0),
        _number(kwargs, "max_percentile", 100.0),
    )
    if not 0 <= low_percentile < high_percentile <= 100:
        raise CardError(
            f"The card's step 'scale_range' has percentiles {low_percentile} and {high_percentile}."
        )
    other = kwargs.get("reference_tensor")
    where, first = (measure, before) if other is None else (reference(str(other)), same)
    fractions = [low_percentile / 100, high_percentile / 100]
    low, high = where.quantiles(_joint(kwargs), fractions, "linear", first)
    return _affine(low, high - low + _number(kwargs, "eps", EPS))


def _scale_mean_variance(
    kwargs: Mapping[str, Any], measure: Measure, before: Transform, reference: Callable[[str], Measure]
) -> Transform:
    eps = _number(kwargs, "eps", EPS)
    mean, std = measure.moments(_joint(kwargs), before)
    other_mean, other_std = reference(str(kwargs.get("reference_tensor"))).moments(_joint(kwargs), same)
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
