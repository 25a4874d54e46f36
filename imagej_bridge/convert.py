"""The only place where ImagePlus meets Image and LabelMap.

Only ``ij`` classes are used, so the same code serves a bare ImageJ and Fiji. ImageJ's own order of planes
(channel, then slice, then frame) and its calibration are understood here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io.labels import label_type
from deepbio.io.lut import label_colours
from deepbio.io.tiff_meta import imagej_facts
from imagej_bridge.java import java, to_java, to_numpy
from imagej_bridge.options import parse_span
from imagej_bridge.pixels import COLOR_256, COLOR_RGB, StackPixels

__all__ = ["LIKE", "label_lut", "to_image", "to_imageplus"]

LIKE = "imagej"  # the key of `Image.meta` under which stands what only ImageJ knows of an image
_UNITS = {"micrometer": "µm", "millimeter": "mm", "pixel": "pixel"}
_COMPOSITES = 7  # channels that ImageJ shows at once
# ImageJ gives this type to pictures whose colours were reduced to a table, not to grey ones that are shown in colours.
_TABLE = (
    "The image is 8-bit colour: its indices into the table of colours are taken as grey values. "
    "To use its colours, choose Image > Type > RGB Color first."
)


def to_image(image: Any, *, frames: str = "all", slices: str = "all") -> Image:
    """Turn an ImagePlus into an Image; its pixels stay in ImageJ until they are sliced.

    Parameters
    ----------
    image : ij.ImagePlus
        Of any type: 8, 16 (also signed) and 32 bits, RGB; hyperstacks; virtual stacks.
    frames, slices : str
        Which: ``all``, ``current``, ``3`` or ``2-7``, counted from 1.

    Returns
    -------
    Image
        Axes that have one element are left out. ``meta`` has ``"source"`` (the title), ``"notes"`` (what
        was assumed, such as an unknown unit) and, under :data:`LIKE`, what ImageJ alone knows: channel
        colours, slice labels, overlay.

    Raises
    ------
    OptionError
        If frames or slices are not there.
    """
    spans = (
        parse_span("frames", frames, image.getT(), image.getNFrames()),
        parse_span("slices", slices, image.getZ(), image.getNSlices()),
    )
    pixels = StackPixels(image, *spans)
    labels = _slice_labels(image)
    facts = imagej_facts(*_calibration(image, labels), int(image.getNChannels()))
    sizes = dict(zip(pixels.axes, pixels.shape, strict=True))
    spatial = [axis for axis in "ZYX" if axis in sizes]
    origin = {**facts.origin}
    if "Z" in sizes:
        origin["z"] += spans[1].start * facts.spacing["z"]
    grid = Grid(
        tuple(sizes[axis] for axis in spatial),
        tuple(facts.spacing[axis.lower()] for axis in spatial),
        tuple(origin[axis.lower()] for axis in reversed(spatial)),
        unit=facts.unit,
    )
    colour = int(image.getType()) == COLOR_RGB
    whole = len(spans[0]) == image.getNFrames() and len(spans[1]) == image.getNSlices()
    return Image(
        pixels,
        pixels.axes,
        grid,
        RGB if colour else facts.channels if "C" in sizes else (),
        facts.frame_interval,
        {
            "source": str(image.getTitle()),
            "notes": (*facts.notes, *((_TABLE,) if int(image.getType()) == COLOR_256 else ())),
            LIKE: _looks(image, labels if whole else []),
        },
    )


def _calibration(image: Any, labels: Sequence[str]) -> tuple[Mapping[str, Any], tuple[float, float]]:
    """ImageJ's calibration in the words of its TIFF files, and pixels per unit along x and y."""
    own = image.getCalibration()
    width, height = float(own.pixelWidth), float(own.pixelHeight)
    meta = {
        "unit": str(own.getUnit()),
        "yunit": str(own.getYUnit()),
        "zunit": str(own.getZUnit()),
        "spacing": float(own.pixelDepth),
        "xorigin": float(own.xOrigin),
        "yorigin": float(own.yOrigin),
        "zorigin": float(own.zOrigin),
        "finterval": float(own.frameInterval),
        "tunit": str(own.getTimeUnit()),
        "Labels": labels,
    }
    return meta, (1 / width if width else math.inf, 1 / height if height else math.inf)


