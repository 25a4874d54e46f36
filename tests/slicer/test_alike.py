"""Whether volumes share their voxels: the words of the form, and the bounds of the core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import deepbio
from deepbio.errors import ImageError
from deepbio.image import Grid, Image
from SlicerDeepBioLib.alike import apart
from tests.slicer.nodes import affine, rotation

SIZE = (9, 7, 6)
HERE = affine((0.5, 0.8, 3.0))  # the smallest spacing is 0.5 mm, so 0.05 mm are let pass


def moved(*step: float) -> np.ndarray:
    there = HERE.copy()
    there[:3, 3] += step
    return there


def turned(angle: float) -> np.ndarray:
    there = HERE.copy()
    there[:3, :3] = rotation(0, 0, angle) @ there[:3, :3]
    return there


@pytest.mark.parametrize(
    ("size", "matrix", "told"),
    [
        (SIZE, HERE, ""),
        (SIZE, moved(0, 0.04, 0), ""),
        (SIZE, moved(0, 0.06, 0), "its first voxel is 0.06 mm away"),
        (SIZE, turned(1e-3), ""),
        (SIZE, turned(1e-2), "its axes are turned, a corner is"),
        (SIZE, affine((0.5, 0.8, 3.002)), ""),
        (SIZE, affine((0.5, 0.8, 3.01)), "its spacing is 0.5 x 0.8 x 3.01 mm, not 0.5 x 0.8 x 3 mm"),
        ((9, 7, 5), HERE, "9 x 7 x 5 voxels, not 9 x 7 x 6"),
    ],
)
def test_the_form_and_the_core_agree(
    size: tuple[int, ...], matrix: np.ndarray, told: str, tmp_path: Path
) -> None:
    """What the form takes as channels of one image, `deepbio.read` takes, and no more."""
    said = apart((SIZE, HERE), (size, matrix))
    assert said.startswith(told)
    assert bool(said) == bool(told)
    paths = [tmp_path / "a.nrrd", tmp_path / "b.nrrd"]
    for path, (sizes, place) in zip(paths, ((SIZE, HERE), (size, matrix)), strict=True):
        deepbio.write(path, image(sizes, place))
    if not told:
        assert deepbio.read(paths).axes == "CZYX"
        return
    with pytest.raises(ImageError, match="Bring them to one grid"):
        deepbio.read(paths)


def image(size: tuple[int, ...], matrix: np.ndarray) -> Image:
    world = np.diag([-1, -1, 1, 1]) @ matrix  # RAS to LPS
    spacing = np.linalg.norm(world[:3, :3], axis=0)
    grid = Grid(
        size[::-1],
        tuple(spacing[::-1]),
        tuple(world[:3, 3]),
        (world[:3, :3] / spacing)[:, ::-1],
        "millimeter",
    )
    return Image(np.zeros(size[::-1], np.int16), "ZYX", grid)
