"""One image from several files, each of them a channel: the sequences of an MR examination, PET beside CT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepbio.errors import ImageError
from deepbio.image import Grid, Image

__all__ = ["join_channels"]

_SAME_SPACING = 1e-3  # of it
_SAME_PLACE = 0.1  # of the smallest spacing: files round


def join_channels(images: Sequence[Image], paths: Sequence[Path]) -> Image:
    """Put images of one channel on top of each other.

    Parameters
    ----------
    images : sequence of Image
        At least one; all with the same axes and pixels at the same places.
    paths : sequence of Path
        Where they came from; their names without suffix name the channels.

    Returns
    -------
    Image
        Axes of the images with C among them; pixels of a type that holds all of theirs. The rest is that of the
        first one.

    Raises
    ------
    ImageError
        If one has several channels, or lies elsewhere than the first.
    """
    first = images[0]
    for image, path in zip(images, paths, strict=True):
        if image.size("C") != 1:
            raise ImageError(
                f"'{path}' has {image.size('C')} channels; expected one, as each file is a channel."
            )
        if image.axes.replace("C", "") != first.axes.replace("C", "") or _size(image) != _size(first):
            raise ImageError(
                f"'{path}' has {_told(image)}; '{paths[0]}' has {_told(first)}. Channels show the same pixels.",
                "Bring them to one grid first (registration, resampling).",
            )
        away = _distance(image.grid, first.grid)
        if away:
            raise ImageError(
                f"'{path}' does not lie where '{paths[0]}' does: {away}.",
                "Bring them to one grid first (registration, resampling).",
            )
    axes = first.axes.replace("C", "")
    at = 1 if axes.startswith("T") else 0
    planes = [np.asarray(image.array).reshape(_size(image)) for image in images]
    array = np.stack([plane.astype(np.result_type(*planes), copy=False) for plane in planes], axis=at)
    notes = tuple(note for image in images for note in image.meta.get("notes", ()))
    meta = {**first.meta, **({"notes": notes} if notes else {})}
    names = tuple(path.name.split(".", 1)[0] for path in paths)
    return Image(
        array,
        axes[:at] + "C" + axes[at:],
        first.grid,
        channels=names,
        frame_interval=first.frame_interval,
        meta=meta,
    )


def _size(image: Image) -> tuple[int, ...]:
    return tuple(image.size(axis) for axis in image.axes if axis != "C")


def _told(image: Image) -> str:
    return " x ".join(f"{axis}={image.size(axis)}" for axis in image.axes if axis != "C")


def _distance(grid: Grid, other: Grid) -> str:
    """How two grids of the same size differ, in words; empty where they do not."""
    if grid.unit != other.unit:
        return f"its unit is {grid.unit}, not {other.unit}"
    if not np.allclose(grid.spacing, other.spacing, rtol=_SAME_SPACING):
        told = [" x ".join(f"{s:g}" for s in one.spacing) for one in (grid, other)]
        return f"its spacing is {told[0]} {grid.unit}, not {told[1]}"
    corners = np.array(list(np.ndindex(*(2,) * grid.ndim))) * (np.array(grid.shape) - 1)
    away = float(np.linalg.norm(grid.to_world(corners) - other.to_world(corners), axis=1).max())
    return f"a corner is {away:.3g} {grid.unit} away" if away > _SAME_PLACE * min(grid.spacing) else ""