def _slice_labels(image: Any) -> list[str]:
    stack = image.getStack()
    if int(stack.getSize()) == 1:
        label = stack.getSliceLabel(1)
        if str(label) == f"{image.getTitle()}\n{image.getProperty('Info')}":
            label = None  # what ImageJ says where there is none
        told = [label or image.getProp("Slice_Label")]
    else:
        told = [stack.getSliceLabel(n) for n in range(1, int(stack.getSize()) + 1)]
    labels = ["" if label is None else str(label) for label in told]
    return labels if any(labels) else []


def _looks(image: Any, labels: list[str]) -> dict[str, Any]:
    """What ImageJ alone knows of an image and what a copy of it should have."""
    found: dict[str, Any] = {"slice_labels": labels}
    if int(image.getType()) != COLOR_RGB:
        luts = image.getLuts()
        found["luts"] = [_lut_values(lut) for lut in luts]
        found["ranges"] = [(float(lut.min), float(lut.max)) for lut in luts]
    if image.isComposite():
        found["mode"] = int(image.getMode())
    overlay = image.getOverlay()
    if overlay is not None:
        encode = java("ij.io.RoiEncoder").saveAsByteArray
        found["overlay"] = [bytes(memoryview(encode(roi))) for roi in overlay.toArray()]
    info = image.getProperty("Info")
    if info is not None:
        found["info"] = str(info)
    return found


def _lut_values(lut: Any) -> np.ndarray:
    """Colours of a LUT, shape (3, 256), uint8."""
    import jpype

    table = jpype.JArray(jpype.JByte)(256)
    rows = []
    for read in (lut.getReds, lut.getGreens, lut.getBlues):
        read(table)
        rows.append(to_numpy(table, np.uint8).copy())
    return np.stack(rows)


def to_imageplus(item: Image | LabelMap, title: str = "", *, like: Any = None) -> Any:
    """Turn an Image or a LabelMap into an ImagePlus, whose pixels are its own.

    Parameters
    ----------
    item : Image or LabelMap
        Images of 8 and 16 bits (signed too), RGB of 8 bits, everything else as 32-bit floats. Labels of
        16 bits, or above 65,535 floats (exact to 16,777,216), in the table of colours that deepbio has.
    title : str
        Its title.
    like : ij.ImagePlus, optional
        Whose calibration it gets; without it that of the grid.

    Returns
    -------
    ij.ImagePlus
        Not shown.
    """
    labels = isinstance(item, LabelMap)
    highest = 0
    if isinstance(item, LabelMap):
        dtype, highest = label_type(item)
        stored = np.dtype(np.uint16 if dtype.itemsize <= 2 else np.float32)
    else:
        stored = _stored_type(item)
    sizes = {axis: item.shape[item.axes.index(axis)] if axis in item.axes else 1 for axis in "TCZYX"}
    colour = isinstance(item, Image) and item.is_rgb and item.dtype == np.uint8
    looks = {} if labels else dict(item.meta.get(LIKE) or {})  # type: ignore[union-attr]
    names = _names(item, sizes, looks, colour=colour)
    stack = java("ij.ImageStack")(sizes["X"], sizes["Y"])
    for plane, name in zip(_planes(item, sizes, stored, colour=colour), names, strict=True):
        stack.addSlice(name or None, to_java(plane))
    made = java("ij.ImagePlus")(title, stack)
    if len(names) == 1 and names[0]:
        made.setProp("Slice_Label", names[0])  # where ImageJ keeps that of a single plane
    channels = 1 if colour else sizes["C"]
    made.setDimensions(channels, sizes["Z"], sizes["T"])
    made.setOpenAsHyperStack(sum(n > 1 for n in (channels, sizes["Z"], sizes["T"])) > 1 or channels > 1)
    _calibrate(made, item, like, signed=stored == np.int16)
    if labels:
        made.setLut(label_lut())
        made.setDisplayRange(0, max(1, highest))
        return made
    return _with_looks(made, looks, channels, title)


