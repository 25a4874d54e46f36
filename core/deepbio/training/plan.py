"""The plan of a training run: made from a fingerprint, written as a YAML that users can edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deepbio.engine.geometry import GridSpec
from deepbio.errors import CardError, ImageError, OptionError
from deepbio.io import atomic
from deepbio.networks.unet import UNet
from deepbio.training.augment import Augmentation
from deepbio.training.configure import Budget, Configuration, configurations, normalisation
from deepbio.training.facts import CLASS_LIMIT
from deepbio.training.fingerprint import Fingerprint
from deepbio.training.refine import check_first_stage, lasting_name
from deepbio.training.settling import mark_of
from deepbio.training.start import started_from, steps_of, trainable
from deepbio.training.targets import channel_names
from deepbio.training.wishes import Wishes

__all__ = ["Plan", "make_plan", "read_plan", "write_plan"]

_GIGABYTE = 1e9
_MEMORY = 8.0  # GB, where nobody says


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
    configuration : {"", "2d", "3d", "3d_lowres"}
        Which of the ways to train on the data this is; empty in plans of older versions.
    grid : dict
        The grid to work on, as on a card (`deepbio.engine.geometry.GridSpec`); empty: the images' own.
    per_slice : bool
        A 2D network that learns from the slices (along the first axis) of volumes.
    folds : int
        Folds of a cross-validation; 0 trains once.
    start : str
        Model whose weights the network begins with; empty for none.
    refine : str
        Of a cascade, the model whose labels the network also sees; empty for none.
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
    configuration: str = ""
    grid: dict[str, Any] = field(default_factory=dict)
    per_slice: bool = False
    folds: int = 0
    start: str = ""
    refine: str = ""

    @property
    def grid_spec(self) -> GridSpec:
        """The grid on which images of the data set are brought for training."""
        spec = GridSpec.from_card(self.grid)
        # slices are taken where they are: the axis through them keeps its own spacing
        return replace(spec, spacing=(None, *spec.spacing)) if self.per_slice and spec.spacing else spec

    @property
    def scores(self) -> int:
        """Channels that the network gives."""
        return len(channel_names(self.dims)) if self.target == "instances" else self.classes + 1


def make_plan(seen: Fingerprint, wishes: Wishes | None = None) -> Plan:
    """Decide how to train from what the data is like.

    Parameters
    ----------
    seen : Fingerprint
        Of the training cases.
    wishes : Wishes, optional
        What the user asked for.

    Returns
    -------
    Plan

    Raises
    ------
    OptionError
        If the configuration that was asked for does not fit the data.
    ImageError
        If the channels of the images differ.
    """
    wishes = wishes or Wishes()
    target = wishes.target
    if target == "auto":
        target = "instances" if seen.labels > CLASS_LIMIT and not wishes.classes else "classes"
    classes = max(*wishes.classes, *seen.class_fractions, seen.highest_label, 1)
    classes = 1 if target == "instances" else classes
    scores = len(channel_names(seen.dims)) if target == "instances" else classes + 1
    chosen = _choose(seen, wishes, scores)
    dims = len(chosen.patch)
    channels = max(seen.channels)
    if any(count not in (1, channels) for count in seen.channels):
        raise ImageError(
            f"The images have {seen.channels} channels; expected one number, or grey beside colour."
        )
    modality = seen.modality if wishes.modality == "auto" else wishes.modality
    steps = normalisation(seen, dims, modality if channels == 1 else "other")
    diameter = seen.object_diameter[1]
    plan = Plan(
        target=target,
        dims=dims,
        channels=channels,
        classes=classes,
        network=_network(chosen, channels, scores),
        patch=chosen.patch,
        batch=chosen.batch,
        steps=wishes.steps or int(np.clip(250 * seen.cases, 2000, 40000)),
        normalisation=steps,
        augmentation=_augmentation(seen, target, chosen, wishes.sides, steps),
        object_patches=0.5 if target == "instances" else round(1 / 3, 4),
        object_size=float(np.pi / 4 * diameter**2 if seen.dims == 2 else np.pi / 6 * diameter**3),
        seed=wishes.seed,
        configuration=chosen.name,
        grid=chosen.grid,
        per_slice=seen.dims == 3 and dims == 2,
        folds=wishes.folds,
    )
    if wishes.start:
        return _going_on(plan, seen, wishes)
    return _refining(plan, wishes) if wishes.refine else plan


def _network(chosen: Configuration, channels: int, scores: int) -> dict[str, Any]:
    """Name and arguments of the network of a configuration."""
    dims = len(chosen.patch)
    arguments = {
        "dims": dims,
        "in_channels": channels,
        "out_channels": scores,
        **chosen.arguments,
        "norm": "batch" if dims == 2 else "instance",
        "deep_supervision": True,
    }
    return {"name": "unet", "arguments": arguments}


def _going_on(plan: Plan, seen: Fingerprint, wishes: Wishes) -> Plan:
    """The plan to fine-tune a model: what its weights rest on is as on its card."""
    card, known = started_from(wishes.start, plan.dims)
    found, expected = plan.channels, int(known["in_channels"])
    if found not in (1, expected):
        raise OptionError(
            f"The images have {found} channels; the model {wishes.start!r} takes {expected}.",
            "Start from another model, or leave --start out.",
        )
    arguments = trainable(known) | {"out_channels": plan.scores}
    divisor = UNet(**arguments).divisor
    grid = dict(card.deepbio.get("grid") or {})
    return replace(
        plan,
        channels=expected,
        network={"name": "unet", "arguments": arguments},
        patch=tuple(max(n // d, 1) * d for n, d in zip(plan.patch, divisor, strict=True)),
        steps=wishes.steps or int(np.clip(100 * seen.cases, 500, 10000)),
        normalisation=steps_of(card),
        learning_rate=plan.learning_rate / 2,
        grid=grid,
        start=wishes.start,
    )


def _refining(plan: Plan, wishes: Wishes) -> Plan:
    """The plan of the second stage of a cascade: the network also sees what the first found."""
    classes = wishes.classes or range(1, plan.classes + 1)
    check_first_stage(
        wishes.refine, plan.dims, plan.channels, tuple(classes) if plan.target == "classes" else ()
    )
    arguments = {
        **plan.network["arguments"],
        "in_channels": plan.channels + plan.classes,
        "labels": plan.classes,
    }
    return replace(
        plan, network={"name": "guided_unet", "arguments": arguments}, refine=lasting_name(wishes.refine)
    )


def _choose(seen: Fingerprint, wishes: Wishes, scores: int) -> Configuration:
    possible = configurations(seen, Budget((wishes.memory or _MEMORY) * _GIGABYTE, scores))
    if wishes.configuration == "auto":
        return next(iter(possible.values()))
    if wishes.configuration not in possible:
        raise OptionError(
            f"The configuration {wishes.configuration!r} does not fit this data set "
            f"({seen.dims}D, {' x '.join(map(str, seen.size))} pixels of {seen.spacing} {seen.unit}).",
            f"Choose {' or '.join(possible)}.",
        )
    return possible[wishes.configuration]


def _augmentation(
    seen: Fingerprint, target: str, chosen: Configuration, sides: bool, steps: Sequence[dict[str, Any]]
) -> Augmentation:
    """How patches vary: rotations in space, mirrored where the anatomy allows it."""
    dims = len(chosen.patch)
    spacing = tuple(chosen.grid.get("spacing") or seen.spacing[-dims:])
    flat = dims == 2
    thick = not flat and max(spacing) > 3 * min(spacing)
    low, high = 0.0, 1.0
    if steps[0]["id"] == "clip":
        mean, spread = steps[1]["kwargs"]["mean"], steps[1]["kwargs"]["std"]
        low, high = ((steps[0]["kwargs"][side] - mean) / spread for side in ("min", "max"))
    return Augmentation(
        rotation=180.0 if flat and not seen.orientation else 30.0,
        in_plane=thick,
        mirror=_mirror(seen, dims, sides, target),
        object_size=_object_sizes(seen) if target == "instances" and flat else None,
        mix=0.08 if max(seen.channels) == 3 else 0.0,
        spacing=() if flat else tuple(round(s / min(spacing), 4) for s in spacing),
        intensity=(round(low, 4), round(high, 4)),
    )


def _mirror(seen: Fingerprint, dims: int, sides: bool, target: str) -> tuple[int, ...]:
    """Axes of the patch along which a mirrored image could exist; numbers of objects have no sides."""
    excluded = set(seen.sided_axes) if target == "classes" else set()
    if sides:  # left and right classes
        letters = seen.orientation
        left_right = {k for k, letter in enumerate(letters) if letter in "LR"}
        excluded |= left_right or set(range(seen.dims))
    offset = seen.dims - dims
    return tuple(axis for axis in range(dims) if axis + offset not in excluded)


def _object_sizes(seen: Fingerprint) -> tuple[float, float] | None:
    """Diameters that objects are zoomed to, or nothing where all are alike or hardly seen."""
    low, _, high = seen.object_diameter
    low = max(low, 6.0)  # fewer pixels have no shape
    return (round(low, 1), round(high, 1)) if high > 1.5 * low else None


def write_plan(
    path: Path,
    plan: Plan,
    seen: Fingerprint | None = None,
    memory: float | None = None,
    data: Path | None = None,
) -> None:
    """Write a plan as YAML, with the fingerprint it came from and what else could be trained.

    Parameters
    ----------
    path : Path
        The file.
    plan : Plan
        What is read back.
    seen : Fingerprint, optional
        Written beside it, for people.
    memory : float, optional
        As in `Wishes`, for the alternatives.
    data : Path, optional
        The data set that the plan fits; see `deepbio.training.settling.mark_of`.
    """
    content: dict[str, Any] = {"plan": _plain(asdict(plan))}
    if seen is not None:
        others = configurations(seen, Budget((memory or _MEMORY) * _GIGABYTE, plan.scores))
        told = {name: one.summary for name, one in others.items() if name != plan.configuration}
        content |= {"alternatives": told} if told else {}
        content["fingerprint"] = asdict(seen)
    if data is not None:
        content["mark"] = mark_of(content["plan"], data)
    text = yaml.dump(_plain(content), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Without aliases, which people do not read well."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


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
        _ = plan.grid_spec
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, CardError) as error:
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
