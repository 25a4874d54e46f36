"""Outlines of objects as ImageJ's selections, at their places in the image that they were found in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from deepbio.image import LabelMap
from deepbio.io.outlines import Outline, outlines_of
from deepbio.io.rois import encode_roi

__all__ = ["Place", "selections"]


@dataclass(frozen=True)
class Place:
    """Where the first plane of a label map lies in an image of ImageJ.

    Attributes
    ----------
    channels, slices, frames : int
        Of that image.
    first_slice, first_frame : int
        From 0.
    """

    channels: int = 1
    slices: int = 1
    frames: int = 1
    first_slice: int = 0
    first_frame: int = 0

    @property
    def is_hyperstack(self) -> bool:
        """Whether planes have more than one number there."""
        return sum(n > 1 for n in (self.channels, self.slices, self.frames)) > 1


def selections(labels: LabelMap, place: Place) -> Iterator[tuple[str, bytes]]:
    """Name and bytes (of a .roi file) of the selection around each object in each plane."""
    for outline in outlines_of(labels):
        z, t = place.first_slice + (outline.z or 0), place.first_frame + (outline.t or 0)
        there = replace(outline, z=z if place.slices > 1 else None, t=t if place.frames > 1 else None)
        name = _name(there, labels.names)
        if place.is_hyperstack:
            yield name, encode_roi(there, name)
        elif place.slices > 1 or place.frames > 1:
            yield name, encode_roi(there, name, position=1 + (z if place.slices > 1 else t))
        else:
            yield name, encode_roi(there, name, position=0)


def _name(outline: Outline, classes: Mapping[int, str]) -> str:
    """The name of an outline at its place, with that of its class."""
    told = classes.get(outline.label)
    return f"{outline.name} {told}" if told else outline.name
