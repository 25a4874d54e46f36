"""Whether two volumes share their voxels, said for people; needs numpy only."""

from __future__ import annotations

import numpy as np

__all__ = ["apart"]

# As the core compares the files of one case (deepbio.io.channels): what one door takes, the others take, too.
_SAME_SPACING = 1e-3  # of it
_SAME_PLACE = 0.1  # of the smallest spacing: files round
_TURNED = 1e-4


def apart(first, other):
    """In what the voxels of a volume differ from those of another.

    Parameters
    ----------
    first, other : tuple of (tuple of int, ndarray)
        Sizes along i, j, k, and the affine map (4 x 4) from there to the world in millimeters.

    Returns
    -------
    str
        Such as ``"its spacing is 1 x 1 x 3 mm, not 1 x 1 x 1 mm"``; empty where they lie alike.
    """
    (shape, matrix), (size, placed) = first, other
    if tuple(shape) != tuple(size):
        return "{} voxels, not {}".format(*(" x ".join(map(str, one)) for one in (size, shape)))
    spacing, steps = (np.linalg.norm(one[:3, :3], axis=0) for one in (matrix, placed))
    if not np.allclose(steps, spacing, rtol=_SAME_SPACING, atol=0):
        told = (" x ".join(f"{n:.4g}" for n in one) for one in (steps, spacing))
        return "its spacing is {} mm, not {} mm".format(*told)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    moved = np.column_stack([corners, np.ones(8)]) @ (placed - matrix)[:3].T
    away = float(np.linalg.norm(moved, axis=1).max())
    if away <= _SAME_PLACE * spacing.min():
        return ""
    if not np.allclose(matrix[:3, :3] / spacing, placed[:3, :3] / steps, rtol=0, atol=_TURNED):
        return f"its axes are turned, a corner is {away:.3g} mm away"
    return f"its first voxel is {np.linalg.norm(moved[0]):.3g} mm away"
