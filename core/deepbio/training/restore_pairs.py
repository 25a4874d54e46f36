"""Inputs and targets of restoration, normalised, in the intensities of the input."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deepbio.cases.restore import RestoreCase, RestoreSample, coarser, load_restore_sample
from deepbio.engine.steps import apply_steps
from deepbio.errors import ImageError, InputMismatch
from deepbio.library.card import steps_of
from deepbio.metrics.restoration import exposed
from deepbio.training.restore_plan import Plan

__all__ = ["Pair", "Pairs", "prepare_pairs"]

_IN_MEMORY = 2 * 2**30  # bytes of images that are kept
_ALIKE = 0.02  # correlation below which two images do not show the same


@dataclass(frozen=True)
class Pair:
    """One spatial image and its target, normalised.

    Attributes
    ----------
    image, target : ndarray of float32, shape (C, [z,] y, x)
        The target is `factor` times as large; it is the image itself where there is no other.
    paired : bool
        Whether the image is a real one of its own, and not made from the target.
    counted : ndarray of bool, shape of the target, or None
        False where a target of its own is overexposed, and so not the truth; None where nothing is.
    """

    image: np.ndarray
    target: np.ndarray
    paired: bool
    counted: np.ndarray | None = None

    @cached_property
    def brightness(self) -> list[tuple[float, float, float]]:
        """Of each channel of the target: its darkest, and mean and spread above that."""
        told = []
        for channel in self.target:
            floor = float(np.percentile(channel, 0.5))
            above = np.maximum(channel - floor, 0)
            told.append((floor, float(above.mean()), max(float(above.std()), 1e-6)))
        return told


class Pairs:
    """The pairs of cases; files are read when they are first needed, and kept as memory allows."""

    def __init__(self, cases: Sequence[RestoreCase], plan: Plan) -> None:
        self.cases, self._plan = list(cases), plan
        self._kept: OrderedDict[int, list[Pair]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> list[Pair]:
        """The pairs of a case: one for each frame (and slice, of a 2D network)."""
        if index not in self._kept:
            pairs = prepare_pairs(load_restore_sample(self.cases[index], self._plan.factor), self._plan)
            self._kept[index] = pairs
            self._bytes += _size(pairs)
            while self._bytes > _IN_MEMORY and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(index)
        return self._kept[index]


def _size(pairs: Sequence[Pair]) -> int:
    return sum(pair.image.nbytes + (pair.target is not pair.image) * pair.target.nbytes for pair in pairs)


def prepare_pairs(sample: RestoreSample, plan: Plan) -> list[Pair]:
    """Normalised pairs of a sample, on each of its frames (and slices).

    The target is brought to the intensities of the input by least squares, so that the network gives
    the units of its input whatever the exposure of the target was.

    Raises
    ------
    ImageError
        If an image is constant, or input and target do not show the same.
    InputMismatch
        If the channels or axes are not those of the plan.
    """
    given = sample.given
    if given.shape[1] != plan.channels:
        raise InputMismatch(
            f"{str(sample.case.path)!r} has {given.shape[1]} channels; the others have {plan.channels}.",
            "Train on images of the same channels.",
        )
    if given.ndim - 2 < plan.dims:
        raise InputMismatch(f"{str(sample.case.path)!r} is 2D; the plan is for stacks.")
    parts = []
    for image, target in zip(_spatial(sample.image, plan), _spatial(sample.target, plan), strict=False):
        parts.append(_pair(image, target, sample.case, plan))
    return parts


def _spatial(array: np.ndarray | None, plan: Plan) -> Iterator[np.ndarray | None]:
    """Images (C, [z,] y, x) of as many axes as the network has."""
    if array is None:
        yield from itertools.repeat(None)
        return
    for frame in array:
        if frame.ndim - 1 > plan.dims:
            yield from np.moveaxis(frame, 1, 0)
        else:
            yield frame


def _pair(image: np.ndarray | None, target: np.ndarray | None, case: RestoreCase, plan: Plan) -> Pair:
    if plan.method != "paired" and not (plan.factor > 1 and image is not None and target is not None):
        # the methods that make their own input take whatever there is
        image, target = (target if image is None else image), None
        if plan.factor > 1:
            assert image is not None, "a case has at least one file"  # noqa: S101
            image, target = coarser(image, (plan.factor,) * plan.dims)
    elif image is None:
        image = target
    assert image is not None, "a case has at least one file"  # noqa: S101
    if image.min() == image.max():
        raise ImageError(
            f"{str(case.path)!r} is constant ({image.flat[0]:g}): there is nothing to learn from it.",
            "Leave it out.",
        )
    paired = target is not None and image is not target
    made = paired and (case.image is None or case.target is None)
    counted = None
    if target is not None and paired and not made:
        counted = _counted(target)
        target = _on_scale(image, target, case, plan.factor)
    axes = ("channel", *"zyx"[3 - plan.dims :])
    steps = steps_of(plan.normalisation)
    normal = apply_steps(image, axes, steps)
    if target is None or not paired:
        return _padded(Pair(normal, normal, False), plan)
    return _padded(Pair(normal, _same_steps(image, normal, target), not made, counted), plan)


def _counted(target: np.ndarray) -> np.ndarray | None:
    """Where the channels of a target are not overexposed; None where none of them is."""
    parts = [exposed(channel) for channel in target]
    if all(part is None for part in parts):
        return None
    return np.stack([np.ones(target.shape[1:], bool) if part is None else part for part in parts])


def _same_steps(image: np.ndarray, normal: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What the steps do to the image, done to the target: they are linear for each channel."""
    result = np.empty_like(target, np.float32)
    for channel, (raw, done) in enumerate(zip(image, normal, strict=True)):
        low, high = np.unravel_index(raw.argmin(), raw.shape), np.unravel_index(raw.argmax(), raw.shape)
        scale = (float(done[high]) - float(done[low])) / max(float(raw[high]) - float(raw[low]), 1e-12)
        result[channel] = (target[channel] - float(raw[low])) * scale + float(done[low])
    return result


