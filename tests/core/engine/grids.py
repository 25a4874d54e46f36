"""Grids as scanners make them: anisotropic, oblique, left-handed, in any order of axes."""

import numpy as np

from deepbio.image import Grid


def _turn(a: float, b: float) -> np.ndarray:
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    return np.array(about_z) @ np.array(about_x)


_PLAIN = np.eye(3)[:, ::-1]
GRIDS = {
    "axial": Grid((21, 67, 91), (2.5, 0.8, 0.5), (-13.0, 7.5, 101.0), _PLAIN, "millimeter"),
    "oblique": Grid(
        (21, 67, 91), (2.5, 0.8, 0.5), (-13.0, 7.5, 101.0), _turn(0.3, 0.2)[:, ::-1], "millimeter"
    ),
    "left-handed": Grid(
        (51, 37, 45), (0.9, 1.3, 1.1), (3.0, -7.5, 0.5), _turn(-0.5, 0.1)[:, ::-1] * [1, -1, 1], "millimeter"
    ),
    "sagittal": Grid(
        (19, 61, 53),
        (2.8, 0.9, 1.0),
        (5.0, 5.0, -9.0),
        _turn(0.2, -0.3)[:, [0, 2, 1]] * [-1, 1, -1],
        "millimeter",
    ),
    "coronal in micrometers": Grid(
        (45, 50, 55), (1200.0, 1000.0, 900.0), (0.0, 1.0, 2.0), _turn(0.1, 0.1)[:, [1, 2, 0]], "micrometer"
    ),
}


def world_of(grid: Grid) -> np.ndarray:
    """World position of every pixel, shape (*grid.shape, ndim)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return grid.to_world(index)


def sphere(grid: Grid, radius: float) -> np.ndarray:
    """A ball in the middle of a grid, painted in the world; radius in the grid's unit."""
    centre = grid.to_world(np.array(grid.shape) / 2 - 0.5)
    return np.linalg.norm(world_of(grid) - centre, axis=-1) < radius
