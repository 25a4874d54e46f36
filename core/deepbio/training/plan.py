"""From the data to a training plan: fingerprint, decisions, and a YAML that users can edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deepbio.cases import Case, load_sample
from deepbio.errors import ImageError, OptionError
from deepbio.io import atomic
from deepbio.training.augment import Augmentation
from deepbio.training.targets import channel_names

__all__ = ["Fingerprint", "Plan", "make_fingerprint", "make_plan", "read_plan", "write_plan"]

_MAX_CASES = 200  # a fingerprint from so many cases does not change with more
_CLASS_LIMIT = 16  # more different labels than this are objects


@dataclass(frozen=True)
class Fingerprint:
    """What the training cases are like.

    Attributes
    ----------
    cases : int
        Cases looked at.
    dims : int
        2 or 3.
    channels : tuple of int
        Channel counts that occur.
    size : tuple of int
        Median size per axis.
    smallest : tuple of int
        Least size per axis.
    spacing : tuple of float
        Median spacing per axis.
    unit : str
        Its unit.
    intensity : dict of str to float
        Percentiles 0.5, 50, 99.5, mean and standard deviation over all cases' pixels.
    labels : int
        Different non-zero labels over all cases.
    objects : int
        Median number of labels per case.
    object_diameter : tuple of float
        5th, 50th and 95th percentile of object diameters in pixels (of equal area or volume).
    foreground : float
        Mean fraction of labelled pixels.
    class_fractions : dict of int to float
        Mean fraction of pixels per label, for up to 16 labels.
    groups : dict of str to int
        Cases per group.
    """

    cases: int
    dims: int
    channels: tuple[int, ...]
    size: tuple[int, ...]
    smallest: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    intensity: dict[str, float]
    labels: int
    objects: int
    object_diameter: tuple[float, float, float]
    foreground: float
    class_fractions: dict[int, float]
    groups: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """Everything that decides a training run; the same plan, data and seed give the same model.

    Attributes
    ----------
    target : {"instances", "classes"}
        Separate objects, or one class per pixel.
    dims, channels, classes : int
        Spatial axes, input channels, and foreground classes.
    network : dict
        Name and arguments for `deepbio.networks.build`.
    patch : tuple of int
        Size of the patches.
    batch, steps : int
        Patches per step, and steps.
    normalisation : list of dict
        BioImage.IO preprocessing steps, applied per image.
    augmentation : Augmentation
        How patches vary.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up, then falls by a cosine to 0.
    ema : float
        Decay of the weights' moving average, which is what is kept.
    object_patches : float
        Fraction of the patches that are centred on an object drawn at random.
    group_power : float
        A group of n cases is drawn in proportion to n ** group_power (0: evenly, 1: as they are).
    object_size : float
        Size in pixels of a typical object, for the weights of small ones.
    validate_every : int
        Steps between validations.
    seed : int
        Of every random draw.
    """

    target: str
    dims: int
    channels: int
    classes: int
    network: dict[str, Any]
    patch: tuple[int, ...]
    batch: int
    steps: int
    normalisation: list[dict[str, Any]]
    augmentation: Augmentation = field(default_factory=Augmentation)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema: float = 0.998
    object_patches: float = 0.5
    group_power: float = 0.35
    object_size: float = 300.0
    validate_every: int = 500
    seed: int = 0

    @property
    def scores(self) -> int:
        """Channels that the network gives."""
        return len(channel_names(self.dims)) if self.target == "instances" else self.classes + 1


def make_fingerprint(cases: Sequence[Case]) -> Fingerprint:
    """Measure the training cases (at most 200 of them, evenly chosen).

    Raises
    ------
    ImageError
        If 2D and 3D cases are mixed or no case has labels.
    """
    chosen = [cases[i] for i in np.linspace(0, len(cases) - 1, min(len(cases), _MAX_CASES)).astype(int)]
    sizes, spacings, channels, counts, diameters, pixels = [], [], set(), [], [], []
    fractions: dict[int, float] = {}
    labels: set[int] = set()
    foreground, unit = [], "pixel"
    for case in chosen:
        sample = load_sample(case)
        dims = sample.labels.ndim
        sizes.append(sample.labels.shape)
        spacings.append(sample.grid.spacing)
        unit = sample.grid.unit
        channels.add(sample.image.shape[0])
        area = np.bincount(sample.labels.ravel())
        present = np.flatnonzero(area[1:]) + 1
        labels.update(present.tolist())
        counts.append(len(present))
        diameters.append(_diameter(area[present], dims))
        foreground.append(float(area[1:].sum() / area.sum()))
        for label in present[:_CLASS_LIMIT]:
            fractions[int(label)] = fractions.get(int(label), 0.0) + float(area[label] / area.sum()) / len(
                chosen
            )
        pixels.append(sample.image.reshape(-1)[:: max(1, sample.image.size // 20000)].astype(np.float64))
    if len({len(size) for size in sizes}) > 1:
        raise ImageError("The data set mixes 2D and 3D images; train one model for each.")
    if not labels:
        raise ImageError(
            "No case of the data set has any label.", "Check that the label files are label images."
        )
    values, spread = np.concatenate(pixels), np.concatenate(diameters)
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    groups: dict[str, int] = {}
    for case in cases:
        groups[case.group] = groups.get(case.group, 0) + 1
    return Fingerprint(
        cases=len(chosen),
        dims=len(sizes[0]),
        channels=tuple(sorted(channels)),
        size=tuple(int(n) for n in np.median(sizes, axis=0)),
        smallest=tuple(int(n) for n in np.min(sizes, axis=0)),
        spacing=tuple(float(s) for s in np.median(spacings, axis=0)),
        unit=unit,
        intensity={
            "low": float(low),
            "median": float(middle),
            "high": float(high),
            "mean": float(values.mean()),
            "std": float(values.std()),
        },
        labels=len(labels),
        objects=int(np.median(counts)),
        object_diameter=tuple(float(d) for d in np.percentile(spread, (5, 50, 95))),  # type: ignore[arg-type]
        foreground=float(np.mean(foreground)),
        class_fractions=dict(sorted(fractions.items())) if len(labels) <= _CLASS_LIMIT else {},
        groups=dict(sorted(groups.items())),
    )


def _diameter(area: np.ndarray, dims: int) -> np.ndarray:
    """Diameter of the circle or sphere of this area or volume."""
    size = area.astype(np.float64)
    return np.asarray(np.sqrt(4 * size / np.pi) if dims == 2 else np.cbrt(6 * size / np.pi))


def make_plan(seen: Fingerprint, *, target: str = "auto", steps: int | None = None, seed: int = 0) -> Plan:
    """Decide how to train from what the data is like.

    Parameters
    ----------
    seen : Fingerprint
        Of the training cases.
    target : {"auto", "instances", "classes"}
        What the labels mean. "auto": more than 16 different labels are objects.
    steps : int, optional
        Training steps; by default 250 per case, between 2000 and 40000.
    seed : int
        Of every random draw.

    Returns
    -------
    Plan
    """
    if target not in ("auto", "instances", "classes"):
        raise OptionError(f"The target is {target!r}; expected auto, instances or classes.")
    if target == "auto":
        target = "instances" if seen.labels > _CLASS_LIMIT else "classes"
    classes = 1 if target == "instances" else max(seen.class_fractions, default=1)
    channels = max(seen.channels)
    if any(count not in (1, channels) for count in seen.channels):
        raise ImageError(
            f"The images have {seen.channels} channels; expected one number, or grey beside colour."
        )
    arguments = _network_arguments(
        seen, channels, len(channel_names(seen.dims)) if target == "instances" else classes + 1
    )
    spacing = np.array(seen.spacing)
    flat = seen.dims == 2
    augmentation = Augmentation(
        rotation=180.0 if flat else 30.0,
        in_plane=bool(not flat and spacing.max() > 1.5 * spacing.min()),
        mirror=tuple(range(seen.dims)),
        object_size=_object_sizes(seen) if target == "instances" else None,
        mix=0.08 if channels == 3 else 0.0,
    )
    diameter = seen.object_diameter[1]
    return Plan(
        target=target,
        dims=seen.dims,
        channels=channels,
        classes=classes,
        network={"name": "unet", "arguments": arguments},
        patch=_patch(seen, arguments["strides"]),
        batch=8 if flat else 2,
        steps=steps or int(np.clip(250 * seen.cases, 2000, 40000)),
        normalisation=[
            {
                "id": "scale_range",
                "kwargs": {
                    "axes": ["channel", *"zyx"[3 - seen.dims :]],
                    "min_percentile": 1.0,
                    "max_percentile": 99.8,
                },
            }
        ],
        augmentation=augmentation,
        object_size=float(np.pi / 4 * diameter**2 if flat else np.pi / 6 * diameter**3),
        seed=seed,
    )


def _object_sizes(seen: Fingerprint) -> tuple[float, float] | None:
    """Diameters that objects are zoomed to, or nothing where all are alike or hardly seen."""
    low, _, high = seen.object_diameter
    low = max(low, 6.0)  # fewer pixels have no shape
    return (round(low, 1), round(high, 1)) if high > 1.5 * low else None


def _network_arguments(seen: Fingerprint, channels: int, scores: int) -> dict[str, Any]:
    """Arguments of the U-Net: stages as the images' size allows, coarse axes left alone at first."""
    spacing = np.array(seen.spacing)
    strides = _strides(spacing, np.array(seen.smallest), seen.dims)
    coarse = spacing > 3 * spacing.min()
    first = [1 if one else 3 for one in coarse]
    return {
        "dims": seen.dims,
        "in_channels": channels,
        "out_channels": scores,
        "features": [min(24 * 2**i, 192 if seen.dims == 2 else 256) for i in range(len(strides))],
        "strides": [list(stride) for stride in strides],
        "kernels": [first, *([3] * seen.dims for _ in strides[1:])],
        "norm": "batch" if seen.dims == 2 else "instance",
        "deep_supervision": True,
    }


