"""From StarDist's configuration to what a card of ours says: network, normalisation, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.stardist import StarModel
from deepbio.library.card import Step
from deepbio.networks.star import ACTIVATIONS

__all__ = ["StarFacts", "star_facts"]

_PERCENTILES = (1.0, 99.8)  # what StarDist's examples, its Fiji plugin and its export normalise with
_EPS = 1e-20  # of that normalisation
_DEFAULTS = {"prob": 0.5, "nms": 0.4}  # where a model has no thresholds.json
_PATCH = 256  # pixels: no object is larger, unless the training's patches were


@dataclass(frozen=True)
class StarFacts:
    """What a model of StarDist is, in our words.

    Attributes
    ----------
    arguments : mapping
        Of the network ``star_unet``.
    steps : tuple of Step
        Pre-processing.
    threshold, overlap : float
        Probability of a candidate, and common area above which the less probable one is dropped.
    grid, divisor : tuple of int
        Pixels between two answers, and what sizes must be multiples of, along y and x.
    reach : int
        Pixels that the largest objects measure at most.
    prefix : str
        Before the names of the layers of the U-Net.
    """

    arguments: Mapping[str, Any]
    steps: tuple[Step, ...]
    threshold: float
    overlap: float
    grid: tuple[int, int]
    divisor: tuple[int, int]
    reach: int
    prefix: str


def star_facts(model: StarModel) -> StarFacts:
    """Read a configuration.

    Raises
    ------
    CardError
        If an entry is missing, impossible or asks for something that is not known here; the message says what.
    """
    entries = _Entries(model.config)
    _check_kind(model.config)
    grid, pool = entries.pair("grid", 1, 16), entries.pair("unet_pool", 1, 8)
    depth = entries.whole("unet_n_depth", 1, 8)
    filters = entries.whole("unet_n_filter_base", 1, 1024)
    expansion = entries.number("unet_expansion", 0.1, 8, default=2)
    arguments = {
        "in_channels": entries.whole("n_channel_in", 1, 64),
        "rays": entries.whole("n_rays", 3, 1024),
        "grid": list(grid),
        "depth": depth,
        "filters": filters,
        "expansion": expansion,
        "kernel": list(entries.pair("unet_kernel_size", 1, 31)),
        "pool": list(pool),
        "convs": entries.whole("unet_n_conv_per_depth", 1, 16),
        "activation": entries.word("unet_activation", tuple(ACTIVATIONS)),
        "last_activation": entries.word("unet_last_activation", tuple(ACTIVATIONS), "unet_activation"),
        "batch_norm": entries.flag("unet_batch_norm"),
        "after": entries.whole("net_conv_after_unet", 0, 4096),
    }
    if any(g & (g - 1) for g in grid):
        raise entries.refused("grid", "powers of 2")
    widest = filters * expansion**depth
    if not 1 <= widest <= 2**14:
        raise entries.refused("unet_n_filter_base", f"at most {2**14} feature maps in the deepest level")
    patch = model.config.get("train_patch_size")
    sizes = patch if isinstance(patch, list) and all(type(n) is int for n in patch) else []
    return StarFacts(
        arguments=arguments,
        steps=_normalisation(model.steps),
        threshold=_threshold(model.thresholds, "prob"),
        overlap=_threshold(model.thresholds, "nms"),
        grid=grid,
        divisor=(grid[0] * pool[0] ** depth, grid[1] * pool[1] ** depth),
        reach=min(max([_PATCH, *sizes]), 2048) // 2,
        prefix=str(model.config.get("unet_prefix") or ""),
    )


def _check_kind(config: Mapping[str, Any]) -> None:
    """Refuse what StarDist can do and we cannot, each with its reason."""
    axes = config.get("axes")
    if config.get("n_dim") == 3 or (isinstance(axes, str) and "Z" in axes):
        raise CardError(
            "It is a model of StarDist in 3D (StarDist3D); known here are those in 2D (StarDist2D).",
            "Run it with StarDist itself, or train one in 2D.",
        )
    if config.get("n_dim", 2) != 2 or axes != "YXC":
        raise CardError(f"StarDist's config has the axes {axes!r}; expected 'YXC'.", "Get the model again.")
    if config.get("backbone") != "unet":
        raise CardError(f"StarDist's config has the backbone {config.get('backbone')!r}; known is 'unet'.")
    if config.get("n_classes") is not None:
        raise CardError(
            f"The StarDist model tells {config['n_classes']!r} classes of objects apart (n_classes), which is not "
            "known here; expected a model without classes.",
            "Run it with StarDist itself, or train one without n_classes.",
        )


def _threshold(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name, _DEFAULTS[name])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise CardError(f"StarDist's thresholds have {name} {value!r}; expected a number from 0 to 1.")
    return float(value)


def _normalisation(steps: Sequence[Any]) -> tuple[Step, ...]:
    """Percentiles of each channel; an export's card can say others, and that channels share theirs."""
    axes, low, high = ["y", "x"], *_PERCENTILES
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
            axes = ["channel", "y", "x"]
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

    def pair(self, name: str, least: int, most: int) -> tuple[int, int]:
        value: Any = self._values.get(name)
        good = isinstance(value, list) and len(value) == 2
        if not good or not all(type(n) is int and least <= n <= most for n in value):
            raise self.refused(name, f"two whole numbers from {least} to {most}")
        return value[0], value[1]

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
