"""What a TIFF says of its axes and its place: ImageJ's description, OME-XML, resolution tags.

ImageJ's rules are those of its `FileOpener` and `TiffDecoder`, checked with ImageJ 1.53t.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import tifffile

from deepbio.errors import ImageError
from deepbio.io.units import parse_length, parse_time

__all__ = ["Facts", "imagej_facts", "map_axes", "ome_facts", "plain_facts"]

PRINT_DPI = (72, 96, 100, 150, 200, 300, 600)  # what programs write when nothing was measured
OURS = "deepbio"  # what ImageJ's keys and OME's elements cannot say stands under this name, as JSON
_INCH, _CENTIMETER = 2, 3


@dataclass(frozen=True)
class Facts:
    """What a file says beside its pixels.

    Attributes
    ----------
    spacing : dict
        Distance between pixels along "x", "y", "z" in `unit`; 1 where nothing is said.
    unit : str
        A unit of :class:`deepbio.image.Grid`.
    origin : dict
        World position of the first pixel along "x", "y", "z" in `unit`.
    direction : list of list of float or None
        As in a grid, where we wrote one.
    channels : tuple of str
        Names, or empty.
    frame_interval : float or None
        Seconds.
    notes : tuple of str
        What had to be assumed.
    meta : dict
        Everything else worth keeping.
    """

    spacing: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    origin: Mapping[str, float] = field(default_factory=dict)
    direction: list[list[float]] | None = None
    channels: tuple[str, ...] = ()
    frame_interval: float | None = None
    notes: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def with_notes(self, *notes: str) -> Facts:
        """Return the same with notes added."""
        return replace(self, notes=self.notes + notes)


def map_axes(axes: str, kind: str) -> tuple[str, tuple[str, ...]]:
    """Give the axes of a series our letters.

    Parameters
    ----------
    axes : str
        As tifffile names them: S is samples of a pixel, Q and I are not known.
    kind : str
        tifffile's name of the kind of file, for the error.

    Returns
    -------
    (str, tuple of str)
        Letters of "TCZYX" in the same places, and notes on what was assumed.

    Examples
    --------
    >>> map_axes("TZCYX", "imagej")
    ('TZCYX', ())
    >>> map_axes("QYXS", "uniform")
    ('ZYXC', ('The pages have no named axis: they are taken as slices (Z).',))
    """
    if "S" in axes and "C" in axes:
        raise ImageError(
            f"The axes {axes!r} have channels of several samples; expected colour or channels, not both."
        )
    letters = list(axes.replace("S", "C"))
    unknown = [i for i, letter in enumerate(letters) if letter not in "TCZYX"]
    free = [letter for letter in "TZ" if letter not in letters]
    if len(unknown) > len(free):
        raise ImageError(
            f"The axes {axes!r} ({kind}) are more than time, channel, z, y and x.",
            "Save one part of it as an ImageJ TIFF.",
        )
    names = {"T": "frames (T)", "Z": "slices (Z)"}
    notes = []
    for i, letter in zip(unknown, free[len(free) - len(unknown) :], strict=True):
        letters[i] = letter
        notes.append(f"The pages have no named axis: they are taken as {names[letter]}.")
    return "".join(letters), tuple(notes)


def imagej_facts(meta: Mapping[str, Any], resolution: tuple[float, float] | None, channels: int) -> Facts:
    """Read ImageJ's calibration.

    Parameters
    ----------
    meta : mapping
        Keys of the description, and the slice labels, as tifffile gives them.
    resolution : (float, float) or None
        Pixels per unit along x and y.
    channels : int
        Number of channels.
    """
    notes: list[str] = []
    parsed = parse_length(str(meta.get("unit", "")))
    if parsed is None:
        notes.append(f"The unit '{meta.get('unit')}' is not known: the spacing is taken as pixels.")
        parsed = ("pixel", 1.0)
    unit, factor = parsed
    x, y = (1 / resolution[0], 1 / resolution[1]) if resolution and "unit" in meta else (1.0, 1.0)
    spacing = {"x": x * factor, "y": y * factor, "z": _number(meta, "spacing", 1.0) * factor}
    for axis in "yz":  # ImageJ has them where they differ from the unit of x
        other = parse_length(str(meta.get(f"{axis}unit", ""))) if f"{axis}unit" in meta else None
        if other and unit != "pixel" and other[0] != "pixel":
            ratio = {"micrometer": 1.0, "millimeter": 1e3}
            spacing[axis] *= other[1] / factor * ratio[other[0]] / ratio[unit]
    spacing, bad = _positive(spacing)
    notes.extend(bad)
    origin = {axis: 0.0 - _number(meta, f"{axis}origin", 0.0) * spacing[axis] for axis in "xyz"}
    interval, note = _imagej_interval(meta)
    labels = [str(label) for label in meta.get("Labels", ())]
    ours = _ours(str(meta.get(OURS, "")))
    rest: dict[str, Any] = {"slice_labels": tuple(labels)} if any(labels) else {}
    if isinstance(meta.get("Info"), str):
        rest["info"] = meta["Info"]
    facts = Facts(
        spacing,
        unit,
        origin,
        None,
        _channel_names(labels, channels),
        interval,
        tuple(notes + note),
        _with_names(rest, ours),
    )
    return replace(facts, direction=ours.get("direction"))


def _imagej_interval(meta: Mapping[str, Any]) -> tuple[float | None, list[str]]:
    interval = _number(meta, "finterval", 0.0)
    if interval > 0:
        seconds = parse_time(str(meta.get("tunit", "sec")))
        if seconds is None:
            return None, [f"The unit of time '{meta['tunit']}' is not known: the frame interval is left out."]
        return interval * seconds, []
    rate = _number(meta, "fps", 0.0)
    if rate > 0 and _number(meta, "frames", 1) > 1:
        return 1 / rate, [
            f"The frame interval is that of playing ({rate:g} frames a second); none was measured."
        ]
    return None, []


def _channel_names(labels: list[str], channels: int) -> tuple[str, ...]:
    """Names of channels, where the slice labels are the same in all slices and frames of a channel."""
    first = labels[:channels]
    if channels < 2 or len(labels) % channels or len(set(first)) != channels or not all(first):
        return ()
    if any(re.match(r"[ctz]:\d+/\d+", label) for label in first) or labels != first * (
        len(labels) // channels
    ):
        return ()
    return tuple(first)


def ome_facts(xml: str, axes: str) -> Facts:
    """Read OME-XML: physical sizes, channel names, time increment of the first image.

    Raises
    ------
    ImageError
        If it is not valid XML or has no image.
    """
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314 - expat since 2.4 stops entity bombs, and fetches nothing
    except ElementTree.ParseError as error:
        raise ImageError(f"The OME-XML cannot be read: {error}.") from error
    pixels = root.find("./{*}Image/{*}Pixels")
    if pixels is None:
        raise ImageError("The OME-XML has no image.")
    lengths = {axis: _ome_length(pixels, axis) for axis in "xyz"}
    notes = [
        f"The unit of {axis} is not known: it is taken as pixels."
        for axis, found in lengths.items()
        if found is None
    ]
    unit = (lengths["x"] or ("pixel", 1.0))[0]
    spacing = {}
    for axis, found in lengths.items():
        other, scale = found or ("pixel", 1.0)
        ratio = {("millimeter", "micrometer"): 1e3, ("micrometer", "millimeter"): 1e-3}.get(
            (other, unit), 1.0
        )
        spacing[axis] = float(pixels.get(f"PhysicalSize{axis.upper()}", 1)) * (
            scale * ratio if other != "pixel" else 1.0
        )
    spacing, bad = _positive(spacing)
    ours = _ours("".join(_map_values(root)))
    origin = dict(zip("xyz", ours.get("origin", ()), strict=False))
    names = tuple(channel.get("Name", "") for channel in pixels.findall("./{*}Channel"))
    rest: dict[str, Any] = {"ome_images": len(root.findall("./{*}Image"))}
    if rest["ome_images"] > 1:
        notes.append(f"The file holds {rest['ome_images']} images; the first is read.")
    return Facts(
        spacing,
        unit,
        origin,
        ours.get("direction"),
        names if "C" in axes and all(names) else (),
        _ome_interval(pixels),
        tuple(notes + bad),
        _with_names(rest, ours),
    )


def _ome_length(pixels: ElementTree.Element, axis: str) -> tuple[str, float] | None:
    if pixels.get(f"PhysicalSize{axis.upper()}") is None:
        return ("pixel", 1.0)
    return parse_length(pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm"))


def _ome_interval(pixels: ElementTree.Element) -> float | None:
    """Seconds between frames: the increment, or the even steps of the planes' times."""
    step = float(pixels.get("TimeIncrement", 0))
    if step > 0:
        unit = parse_time(pixels.get("TimeIncrementUnit", "s"))
        return step * unit if unit else None
    planes = [
        p
        for p in pixels.findall("./{*}Plane")
        if p.get("TheC") == "0" and p.get("TheZ") == "0" and p.get("DeltaT")
    ]
    units = {parse_time(p.get("DeltaTUnit", "s")) for p in planes}
    times = sorted((int(p.get("TheT", 0)), float(p.get("DeltaT", 0))) for p in planes)
    if len(times) < 2 or len(units) != 1:
        return None
    unit = units.pop()
    steps = [b[1] - a[1] for a, b in pairwise(times)]
    mean = sum(steps) / len(steps)
    even = mean > 0 and all(math.isclose(s, mean, rel_tol=0.05) for s in steps)
    return mean * unit if even and unit else None


