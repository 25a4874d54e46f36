"""What SimpleITK leaves out of a header about places: NRRD's units, long or slanted axes, NIfTI's other matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from deepbio.image import Grid
from deepbio.io.units import parse_length, parse_time

__all__ = ["nrrd_millimeters", "place_notes", "with_unit_axes"]

_HEADER_BYTES = 2**16
_UNITS = re.compile(r"^(?:space )?units:(.*)$", re.MULTILINE)
_ROUNDED = 1e-4  # what files' rounding makes of the length of a direction
_APART = 0.01  # of a voxel: matrices that differ by less differ by how they are rounded
_PRINTED = 2e-5  # of a number: SimpleITK tells the matrix with 6 digits
_LENGTH_UNIT = 0b111  # bits of NIfTI's xyzt_units
_NIFTI_MILLIMETERS = {1: 1e3, 3: 1e-3}  # meters and micrometers; all else is taken for millimeters


def nrrd_millimeters(path: Path) -> float:
    """Millimeters in the unit of length that an NRRD names; 1 where it names none, or different ones."""
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES).replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("latin-1")
    told = [name for line in _UNITS.findall(text) for name in re.findall(r'"([^"]*)"', line)]
    lengths = [parse_length(name) for name in told if parse_time(name) is None]
    found = {length for length in lengths if length is not None and length[0] != "pixel"}
    if len(found) != 1:
        return 1.0
    unit, factor = found.pop()
    return factor * (1e-3 if unit == "micrometer" else 1.0)


def with_unit_axes(spacing: tuple[float, ...], direction: np.ndarray) -> tuple[tuple[float, ...], np.ndarray]:
    """Spacing and direction of the same places whose axes have the length 1, as a grid's have.

    Examples
    --------
    >>> spacing, direction = with_unit_axes((0.5, 3.0), np.diag([2.0, 1.0]))
    >>> spacing, direction.tolist()
    ((1.0, 3.0), [[1.0, 0.0], [0.0, 1.0]])
    """
    lengths = np.linalg.norm(direction, axis=0)
    lengths[(np.abs(lengths - 1) < _ROUNDED) | (lengths == 0)] = 1
    return tuple(float(s * n) for s, n in zip(spacing, lengths, strict=True)), direction / lengths


def place_notes(grid: Grid, meta: Mapping[str, str]) -> tuple[str, ...]:
    """What to know of the place of an image.

    Parameters
    ----------
    grid : Grid
        As it was read, in millimeters.
    meta : mapping of str to str
        The header's fields, as SimpleITK names them.

    Returns
    -------
    tuple of str
        Sentences: that the axes are not perpendicular, or that NIfTI's sform says another place.
    """
    notes = []
    cosines = np.abs(grid.direction.T @ grid.direction)[~np.eye(grid.ndim, dtype=bool)]
    if cosines.max() > 1e-3:
        notes.append(
            f"The axes are sheared by up to {np.degrees(np.arcsin(min(cosines.max(), 1))):.1f} degrees; models and "
            "measurements take them as perpendicular."
        )
    apart = _sform_apart(grid, meta)
    if apart:
        notes.append(
            f"The header has two places that are up to {apart:.3g} mm apart: qform and spacing, which were taken, "
            "and the sform, which other programs may follow."
        )
    return tuple(notes)


def _sform_apart(grid: Grid, meta: Mapping[str, str]) -> float:
    """How far (mm) the corners of the image are from where NIfTI's sform has them; 0 without one."""
    if grid.ndim != 3 or int(meta.get("sform_code", "0")) <= 0:
        return 0.0
    rows = np.array([[float(x) for x in meta[f"srow_{axis}"].split()] for axis in "xyz"])
    rows *= _NIFTI_MILLIMETERS.get(int(meta.get("xyzt_units", "0")) & _LENGTH_UNIT, 1.0)
    rows[:2] *= -1  # NIfTI's world is RAS
    corners = np.array(list(product(*((0, n - 1) for n in grid.shape))), float)
    there, here = corners[:, ::-1] @ rows[:, :3].T + rows[:, 3], grid.to_world(corners)
    apart = float(np.linalg.norm(there - here, axis=1).max())
    rounding = _APART * min(grid.spacing) + _PRINTED * float(np.abs(rows).max() * max(grid.shape))
    return apart if apart > rounding else 0.0
