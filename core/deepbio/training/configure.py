"""From a fingerprint to the shape of the work: grid, patch, batch, stages, normalisation.

The rules follow nnU-Net (Isensee et al., Nature Methods 18:203, 2021,
doi:10.1038/s41592-020-01008-z) where they were shown to hold over many data sets: spacing, patch
and stages; the budget is bytes of this engine's networks instead of a reference GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepbio.engine.geometry import GridSpec
from deepbio.errors import OptionError
from deepbio.image import RGB
from deepbio.training.fingerprint import Fingerprint

__all__ = [
    "CONFIGURATIONS",
    "Budget",
    "Configuration",
    "configurations",
    "normalisation",
    "stages",
    "training_bytes",
]

CONFIGURATIONS = ("2d", "3d", "3d_lowres")

_THICK = 3.0  # times the finest spacing: slices, not voxels
_THIN = 16  # slices, below which a stack gives 3D networks little to look along
_LARGEST_VOLUME = 256**3  # voxels of a patch before it is cut to the images and the memory
_EDGE_2D = 192
_LOWRES = 4  # times the patch: larger images also get a plan at lower resolution
_COARSER = 1.03
_LEAST_EDGE = 8  # of what is halved once more: 4 pixels remain
_LEAST_PATCH = 16  # along each axis, where images are as large: less shows nothing
_STAGES = {2: 5, 3: 6}
_WIDE_MEMORY = 4e9  # bytes, from which networks have 32 features at full resolution instead of 16
_CROP = 0.75  # of the volume: less inside the non-zero box, and only the box is computed
_BATCH = {2: 8, 3: 4}
_SHARE_OF_DATA = 0.05  # of all voxels: more in one batch teaches no faster


@dataclass(frozen=True)
class Configuration:
    """One way to train on a data set.

    Attributes
    ----------
    name : {"2d", "3d", "3d_lowres"}
        Its name.
    grid : dict
        The grid to work on, as `GridSpec.to_card` gives it; empty for the images' own.
    size : tuple of int
        Median size of an image on that grid.
    patch : tuple of int
        Size of the patches.
    batch : int
        Patches per step.
    arguments : dict
        Of the network: features, strides and kernels.
    bytes : int
        Memory that a training step is expected to take.
    """

    name: str
    grid: dict[str, Any]
    size: tuple[int, ...]
    patch: tuple[int, ...]
    batch: int
    arguments: dict[str, Any]
    bytes: int

    @property
    def summary(self) -> dict[str, Any]:
        """In short, for the list of alternatives in a plan."""
        return {
            "spacing": self.grid.get("spacing", []),
            "size": list(self.size),
            "patch": list(self.patch),
            "batch": self.batch,
            "features": self.arguments["features"],
            "memory_gb": round(self.bytes / 1e9, 2),
        }


@dataclass(frozen=True)
class Budget:
    """What a training step may take.

    Attributes
    ----------
    memory : float
        Bytes.
    scores : int
        Channels that the network gives.
    """

    memory: float
    scores: int = 3


def configurations(seen: Fingerprint, budget: Budget) -> dict[str, Configuration]:
    """Ways to train on a data set, the recommended one first.

    Parameters
    ----------
    seen : Fingerprint
        Of the training cases.
    budget : Budget
        What a training step may take.

    Returns
    -------
    dict of str to Configuration
        2D images have "2d" only. Volumes have "3d"; "2d" (slice by slice) where slices are thick
        and all volumes are cut along the same axis, before "3d" where there are fewer than 16 of
        them; and "3d_lowres" where the median volume is above 4 times the patch.
    """
    if seen.dims == 2:
        return {"2d": _flat(seen, budget)}
    full = _volume("3d", seen, _target_spacing(seen), budget)
    found = {"3d": full}
    spacing = seen.spacing
    thick = max(spacing) > _THICK * min(spacing) and spacing.index(max(spacing)) == 0
    if thick and seen.one_orientation:
        slices = _slices(seen, budget)
        found = {"2d": slices, **found} if seen.size[0] < _THIN else {**found, "2d": slices}
    if math.prod(full.size) > _LOWRES * math.prod(full.patch):
        found["3d_lowres"] = _lower(seen, full, budget)
    return found


# --- the grid --------------------------------------------------------------------------------------


def _target_spacing(seen: Fingerprint) -> tuple[float, ...]:
    """The median; along a coarse axis the 10th percentile, so that thin slices lose little.

    It is never finer than the other axes.
    """
    spacing = list(seen.spacing)
    axis = spacing.index(max(spacing))
    others = [s for k, s in enumerate(spacing) if k != axis]
    few = seen.size[axis] * _THICK < min(n for k, n in enumerate(seen.size) if k != axis)
    if spacing[axis] > _THICK * min(spacing) and few:
        spacing[axis] = max((seen.fine_spacing or seen.spacing)[axis], *others)
    return tuple(spacing)


def _grid(seen: Fingerprint, spacing: Sequence[float]) -> dict[str, Any]:
    deep = len(spacing) == 3
    crop = _crop(seen) if deep else ""
    if seen.unit == "pixel":
        return GridSpec(crop=crop).to_card()
    rounded = tuple(float(f"{s:.5g}") for s in spacing)
    return GridSpec(rounded, seen.unit, seen.orientation if deep else "", crop).to_card()


def _crop(seen: Fingerprint) -> str:
    return "nonzero" if seen.nonzero < _CROP else ""


def _size_at(seen: Fingerprint, spacing: Sequence[float]) -> tuple[int, ...]:
    """Median size of what is computed, on a grid of this spacing."""
    # the box is as if it took the same part of each axis
    part = np.cbrt(seen.nonzero) if _crop(seen) else 1.0
    return tuple(
        max(1, round(n * part * s / t)) for n, s, t in zip(seen.size, seen.spacing, spacing, strict=True)
    )


# --- patch, batch and network ----------------------------------------------------------------------


def stages(
    spacing: Sequence[float], patch: Sequence[int], most: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Strides and kernels of a U-Net for patches of this size.

    An axis is halved while at least 4 pixels remain and its pixels are less than twice as long as
    the shortest (of the axes that can still be halved); it gets kernels of 3 from the stage on
    where its pixels are at most twice as long as the shortest.

    Parameters
    ----------
    spacing : sequence of float
        Of the grid.
    patch : sequence of int
        Size of the patches.
    most : int
        Most stages.

    Returns
    -------
    strides, kernels : list of list of int
        One entry per stage.

    Examples
    --------
    >>> stages((5.0, 1.0, 1.0), (16, 64, 64), 6)[0]
    [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    """
    length, left = np.array(spacing, float), np.array(patch, float)
    wide = length <= 2 * length.min()
    strides = [[1] * len(left)]
    kernels = [[3 if one else 1 for one in wide]]
    while len(strides) < most:
        large = left >= _LEAST_EDGE
        if not large.any():
            break
        step = np.where(large & (length < 2 * length[large].min()), 2, 1)
        length, left = length * step, left / step
        wide |= length <= 2 * length.min()
        strides.append(step.tolist())
        kernels.append([3 if one else 1 for one in wide])
    return strides, kernels


