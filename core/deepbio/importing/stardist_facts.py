"""From StarDist's configuration to what a card of ours says: network, normalisation, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.stardist import StarModel
from deepbio.library.card import Step
from deepbio.networks.star import ACTIVATIONS
from deepbio.tasks.rays import rays_of

__all__ = ["StarFacts", "star_facts"]

_PERCENTILES = (1.0, 99.8)  # what StarDist's examples, its Fiji plugin and its export normalise with
_EPS = 1e-20  # of that normalisation
_DEFAULTS = {"prob": 0.5, "nms": 0.4}  # where a model has no thresholds.json
_PATCH = {2: 256, 3: 128}  # pixels: no object is larger, unless the training's patches were
_NUMBERS = {2: "two", 3: "three"}
_AXES = {2: "YXC", 3: "ZYXC"}
_BACKBONES = {2: ("unet",), 3: ("unet", "resnet")}


@dataclass(frozen=True)
class StarFacts:
    """What a model of StarDist is, in our words.

    Attributes
    ----------
    network : str
        Ours: ``star_unet`` or ``star_resnet``.
    arguments : mapping
        It is built from.
    steps : tuple of Step
        Pre-processing.
    threshold, overlap : float
        Probability of a candidate, and common area (volume) above which the less probable one is dropped.
    grid, divisor : tuple of int
        Pixels between two answers, and what sizes must be multiples of, along [z,] y and x.
    reach : int
        Pixels that the largest objects measure at most.
    prefix : str
        Before the names of the layers of the U-Net.
    rays : mapping
        In 3D: as :func:`deepbio.tasks.rays.rays_of` takes them.
    anisotropy : tuple of float
        In 3D: how many times fewer voxels objects measure along z, y and x.
    """

    network: str
    arguments: Mapping[str, Any]
    steps: tuple[Step, ...]
    threshold: float
    overlap: float
    grid: tuple[int, ...]
    divisor: tuple[int, ...]
    reach: int
    prefix: str = ""
    rays: Mapping[str, Any] = field(default_factory=dict)
    anisotropy: tuple[float, ...] = (1.0, 1.0, 1.0)


def star_facts(model: StarModel) -> StarFacts:
    """Read a configuration.

    Raises
    ------
    CardError
        If an entry is missing, impossible or asks for something that is not known here; the message says what.
    """
    entries, dims = _Entries(model.config), _checked_dims(model.config)
    grid = entries.sizes("grid", dims, 1, 16)
    if any(g & (g - 1) for g in grid):
        raise entries.refused("grid", "powers of 2")
    arguments: dict[str, Any] = {
        "in_channels": entries.whole("n_channel_in", 1, 64),
        "rays": entries.whole("n_rays", 3, 1024),
        "grid": list(grid),
    }
    is_unet = model.config.get("backbone") == "unet"
    arguments |= _unet(entries, dims) if is_unet else _resnet(entries, grid)
    pooled = [n ** arguments["depth"] for n in arguments["pool"]] if is_unet else [1] * dims
    patch = model.config.get("train_patch_size")
    sizes = patch if isinstance(patch, list) and all(type(n) is int for n in patch) else []
    return StarFacts(
        network="star_unet" if is_unet else "star_resnet",
        arguments=arguments,
        steps=_normalisation(model.steps, "zyx"[3 - dims :]),
        threshold=_threshold(model.thresholds, "prob"),
        overlap=_threshold(model.thresholds, "nms"),
        grid=grid,
        divisor=tuple(g * p for g, p in zip(grid, pooled, strict=True)),
        reach=min(max([_PATCH[dims], *sizes]), 2048) // 2,
        prefix=str(model.config.get("unet_prefix") or "") if is_unet else "",
        rays=_rays(model.config, arguments["rays"]) if dims == 3 else {},
        anisotropy=entries.anisotropy(),
    )


def _unet(entries: _Entries, dims: int) -> dict[str, Any]:
    depth = entries.whole("unet_n_depth", 1, 8)
    filters = entries.whole("unet_n_filter_base", 1, 1024)
    expansion = entries.number("unet_expansion", 0.1, 8, default=2)
    if not 1 <= filters * expansion**depth <= 2**14:
        raise entries.refused("unet_n_filter_base", f"at most {2**14} feature maps in the deepest level")
    return {
        "depth": depth,
        "filters": filters,
        "expansion": expansion,
        "kernel": list(entries.sizes("unet_kernel_size", dims, 1, 31)),
        "pool": list(entries.sizes("unet_pool", dims, 1, 8)),
        "convs": entries.whole("unet_n_conv_per_depth", 1, 16),
        "activation": entries.word("unet_activation", tuple(ACTIVATIONS)),
        "last_activation": entries.word("unet_last_activation", tuple(ACTIVATIONS), "unet_activation"),
        "batch_norm": entries.flag("unet_batch_norm"),
        "after": entries.whole("net_conv_after_unet", 0, 4096),
    }


def _resnet(entries: _Entries, grid: tuple[int, ...]) -> dict[str, Any]:
    blocks = entries.whole("resnet_n_blocks", 1, 64)
    if 2**blocks < max(grid):
        raise entries.refused("resnet_n_blocks", f"as many as lead to the grid {list(grid)}, each by 2")
    return {
        "blocks": blocks,
        "filters": entries.whole("resnet_n_filter_base", 1, 1024),
        "kernel": list(entries.sizes("resnet_kernel_size", 3, 1, 31)),
        "convs": entries.whole("resnet_n_conv_per_block", 2, 16),
        "activation": entries.word("resnet_activation", tuple(ACTIVATIONS)),
        "batch_norm": entries.flag("resnet_batch_norm"),
        "after": entries.whole("net_conv_after_resnet", 0, 4096),
    }


def _checked_dims(config: Mapping[str, Any]) -> int:
    """Dimensions; what StarDist can do and we cannot is refused, each with its reason."""
    axes, dims = config.get("axes"), config.get("n_dim")
    if dims is None:
        dims = 3 if isinstance(axes, str) and "Z" in axes else 2
    if dims not in _AXES or axes != _AXES[dims]:
        raise CardError(
            f"StarDist's config has the axes {axes!r} and {dims!r} dimensions; expected 'YXC' or 'ZYXC'.",
            "Get the model again.",
        )
    backbone, known = config.get("backbone"), _BACKBONES[dims]
    if backbone not in known:
        raise CardError(
            f"StarDist's config has the backbone {backbone!r}; known is {' or '.join(map(repr, known))}."
        )
    if config.get("n_classes") is not None:
        raise CardError(
            f"The StarDist model tells {config['n_classes']!r} classes of objects apart (n_classes), which is not "
            "known here; expected a model without classes.",
            "Run it with StarDist itself, or train one without n_classes.",
        )
    return int(dims)


def _rays(config: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    """Directions of the distances, as StarDist names them."""
    found = config.get("rays_json")
    name, kwargs = (found.get("name"), found.get("kwargs")) if isinstance(found, Mapping) else (None, None)
    if not isinstance(name, str) or not name.startswith("Rays_") or not isinstance(kwargs, Mapping):
        raise CardError(
            f"StarDist's config has rays_json {repr(found)[:200]}; expected the name of rays and their kwargs.",
            "Get the model again.",
        )
    entries = {**kwargs, "name": name.removeprefix("Rays_")}
    rays = rays_of(entries)
    if len(rays.vertices) != count:
        raise CardError(
            f"StarDist's config has {count} rays (n_rays), and rays_json names {len(rays.vertices)}.",
            "Get the model again.",
        )
    return entries


def _threshold(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name, _DEFAULTS[name])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise CardError(f"StarDist's thresholds have {name} {value!r}; expected a number from 0 to 1.")
    return float(value)


def _normalisation(steps: Sequence[Any], spatial: str) -> tuple[Step, ...]:
    """Percentiles of each channel; an export's card can say others, and that channels share theirs."""
    axes, low, high = list(spatial), *_PERCENTILES
    steps = [step for step in steps if not _is_type(step)]
    if steps:
        first = steps[0] if isinstance(steps[0], Mapping) else {}
        told = first.get("kwargs")
        if (
            len(steps) != 1
            or first.get("name", first.get("id")) != "scale_range"
            or not isinstance(told, Mapping)
        ):
            raise CardError(
                f"The export of StarDist has the pre-processing {repr(steps)[:200]}; known is one step 'scale_range'."
            )
        try:
            low, high = float(told.get("min_percentile", low)), float(told.get("max_percentile", high))
        except (TypeError, ValueError) as error:
            raise CardError(
                f"The export of StarDist has percentiles that are no numbers: {repr(told)[:200]}."
            ) from error
        if not 0 <= low < high <= 100:
            raise CardError(f"The export of StarDist has the percentiles {low} and {high}.")
        found = told.get("axes")
        if isinstance(found, (str, list)) and any(axis in found for axis in ("c", "channel")):
            axes = ["channel", *spatial]
    kwargs = {"axes": axes, "min_percentile": low, "max_percentile": high, "eps": _EPS}
    return (Step("scale_range", kwargs),)


