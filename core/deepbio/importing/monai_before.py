"""What a bundle of MONAI does before its network: the grid and the steps of a card.

MONAI's arrays are (channel, x, y, z), and an orientation such as ``RAS`` says where x, y and z point. Ours are
(channel, z, y, x), and the letters are along these: ``SAR`` is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.monai_config import Component
from deepbio.importing.monai_terms import Terms, flat
from deepbio.library.card import Step

__all__ = ["Before", "read_before"]

_EPS = 1e-8
_FLOATS = ("float32", "float16", "float64", None)
_READERS = (None, "ITKReader", "NibabelReader", "monai.data.ITKReader", "monai.data.NibabelReader")


@dataclass
class Before:
    """What happens to an image before the network sees it.

    Attributes
    ----------
    dims : {2, 3}
        Spatial axes.
    channels : int
        That the network takes.
    key : str
        Name of the image in the bundle.
    orientation : str
        Where z, y and x point; empty leaves the axes as they are stored.
    spacing : tuple of (float or None)
        Along z, y and x, in millimeters; empty leaves the image's own.
    crop : str
        As of a card's grid.
    inside : bool
        Whether the first step is made of the pixels that are not 0, and leaves the others.
    steps : list of Step
        Of intensities.
    """

    dims: int
    channels: int
    key: str = ""
    orientation: str = ""
    spacing: tuple[float | None, ...] = ()
    crop: str = ""
    inside: bool = False
    steps: list[Step] = field(default_factory=list)

    @property
    def axes(self) -> list[str]:
        """Names of the spatial axes."""
        return ["z", "y", "x"][3 - self.dims :]


def read_before(component: Component, *, dims: int, channels: int) -> Before:
    """Read the pre-processing.

    Parameters
    ----------
    component : Component
        Compose with dictionary transforms.
    dims, channels : int
        Spatial axes and channels of the network.

    Raises
    ------
    CardError
        If a transform or an argument is not known, or their order cannot be kept.
    """
    found = Before(dims, channels)
    for one in flat(component):
        if one.name not in _KNOWN:
            raise CardError(
                f"The bundle's {one.where} is the transform {one.name!r}, which is not known here; known before the "
                f"network are {', '.join(_KNOWN)}."
            )
        read, ignored = _KNOWN[one.name]
        terms = Terms(one, ignored)
        keys = terms.keys()
        if not found.key and len(keys) == 1:
            found.key = keys[0]
        if keys != [found.key]:
            raise terms.refused("keys", keys, f"one image, {found.key!r}" if found.key else "one image")
        read(terms, found)
        terms.done()
    if not found.key:
        raise CardError(f"The bundle's {component.where} reads no image (LoadImaged).")
    return found


def _load(terms: Terms, found: Before) -> None:
    terms.only("reader", *_READERS)
    terms.only("dtype", *_FLOATS)


def _first(terms: Terms, found: Before) -> None:
    if "channel_dim" in terms.component.names and terms.take("channel_dim") not in ("no_channel", -1, None):
        raise terms.refused("channel_dim", terms.component.argument("channel_dim"), "'no_channel' or -1")


def _typed(terms: Terms, found: Before) -> None:
    terms.only("dtype", *_FLOATS)
    terms.only("data_type", "tensor", "numpy")


def _nothing(terms: Terms, found: Before) -> None:
    """Changes no pixel."""


def _orientation(terms: Terms, found: Before) -> None:
    code = terms.take("axcodes")
    terms.only("as_closest_canonical", False)
    terms.only("labels", None, [["L", "R"], ["P", "A"], ["I", "S"]])
    pairs = ("LR", "PA", "SI")
    good = (
        isinstance(code, str)
        and len(code) == 3
        and len({pair for c in code for pair in pairs if c in pair}) == 3
    )
    if not good:
        raise terms.refused("axcodes", code, "three letters such as 'RAS'")
    if found.dims != 3 or found.orientation or found.spacing or found.crop:
        raise CardError(
            f"{terms.component.place} turns the image to {code} after Spacingd, after CropForegroundd, again or in 2D, "
            "which a card cannot say."
        )
    found.orientation = code[::-1]


def _spacing(terms: Terms, found: Before) -> None:
    value = terms.take("pixdim")
    each = list(value) if isinstance(value, list) else [value]
    if not each or len(each) > found.dims or not all(isinstance(s, (int, float)) for s in each):
        raise terms.refused("pixdim", value, f"a number for each of the {found.dims} axes")
    each += each[-1:] * (found.dims - len(each))
    terms.only("mode", "bilinear")
    terms.only("padding_mode", "border")
    terms.only("diagonal", False)
    terms.only("scale_extent", False)
    terms.only("recompute_affine", False)
    terms.only("align_corners", False, True, None)
    terms.only("dtype", "float64", *_FLOATS)
    for name in ("min_pixdim", "max_pixdim"):
        terms.only(name, None)
    if found.spacing or any(step.id != "scale_linear" for step in found.steps):
        raise CardError(
            f"{terms.component.place} interpolates the image again, or after its intensities were changed; a card can "
            "say it only before."
        )
    found.spacing = tuple(float(s) if s > 0 else None for s in reversed(each))


def _crop(terms: Terms, found: Before) -> None:
    terms.only("source_key", found.key)
    terms.only("select_fn", None)
    terms.only("channel_indices", None)
    terms.only("margin", 0)
    terms.only("k_divisible", 1)
    if found.spacing or found.steps or found.crop:
        raise CardError(
            f"{terms.component.place} cuts out the foreground again, or after the image was interpolated or its "
            "intensities were changed; a card can say it only of raw pixels."
        )
    found.crop = "positive"


def _range(terms: Terms, found: Before) -> None:
    low, high = terms.number("a_min"), terms.number("a_max")
    if high <= low:
        raise terms.refused("a_max", high, f"above a_min ({low:g})")
    if terms.flag("clip"):
        found.steps.append(Step("clip", {"min": low, "max": high}))
    _between(terms, found, low, high)
    terms.only("dtype", *_FLOATS)


def _between(terms: Terms, found: Before, low: float, high: float) -> None:
    """From one range to another, without a limit."""
    first, last = terms.take("b_min"), terms.take("b_max")
    if first is None and last is None:
        first, last = 0.0, 1.0
    if not all(isinstance(v, (int, float)) for v in (first, last)) or last <= first:
        raise terms.refused("b_min and b_max", [first, last], "two numbers, the smaller first")
    gain = (last - first) / (high - low)
    found.steps.append(Step("scale_linear", {"gain": gain, "offset": first - low * gain}))


def _percentiles(terms: Terms, found: Before) -> None:
    low, high = terms.number("lower"), terms.number("upper")
    if not 0 <= low < high <= 100:
        raise terms.refused("lower and upper", [low, high], "two percentages, the smaller first")
    axes = _jointly(found, channel_wise=terms.flag("channel_wise"))
    found.steps.append(
        Step("scale_range", {**axes, "min_percentile": low, "max_percentile": high, "eps": _EPS})
    )
    if terms.flag("clip"):
        found.steps.append(Step("clip", {"min": 0.0, "max": 1.0}))
    terms.only("relative", False)
    _between(terms, found, 0.0, 1.0)
    terms.only("dtype", *_FLOATS)


def _scale(terms: Terms, found: Before) -> None:
    low, high = terms.number("minv", 0.0), terms.number("maxv", 1.0)
    axes = _jointly(found, channel_wise=terms.flag("channel_wise"))
    found.steps.append(
        Step("scale_range", {**axes, "min_percentile": 0.0, "max_percentile": 100.0, "eps": _EPS})
    )
    if (low, high) != (0.0, 1.0):
        found.steps.append(Step("scale_linear", {"gain": high - low, "offset": low}))
    terms.only("factor", None)
    terms.only("dtype", *_FLOATS)


def _normalise(terms: Terms, found: Before) -> None:
    each, nonzero = terms.flag("channel_wise"), terms.flag("nonzero")
    mean, std = terms.take("subtrahend"), terms.take("divisor")
    terms.only("dtype", *_FLOATS)
    if mean is not None or std is not None:
        if nonzero:
            raise terms.refused("nonzero", True, "false where subtrahend and divisor are given")
        found.steps.append(_fixed(terms, found, mean, std))
        return
    if nonzero and (found.steps or (found.channels > 1 and not each)):
        raise CardError(
            f"{terms.component.place} normalises only pixels that are not 0 (nonzero) of all channels "
            "together, or after other steps; a card can say it of the first step, channel by channel."
        )
    found.inside = found.inside or nonzero
    axes = _jointly(found, channel_wise=each)
    found.steps.append(Step("zero_mean_unit_variance", {**axes, "eps": _EPS}))


def _fixed(terms: Terms, found: Before, mean: Any, std: Any) -> Step:
    """Subtract and divide by numbers, one for all channels or one for each."""
    values: list[float | list[float]] = []
    for name, given in (("subtrahend", mean), ("divisor", std)):
        value = given
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        numbers = value if isinstance(value, list) else [value]
        good = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers)
        if not good or len(numbers) not in (1, found.channels) or (name == "divisor" and 0 in numbers):
            raise terms.refused(name, given, "a number, or one for each channel")
        values.append(value)
    count = max(len(v) if isinstance(v, list) else 1 for v in values)
    means, stds = ([float(n) for n in v] if isinstance(v, list) else [float(v)] * count for v in values)
    gains = [1 / s for s in stds]
    offsets = [-m / s for m, s in zip(means, stds, strict=True)]
    if count == 1:
        return Step("scale_linear", {"gain": gains[0], "offset": offsets[0]})
    return Step("scale_linear", {"axis": "channel", "gain": gains, "offset": offsets})


def _jointly(found: Before, *, channel_wise: bool) -> dict[str, Sequence[str]]:
    """The axes that a statistic is taken over."""
    return {"axes": found.axes if channel_wise else ["channel", *found.axes]}


_Read = Callable[[Terms, Before], None]

_KNOWN: dict[str, tuple[_Read, tuple[str, ...]]] = {
    "LoadImaged": (
        _load,
        (
            "image_only",
            "ensure_channel_first",
            "overwriting",
            "simple_keys",
            "prune_meta_pattern",
            "prune_meta_sep",
        ),
    ),
    "EnsureChannelFirstd": (_first, ("strict_check",)),
    "EnsureTyped": (_typed, ("wrap_sequence",)),
    "CastToTyped": (_typed, ()),
    "ToTensord": (_typed, ("wrap_sequence",)),
    "ToDeviced": (_nothing, ()),
    "Identityd": (_nothing, ()),
    "Orientationd": (_orientation, ()),
    "Spacingd": (_spacing, ()),
    "CropForegroundd": (
        _crop,
        ("allow_smaller", "start_coord_key", "end_coord_key", "mode"),
    ),
    "ScaleIntensityRanged": (_range, ()),
    "ScaleIntensityRangePercentilesd": (_percentiles, ()),
    "ScaleIntensityd": (_scale, ()),
    "NormalizeIntensityd": (_normalise, ()),
}
