"""Sequences of 3D Slicer in NRRD: an axis of the kind "list" whose items are frames, not channels.

Slicer writes volumes that share a grid as ``.seq.nrrd``: the list is the last axis (in older files the first),
its label and unit are those of the index, and the index of each item stands in keys of the file ("axis 3
index values"). Diffusion volumes have a list of gradients instead: these stay channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepbio.io.units import parse_time

__all__ = ["frames_are_list", "sequence_times"]

_INDEX = re.compile(r"^axis \d+ index (type|values)$")
_EVEN = 0.01  # of the mean step: how far a step may be from it


def frames_are_list(path: Path, meta: Mapping[str, str]) -> bool:
    """Whether the components of a file are the frames of a sequence.

    Parameters
    ----------
    path : Path
        The file, whose name may end in ``.seq.nrrd``.
    meta : mapping of str to str
        The header's fields, as SimpleITK names them.
    """
    if meta.get("NRRD_kinds[pixel]") != "list" or meta.get("modality", "").strip() == "DWMRI":
        return False
    return path.name.lower().endswith(".seq.nrrd") or any(_INDEX.match(key) for key in meta)


def sequence_times(meta: Mapping[str, str]) -> tuple[float | None, tuple[str, ...]]:
    """Seconds between the frames of a file, where it has an index of them.

    Returns
    -------
    (float or None, tuple of str)
        None where there is no index, it has no unit of time, or its steps differ; and what is to be told of it.

    Examples
    --------
    >>> sequence_times({"axis 3 index values": "0 40 80", "NRRD_units[pixel]": "ms"})
    (0.04, ())
    """
    values = next((text for key, text in meta.items() if _INDEX.match(key) and key.endswith("values")), "")
    units = (text for key, text in meta.items() if key.startswith("NRRD_units["))
    unit, seconds = next(((text, found) for text in units if (found := parse_time(text))), ("", None))
    try:
        steps = np.diff([float(value) for value in values.split()])
    except ValueError:  # an index of words
        return None, ()
    if seconds is None or not len(steps):
        return None, ()
    step = float(steps.mean())
    if step <= 0 or np.abs(steps - step).max() > _EVEN * step:
        told = f"The frames are {steps.min():g} to {steps.max():g} {unit} apart: they are read without an interval."
        return None, (told,)
    return step * seconds, ()
