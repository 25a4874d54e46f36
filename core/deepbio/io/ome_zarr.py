"""OME-Zarr (NGFF 0.4 and 0.5) through the optional package zarr: the largest level, read in parts.

A chunk that is not stored is, by the format's own rule, filled with its fill value; a copy that
lost chunks can therefore not be told from an image with empty regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError, MissingPackage, OutputError
from deepbio.image import AXES, Grid, Image, LabelMap, Table
from deepbio.io.arrays import FileArray
from deepbio.io.labels import label_type
from deepbio.io.units import parse_length, parse_time

__all__ = ["read", "write"]

OURS = "deepbio"  # attribute for what NGFF has no word for
_CHUNK = {"T": 1, "C": 1, "Z": 16, "Y": 512, "X": 512}
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
_BAND = 4 * 2**20  # pixels written at a time, at least one chunk


class ZarrArray(FileArray):
    """A zarr array whose failures are ours."""

    def __init__(self, array: Any, path: Path) -> None:
        super().__init__(tuple(array.shape), array.dtype)
        self._array = array
        self._path = path

    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        try:
            return np.asarray(self._array[tuple(map(slice, start, stop))], self.dtype)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ImageError(
                f"'{self._path}' has a damaged chunk: {error}.", "Copy or export it again."
            ) from error


def read(path: Path, *, lazy: bool, labels: bool) -> Image:
    """Read the largest level of an OME-Zarr.

    Raises
    ------
    MissingPackage
        If zarr is not installed.
    ImageError
        If the folder is no OME-Zarr image, or its axes are not of t, c, z, y, x in this order.
    """
    zarr = _zarr("Reading OME-Zarr")
    try:
        group = zarr.open_group(str(path), mode="r")
    except (OSError, ValueError, KeyError) as error:
        hint = "Name the folder that holds zarr.json or .zgroup."
        raise ImageError(f"'{path}' is not a zarr group: {error}.", hint) from error
    attributes = dict(group.attrs)
    ome: Mapping[str, Any] = attributes.get("ome", attributes)
    if not ome.get("multiscales"):
        kind = "a plate: name one of its fields" if "plate" in ome else "a zarr without the images of OME"
        raise ImageError(f"'{path}' is {kind}.", "Name the folder whose attributes hold 'multiscales'.")
    scales = ome["multiscales"][0]
    array = ZarrArray(group[scales["datasets"][0]["path"]], path)
    axes = _axes(path, scales.get("axes", []), array.shape)
    scale, shift = _transform(scales, len(axes))
    ours = attributes.get(OURS, {})
    grid, interval = _place(axes, array.shape, scales["axes"], (scale, shift), ours.get("direction"))
    names = tuple(str(one.get("label", "")) for one in ome.get("omero", {}).get("channels", []))
    channels = names if "C" in axes and len(names) == array.shape[axes.index("C")] and all(names) else ()
    meta = {"labels": {int(k): str(v) for k, v in ours["labels"].items()}} if "labels" in ours else {}
    return Image(array if lazy else array[...], axes, grid, channels, interval, meta)


def write(path: Path, item: Image | LabelMap | Table) -> None:
    """Write one level as OME-Zarr 0.5, chunk by chunk.

    Raises
    ------
    MissingPackage
        If zarr is not installed.
    """
    if isinstance(item, Table):
        raise OutputError(f"'{path}': expected an image or a label map, found a table.")
    zarr = _zarr("Writing OME-Zarr")
    dtype = label_type(item)[0] if isinstance(item, LabelMap) else item.dtype.newbyteorder("=")
    chunks = tuple(min(n, _CHUNK[axis]) for axis, n in zip(item.axes, item.shape, strict=True))
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    names = list(item.axes.lower())
    array = group.create_array("0", shape=item.shape, dtype=dtype, chunks=chunks, dimension_names=names)
    for key in _bands(item.shape, chunks):
        array[key] = np.asarray(item.array[key]).astype(dtype)
    group.attrs["ome"] = _metadata(item)
    ours: dict[str, Any] = {}
    if not np.array_equal(item.grid.direction, np.eye(item.grid.ndim)[:, ::-1]):
        ours["direction"] = item.grid.direction.tolist()
    if isinstance(item, LabelMap) and item.names:
        ours["labels"] = {str(label): name for label, name in item.names.items()}
    if ours:
        group.attrs[OURS] = ours


def _zarr(purpose: str) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingPackage("zarr", purpose, "zarr") from error
    return zarr


def _axes(path: Path, described: Sequence[Any], shape: tuple[int, ...]) -> str:
    names = "".join(
        str(axis.get("name", "?") if isinstance(axis, Mapping) else axis)[:1] for axis in described
    ).upper()
    in_order = [AXES.find(name) for name in names]
    if -1 in in_order or in_order != sorted(set(in_order)) or len(names) != len(shape):
        raise ImageError(
            f"'{path}' has the axes {names!r} for the shape {shape}; expected some of TCZYX in this order."
        )
    return names


def _transform(scales: Mapping[str, Any], ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of the largest level, in its own units."""
    scale, shift = np.ones(ndim), np.zeros(ndim)
    steps = [
        *scales["datasets"][0].get("coordinateTransformations", []),
        *scales.get("coordinateTransformations", []),
    ]
    for step in steps:
        if step.get("type") == "scale":
            scale, shift = scale * step["scale"], shift * step["scale"]
        elif step.get("type") == "translation":
            shift = shift + step["translation"]
    return scale, shift