def _patch(seen: Fingerprint, strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """About 192 pixels in 2D and 96 in 3D, fewer along coarse axes and in small images."""
    divisor = np.prod(strides, axis=0)
    spacing = np.array(seen.spacing)
    wanted = np.full(2, 192.0) if seen.dims == 2 else 96 * spacing.min() / spacing
    patch = np.minimum(np.ceil(wanted / divisor), np.maximum(np.array(seen.smallest) // divisor, 1)) * divisor
    return tuple(int(n) for n in patch)


def _strides(spacing: np.ndarray, smallest: np.ndarray, dims: int) -> list[tuple[int, ...]]:
    strides = [(1,) * dims]
    scale = spacing.astype(float).copy()
    left = smallest.astype(float).copy()
    while len(strides) < (5 if dims == 2 else 6):
        step = np.where((scale < 2 * scale.min()) & (left >= 16), 2, 1)
        if (step == 1).all():
            break
        strides.append(tuple(int(s) for s in step))
        scale, left = scale * step, left / step
    return strides


def write_plan(path: Path, plan: Plan, seen: Fingerprint | None = None) -> None:
    """Write a plan, and the fingerprint it came from, as YAML."""
    content: dict[str, Any] = {"plan": _plain(asdict(plan))}
    if seen is not None:
        content["fingerprint"] = _plain(asdict(seen))
    with atomic(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def read_plan(path: Path) -> Plan:
    """Read back a plan that a user may have edited.

    Raises
    ------
    OptionError
        If the file is not a plan, or a field is unknown or missing.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))["plan"]
        entries: dict[str, Any] = content.get("augmentation", {})
        ranges = {name: tuple(value) for name, value in entries.items() if isinstance(value, list)}
        content["augmentation"] = Augmentation(**(entries | ranges))
        plan = Plan(**content)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        known = ", ".join(f.name for f in fields(Plan))
        raise OptionError(
            f"{str(path)!r} is not a training plan: {error}.", f"Known fields: {known}."
        ) from error
    return replace(plan, patch=tuple(plan.patch))


def _plain(value: Any) -> Any:
    """Lists for tuples, so that YAML stays plain."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
