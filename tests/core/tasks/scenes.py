"""Synthetic objects and the scores that a perfect network would give for them."""

import numpy as np

OFFSET_UNIT = 16.0


def touching_discs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Discs (balls) of different size, some of which touch; each pixel has the nearest one's label."""
    random = np.random.default_rng(seed)
    dims = len(shape)
    centres: list[np.ndarray] = []
    radii: list[float] = []
    low, high = (5, 12) if dims == 2 else (4, 8)
    for _ in range(4000):
        radius = random.uniform(low, high)
        centre = random.uniform(0, np.array(shape))
        gaps = [np.linalg.norm(centre - c) - r - radius for c, r in zip(centres, radii, strict=True)]
        if all(gap > -1.5 for gap in gaps):  # neighbours may press against each other
            centres.append(centre)
            radii.append(radius)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    labels = np.zeros(shape, np.int32)
    depth = np.zeros(shape)
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), 1):
        inside = 1 - np.linalg.norm(grid - centre, axis=-1) / radius
        labels[inside > depth] = number
        depth = np.maximum(depth, inside)
    kept = np.bincount(labels.ravel()) > 20
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


def perfect_scores(labels: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Foreground (before the sigmoid), depth and offsets of a label image, computed naively."""
    dims = labels.ndim
    scores = np.zeros((2 + dims, *labels.shape), np.float32)
    scores[0] = np.where(labels > 0, 6, -6)
    from scipy import ndimage

    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * dims]
        scores[1][mask] = (depth / depth.max())[mask]
        where = np.argwhere(mask)
        scores[2:][:, mask] = (where.mean(0) - where).T / OFFSET_UNIT
    return (
        scores + np.random.default_rng(1).normal(0, noise, scores.shape).astype(np.float32)
        if noise
        else scores
    )