def _place(
    axes: str,
    shape: tuple[int, ...],
    described: Sequence[Mapping[str, Any]],
    transform: tuple[np.ndarray, np.ndarray],
    direction: Any,
) -> tuple[Grid, float | None]:
    spatial = [i for i, axis in enumerate(axes) if axis in "ZYX"]
    units = [parse_length(str(described[i].get("unit", ""))) or ("pixel", 1.0) for i in spatial]
    unit = units[-1][0]
    ratio = {("millimeter", "micrometer"): 1e3, ("micrometer", "millimeter"): 1e-3}
    factors = [factor * ratio.get((own, unit), 1.0) for own, factor in units]
    spacing = [transform[0][i] * factor for i, factor in zip(spatial, factors, strict=True)]
    origin = [transform[1][i] * factor for i, factor in zip(spatial, factors, strict=True)]
    straight = np.eye(len(spatial))[:, ::-1]
    grid = Grid(
        tuple(shape[i] for i in spatial),
        tuple(spacing),
        tuple(reversed(origin)),
        np.asarray(direction, dtype=float) if direction else straight,
        unit,
    )
    if "T" not in axes:
        return grid, None
    at = axes.index("T")
    seconds = parse_time(str(described[at].get("unit", "")))
    return grid, float(transform[0][at]) * seconds if seconds else None


def _metadata(item: Image | LabelMap) -> dict[str, Any]:
    grid = item.grid
    described: list[dict[str, str]] = [{"name": axis.lower(), "type": _TYPES[axis]} for axis in item.axes]
    scale, shift = [1.0] * len(described), [0.0] * len(described)
    first = len(described) - grid.ndim
    scale[first:], shift[first:] = list(grid.spacing), list(grid.origin[::-1])
    for axis in described[first:]:
        if grid.unit != "pixel":
            axis["unit"] = grid.unit
    if "T" in item.axes and item.frame_interval:
        described[0]["unit"], scale[0] = "second", float(item.frame_interval)
    steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
    scales = {
        "name": "image",
        "axes": described,
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
    }
    metadata: dict[str, Any] = {"version": "0.5", "multiscales": [scales]}
    if isinstance(item, Image) and item.channels:
        metadata["omero"] = {"channels": [{"label": name} for name in item.channels]}
    if isinstance(item, LabelMap):
        metadata["image-label"] = {}
    return metadata


def _bands(shape: tuple[int, ...], chunks: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Blocks of whole chunks that cover the array, each of about the size of a band."""
    step = list(chunks)
    step[-1] = shape[-1]
    rows = max(1, _BAND // int(np.prod(step)))
    step[-2] = min(shape[-2], chunks[-2] * rows)
    counts = [-(-n // s) for n, s in zip(shape, step, strict=True)]
    return [
        tuple(slice(i * s, (i + 1) * s) for i, s in zip(at, step, strict=True)) for at in np.ndindex(*counts)
    ]