def training_bytes(arguments: dict[str, Any], patch: Sequence[int], batch: int, scores: int = 3) -> int:
    """Bytes that a training step of a U-Net is expected to take, in float32.

    For each stage of n pixels and f features the encoder keeps 4 maps of n * f numbers for the
    backward pass (two convolutions and their normalisations; rectifiers work in place) and the
    decoder 7 (the upsampled map, both halves of the concatenation, two convolutions and their
    normalisations); gradients and work space at full resolution take 10 more at the peak, and the
    loss 8 maps for each score. Weights are held five times: themselves, their gradient, two moments
    and the moving average. Measured on a CPU: 0.75 GB where this says 0.73 (16 features, 48 x 64 x
    64), 1.6 where it says 2.0 (32 features, 64 x 64 x 64), 0.65 where it says 0.58 (2D, 256 x 256).

    Parameters
    ----------
    arguments : dict
        ``features``, ``strides`` and ``kernels`` of the network.
    patch : sequence of int
        Size of a patch.
    batch : int
        Patches per step.
    scores : int
        Channels that the network gives.
    """
    features, kernels = arguments["features"], arguments["kernels"]
    pixels, weights = float(math.prod(patch)), 0.0
    numbers = 8 * scores * pixels
    for k, (width, stride, kernel) in enumerate(zip(features, arguments["strides"], kernels, strict=True)):
        pixels /= math.prod(stride)
        deepest = k == len(features) - 1
        numbers += pixels * width * ((4 if deepest else 11) + (10 if k == 0 else 0))
        before = features[k - 1] if k else 1
        weights += math.prod(kernel) * (before * width + width**2 * (1 if deepest else 4))
    return round(4 * (batch * numbers + 5 * weights))


def _arguments(spacing: Sequence[float], patch: Sequence[int], budget: Budget) -> dict[str, Any]:
    dims = len(patch)
    strides, kernels = stages(spacing, patch, _STAGES[dims])
    # multiples of 16: what vector units of CPUs and tensor cores take without padding
    if dims == 2:
        features = [min(32 * 2**k, 192) for k in range(len(strides))]
    else:
        base = 32 if budget.memory >= _WIDE_MEMORY else 16
        features = [min(base * 2**k, 10 * base) for k in range(len(strides))]
    return {"features": features, "strides": strides, "kernels": kernels}


