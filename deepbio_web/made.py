"""What a generator of classes made of no input: images in a place of their own, looked at one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

import deepbio
from deepbio_web.results import read_table
from SlicerDeepBioLib.answers import of_part
from SlicerDeepBioLib.sequences import sequence_of

__all__ = ["image_of", "is_made", "names", "player"]


def is_made(run: Any) -> bool:
    """Whether a run, if there is one, was given no image."""
    return run is not None and run.node is None


def player(run: Any) -> tuple[Any, int]:
    """The browser of the images, None where there is one, and their number."""
    played = sequence_of(of_part(run.volumes, "image")[0])
    return (None, 1) if played is None else (played[0], played[1].GetNumberOfDataNodes())


def names(run: Any) -> list[str]:
    """The class of each image."""
    return [str(name) for name in read_table(run.tables[0]).get("class", ())] if run.tables else []


def image_of(frames: list[np.ndarray], *, colour: bool) -> deepbio.Image:
    """The images as :func:`deepbio.generate` gives them.

    Parameters
    ----------
    frames : list of ndarray, shape (y, x) or (channels, y, x)
        Their pixels.
    colour : bool
        Whether the channels are red, green and blue.
    """
    axes, pixels = ("T", np.stack(frames)) if len(frames) > 1 else ("", frames[0])
    axes += "CYX" if frames[0].ndim == 3 else "YX"
    return deepbio.Image(pixels, axes, channels=("red", "green", "blue") if colour else ())