def _stored_type(image: Image) -> np.dtype:
    dtype = image.dtype.newbyteorder("=")
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if dtype == np.int8:
        return np.dtype(np.int16)
    return dtype if dtype in (np.uint8, np.uint16, np.int16) else np.dtype(np.float32)


def _names(
    item: Image | LabelMap, sizes: Mapping[str, int], looks: Mapping[str, Any], *, colour: bool
) -> list[str]:
    """A label for each plane: as it was, or the name of its channel."""
    count = sizes["T"] * sizes["Z"] * (1 if colour else sizes["C"])
    before = looks.get("slice_labels") or []
    if len(before) == count:
        return list(before)
    if isinstance(item, Image) and item.channels and not colour:
        return list(item.channels) * (count // sizes["C"])
    return [""] * count


def _planes(
    item: Image | LabelMap, sizes: Mapping[str, int], stored: np.dtype, *, colour: bool
) -> Iterator[np.ndarray]:
    """Planes in ImageJ's order, as it stores them."""
    for t, z, c in product(range(sizes["T"]), range(sizes["Z"]), range(1 if colour else sizes["C"])):
        at = {"T": t, "C": slice(None) if colour else c, "Z": z}
        plane = np.asarray(item.array[tuple(at.get(axis, slice(None)) for axis in item.axes)])
        if colour:
            red, green, blue = plane.astype(np.int32)
            yield (red << 16) | (green << 8) | blue
        elif stored == np.int16:
            yield plane.astype(np.int16).view(np.uint16) ^ np.uint16(0x8000)
        else:
            yield plane.astype(stored, copy=False)


def _calibrate(made: Any, item: Image | LabelMap, like: Any, *, signed: bool) -> None:
    if like is not None:
        calibration = like.getCalibration().copy()
        calibration.disableDensityCalibration()
    else:
        calibration = java("ij.measure.Calibration")()
        grid = item.grid
        calibration.setUnit(_UNITS[grid.unit])
        spacing = dict(zip("zyx"[3 - grid.ndim :], grid.spacing, strict=True))
        calibration.pixelWidth, calibration.pixelHeight = spacing["x"], spacing["y"]
        calibration.pixelDepth = spacing.get("z", 1.0)
        origin = dict(zip("xyz", grid.origin, strict=False))
        for axis, start in origin.items():
            setattr(calibration, f"{axis}Origin", -start / spacing[axis] + 0.0)
        if item.frame_interval:
            calibration.frameInterval = item.frame_interval
            calibration.setTimeUnit("sec")
    if signed:
        calibration.setSigned16BitCalibration()
    made.setCalibration(calibration)


def _with_looks(made: Any, looks: Mapping[str, Any], channels: int, title: str) -> Any:
    """Give an image of intensities its colours, overlay and text back."""
    made.resetDisplayRange()
    if channels > 1:
        composite = java("ij.CompositeImage")
        mode = looks.get("mode", composite.COMPOSITE if channels <= _COMPOSITES else composite.GRAYSCALE)
        made = composite(made, mode)
        made.setTitle(title)
    tables, ranges = looks.get("luts") or (), looks.get("ranges") or ()
    if len(tables) == channels:
        luts = [_lut(table, *span) for table, span in zip(tables, ranges, strict=True)]
        if channels > 1:
            made.setLuts(luts)
        else:
            made.setLut(luts[0])
            made.setDisplayRange(luts[0].min, luts[0].max)
    if looks.get("overlay"):
        overlay = java("ij.gui.Overlay")()
        decode = java("ij.io.RoiDecoder").openFromByteArray
        for roi in looks["overlay"]:
            overlay.add(decode(to_java(np.frombuffer(roi, np.uint8))))
        made.setOverlay(overlay)
    if looks.get("info"):
        made.setProperty("Info", looks["info"])
    return made


def _lut(table: np.ndarray, low: float, high: float) -> Any:
    lut = java("ij.process.LUT")(*(to_java(row) for row in table))
    lut.min, lut.max = low, high
    return lut


def label_lut() -> Any:
    """The colours of label images as a LUT."""
    return java("ij.process.LUT")(*(to_java(row) for row in label_colours()))