def _fit(
    spacing: Sequence[float], size: Sequence[int], wanted: np.ndarray, budget: Budget
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The largest patch of which two fit into memory: cut where it covers most of the image.

    It is brought to what the stages can halve: upwards in 3D, where images are small, else downwards.
    """
    patch = np.minimum(np.maximum(np.round(wanted), _LEAST_EDGE), size).astype(int)
    while True:
        arguments = _arguments(spacing, patch.tolist(), budget)
        divisor = np.prod(arguments["strides"], axis=0)
        whole = -(-patch // divisor) if len(patch) == 3 else patch // divisor
        patch = whole * divisor
        if training_bytes(arguments, patch.tolist(), 2, budget.scores) <= budget.memory:
            return tuple(int(n) for n in patch), arguments
        can = patch - divisor >= np.minimum(size, _LEAST_PATCH)
        if not can.any():
            raise OptionError(
                f"Two patches of {tuple(patch.tolist())} pixels do not fit into {budget.memory / 1e9:.2g} GB.",
                "Give training more memory (--memory GB).",
            )
        axis = int(np.where(can, patch / np.array(size), -1.0).argmax())
        patch[axis] -= divisor[axis]


def _batch(arguments: dict[str, Any], patch: Sequence[int], voxels: float, budget: Budget) -> int:
    """Patches that memory holds, 2 to 8 (2D) or 4 (3D), and of volumes not too much of the data at once."""
    one = training_bytes(arguments, patch, 1, budget.scores)
    share = _SHARE_OF_DATA * voxels / math.prod(patch)
    return int(max(2, min(_BATCH[len(patch)], budget.memory // one, share)))


def _volume(name: str, seen: Fingerprint, spacing: Sequence[float], budget: Budget) -> Configuration:
    size = _size_at(seen, spacing)
    wanted = np.cbrt(_LARGEST_VOLUME * math.prod(spacing)) / np.array(spacing)
    patch, arguments = _fit(spacing, size, wanted, budget)
    batch = _batch(arguments, patch, float(math.prod(size)) * seen.cases, budget)
    return Configuration(
        name,
        _grid(seen, spacing),
        size,
        patch,
        batch,
        arguments,
        training_bytes(arguments, patch, batch, budget.scores),
    )


def _lower(seen: Fingerprint, full: Configuration, budget: Budget) -> Configuration:
    """Coarser, the finest axes first, until a patch holds a quarter of the median volume."""
    spacing = np.array(_target_spacing(seen))
    lower = full
    while math.prod(lower.size) > _LOWRES * math.prod(lower.patch):
        spacing[spacing < 2 * spacing.min()] *= _COARSER
        lower = _volume("3d_lowres", seen, tuple(spacing.tolist()), budget)
    return lower


def _slices(seen: Fingerprint, budget: Budget) -> Configuration:
    """Slices of volumes, in-plane; through the plane the images keep their own spacing."""
    plane = seen.spacing[1:]
    patch, arguments = _fit(plane, seen.size[1:], np.full(2, _EDGE_2D), budget)
    voxels = float(math.prod(seen.size)) * seen.cases
    batch = _batch(arguments, patch, voxels, budget)
    grid = _grid(seen, plane)
    return Configuration(
        "2d", grid, seen.size, patch, batch, arguments, training_bytes(arguments, patch, batch, budget.scores)
    )


def _flat(seen: Fingerprint, budget: Budget) -> Configuration:
    """2D images: about 192 pixels, within the smallest image."""
    patch, arguments = _fit(seen.spacing, seen.smallest, np.full(2, _EDGE_2D), budget)
    batch = _batch(arguments, patch, math.inf, budget)
    grid = _grid(seen, seen.spacing)
    return Configuration(
        "2d", grid, seen.size, patch, batch, arguments, training_bytes(arguments, patch, batch, budget.scores)
    )


# --- intensities -----------------------------------------------------------------------------------


def normalisation(seen: Fingerprint, dims: int, modality: str) -> list[dict[str, Any]]:
    """BioImage.IO steps: CT by the foreground's statistics, all else by each image's percentiles.

    Colours keep their proportions; channels of other images are measured one by one, as they may be of different
    sequences or stains.

    CT numbers mean the same in every image: they are clipped to the 0.5th and 99.5th percentile of
    labelled voxels, then their mean is subtracted and they are divided by their deviation.

    Parameters
    ----------
    seen : Fingerprint
        Of the training cases.
    dims : int
        Of the network.
    modality : str
        ``"CT"``, or anything else.
    """
    if modality == "CT":
        told = {name: float(f"{value:.6g}") for name, value in seen.foreground_intensity.items()}
        spread = max(told["std"], 1e-3)
        return [
            {"id": "clip", "kwargs": {"min": told["low"], "max": told["high"]}},
            {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": told["mean"], "std": spread}},
        ]
    alone = max(seen.channels) > 1 and (seen.dims == 3 or max(seen.channels) != len(RGB))
    axes = [*([] if alone else ["channel"]), *"zyx"[3 - dims :]]
    kwargs = {"axes": axes, "min_percentile": 1.0, "max_percentile": 99.8}
    return [{"id": "scale_range", "kwargs": kwargs}]