def _on_scale(image: np.ndarray, target: np.ndarray, case: RestoreCase, factor: int) -> np.ndarray:
    """The target in the intensities of its input."""
    same = coarser(target, (factor,) * (target.ndim - 1))[0] if factor > 1 else target
    result = np.empty_like(target)
    for channel, (one, truth) in enumerate(zip(image, same, strict=True)):
        x, y = truth - truth.mean(), one - one.mean()
        power = float(np.vdot(x, x))
        alike = float(np.vdot(x, y)) / max(np.sqrt(power * float(np.vdot(y, y))), 1e-12)
        if power == 0 or alike < _ALIKE:
            raise ImageError(
                f"{str(case.image)!r} and {str(case.target)!r} do not show the same: their correlation is "
                f"{alike:.3f}.",
                "Check that the files belong together and are registered, and that neither is constant.",
            )
        slope = float(np.vdot(x, y)) / power  # the noise is in the input: regress it on the target
        result[channel] = slope * (target[channel] - truth.mean()) + one.mean()
    return result


def _padded(pair: Pair, plan: Plan) -> Pair:
    """Images that are smaller than a patch, mirrored until they fill it."""
    short = [(0, max(0, p - n)) for n, p in zip(pair.image.shape[1:], plan.patch, strict=True)]
    if not any(after for _, after in short):
        return pair
    image = np.pad(pair.image, [(0, 0), *short], mode="symmetric")
    if pair.target is pair.image:
        return Pair(image, image, pair.paired)
    wide = [(0, 0), *((0, after * plan.factor) for _, after in short)]
    counted = None if pair.counted is None else np.pad(pair.counted, wide, mode="symmetric")
    return Pair(image, np.pad(pair.target, wide, mode="symmetric"), pair.paired, counted)
