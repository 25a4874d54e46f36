"""How good a segmentation is: overlap of classes, distances of their surfaces, and pairs of objects."""

from deepbio.metrics.objects import (
    IOU_THRESHOLDS,
    Matching,
    average_precision,
    match_objects,
    overlap_matrix,
)
from deepbio.metrics.overlap import dice
from deepbio.metrics.surface import SurfaceDistances, hausdorff, surface_dice, surface_distances

__all__ = [
    "IOU_THRESHOLDS",
    "Matching",
    "SurfaceDistances",
    "average_precision",
    "dice",
    "hausdorff",
    "match_objects",
    "overlap_matrix",
    "surface_dice",
    "surface_distances",
]
