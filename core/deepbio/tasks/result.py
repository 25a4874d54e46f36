"""What a model gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepbio.image import Image, LabelMap, Table

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The outputs of one run; those that were not asked for, or that the task has not, are None.

    Attributes
    ----------
    labels : LabelMap or None
        Objects or classes, on the grid of the input; of a classifier always where objects are classified.
    table : Table or None
        Measurements of the objects, or the answers of a classifier.
    image : Image or None
        A restored or generated image; of a classifier always where tiles are classified: the map.
    scores : Image or None
        What the network gave, after the card's post-processing, one channel each.
    objects : LabelMap or None
        The objects that a classifier was asked about: what the column ``label`` of its table counts.
    features : Table or None
        Vectors of the image or of its objects (`deepbio.features`).
    maps : Image or None
        Feature maps on their own coarser grid, one channel for each feature.
    explanation : Image or None
        How much each pixel speaks for a class; on the grid of the input.
    uncertainty : Image or None
        How unsure the model is at each pixel; on the grid of the input.
    record : mapping
        How the result came about: model, version, weights hash, device, runtime, precision,
        tile, overlap, seconds of each stage, versions. Plain values only.
    """

    labels: LabelMap | None = None
    table: Table | None = None
    image: Image | None = None
    scores: Image | None = None
    objects: LabelMap | None = None
    features: Table | None = None
    maps: Image | None = None
    explanation: Image | None = None
    uncertainty: Image | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