def _map_values(root: ElementTree.Element) -> list[str]:
    return [m.text or "" for m in root.iterfind(".//{*}MapAnnotation/{*}Value/{*}M") if m.get("K") == OURS]


def plain_facts(page: tifffile.TiffPage, shaped: Mapping[str, Any]) -> Facts:
    """Read resolution tags of a TIFF that is neither ImageJ's nor OME's."""
    resolution = resolution_of(page)
    if "unit" in shaped:  # tifffile's own way to say it
        return imagej_facts(shaped, resolution, 1)
    unit = page.tags.valueof(296, default=_INCH)
    if resolution is None or unit not in (_INCH, _CENTIMETER):
        return Facts()
    x, y = resolution
    if unit == _INCH and round(x, 2) == round(y, 2) and round(x, 2) in PRINT_DPI:
        return Facts(
            notes=(f"{x:g} dots an inch is a default for printing, not a pixel size: it is left out.",)
        )
    micrometers = 25400.0 if unit == _INCH else 10000.0
    return Facts({"x": micrometers / x, "y": micrometers / y}, "micrometer")


def resolution_of(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Pixels per unit along x and y, or None where the tags are missing or say nothing."""
    found = []
    for code in (282, 283):
        value = page.tags.valueof(code)
        if not isinstance(value, tuple) or len(value) != 2 or 0 in value:
            return None
        found.append(value[0] / value[1])
    return found[0], found[1]


def _number(meta: Mapping[str, Any], key: str, default: float) -> float:
    try:
        value = float(meta.get(key, default))
    except (TypeError, ValueError):
        return default
    return value if math.isfinite(value) else default


def _positive(spacing: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Spacing with 1 in place of what cannot be one."""
    bad = [axis for axis, value in spacing.items() if not (math.isfinite(value) and value > 0)]
    notes = [f"The spacing of {axis} is {spacing[axis]:g}: it is taken as 1." for axis in bad]
    return {axis: 1.0 if axis in bad else value for axis, value in spacing.items()}, notes


def _ours(text: str) -> dict[str, Any]:
    """What we wrote as JSON: direction, origin, names of labels."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _with_names(rest: dict[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    names = ours.get("labels")
    if isinstance(names, dict):
        rest["labels"] = {int(key): str(value) for key, value in names.items() if str(key).isdigit()}
    return rest