def _is_type(step: Any) -> bool:
    """Whether a step only says what type numbers have, as version 0.5 of the format writes them."""
    return isinstance(step, Mapping) and step.get("id") == "ensure_dtype"


class _Entries:
    """Entries of the configuration, checked: absurd ones would make absurd networks."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def refused(self, name: str, expected: str) -> CardError:
        found = repr(self._values.get(name))[:80]
        return CardError(
            f"StarDist's config has {name} {found}; expected {expected}.", "Get the model again."
        )

    def whole(self, name: str, least: int, most: int) -> int:
        value = self._values.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self.refused(name, f"a whole number from {least} to {most}")
        return value

    def sizes(self, name: str, count: int, least: int, most: int) -> tuple[int, ...]:
        value: Any = self._values.get(name)
        good = isinstance(value, list) and len(value) == count
        if not good or not all(type(n) is int and least <= n <= most for n in value):
            raise self.refused(name, f"{_NUMBERS[count]} whole numbers from {least} to {most}")
        return tuple(value)

    def anisotropy(self) -> tuple[float, ...]:
        value: Any = self._values.get("anisotropy")
        if value is None:
            return (1.0, 1.0, 1.0)
        good = isinstance(value, list) and len(value) == 3 and all(type(n) in (int, float) for n in value)
        if not good or not all(0.01 <= n <= 100 for n in value):
            raise self.refused("anisotropy", "three numbers from 0.01 to 100")
        return tuple(float(n) for n in value)

    def number(self, name: str, least: float, most: float, *, default: float) -> float:
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refused(name, "a number")
        if not (math.isfinite(value) and least <= value <= most):
            raise self.refused(name, f"a number from {least} to {most}")
        return value

    def word(self, name: str, known: Sequence[str], default: str = "") -> str:
        """One of the known ones; where there is none, that of the entry `default`."""
        value = self._values.get(name)
        if value is None:
            value = self._values.get(default)
        if value not in known:
            raise self.refused(name, f"one of {', '.join(known)}")
        return str(value)

    def flag(self, name: str) -> bool:
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise self.refused(name, "true or false")
        return value
