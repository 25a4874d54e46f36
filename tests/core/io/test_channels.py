"""Files that are the channels of one image."""

from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import ImageError
from deepbio.image import Grid, Image
from deepbio.io import read, write
from tests.core.engine.grids import GRIDS


def _write(folder: Path, name: str, grid: Grid, kind: type, axes: str = "ZYX", frames: int = 0) -> Path:
    shape = (frames, *grid.shape) if frames else grid.shape
    pixels = np.random.default_rng(len(name)).integers(0, 200, shape).astype(kind)
    write(folder / name, Image(pixels, axes, grid, frame_interval=0.5 if frames else None))
    return folder / name


def test_files_are_stacked_in_order_with_the_place_of_the_first(tmp_path: Path) -> None:
    grid = GRIDS["oblique"]
    paths = [
        _write(tmp_path, "t1.x.nii.gz", grid, np.uint8),
        _write(tmp_path, "flair.nii.gz", grid, np.int16),
    ]
    image = read(paths)
    assert (image.axes, image.channels, image.dtype) == ("CZYX", ("t1", "flair"), np.int16)
    assert image.shape == (2, *grid.shape)
    for path, plane in zip(paths, image.numpy(), strict=True):
        np.testing.assert_array_equal(plane, read(path).numpy())
    np.testing.assert_allclose(image.grid.direction, grid.direction, atol=1e-6)


def test_channels_of_a_movie_come_after_time(tmp_path: Path) -> None:
    grid = Grid((7, 11), (0.5, 0.4), unit="micrometer")
    paths = [_write(tmp_path, f"{name}.tif", grid, np.uint8, "TYX", 3) for name in ("red", "green")]
    image = read(paths)
    assert (image.axes, image.shape, image.frame_interval) == ("TCYX", (3, 2, 7, 11), 0.5)


def test_what_does_not_lie_there_is_refused(tmp_path: Path) -> None:
    grid = GRIDS["oblique"]
    first = _write(tmp_path, "a.nii.gz", grid, np.uint8)
    nearly = grid.replace(origin=tuple(o + 0.01 for o in grid.origin))
    assert read([first, _write(tmp_path, "near.nii.gz", nearly, np.uint8)]).size("C") == 2
    moved = grid.replace(origin=tuple(o + 3 for o in grid.origin))
    coarser = grid.replace(spacing=tuple(s * 1.1 for s in grid.spacing))
    shorter = grid.replace(shape=(20, 67, 91))
    for other, message in (
        (moved, "does not lie where .*: a corner is 5.2 millimeter away"),
        (coarser, "its spacing is 2.75 x 0.88 x 0.55 millimeter, not 2.5 x 0.8 x 0.5"),
        (shorter, "Z=20 x Y=67 x X=91; .* has Z=21 x Y=67 x X=91"),
    ):
        with pytest.raises(ImageError, match=message):
            read([first, _write(tmp_path, "b.nii.gz", other, np.uint8)])
    write(
        tmp_path / "rgb.png", Image(np.zeros((3, 67, 91), np.uint8), "CYX", channels=("red", "green", "blue"))
    )
    with pytest.raises(ImageError, match="has 3 channels; expected one"):
        read([first, tmp_path / "rgb.png"])
    with pytest.raises(ImageError, match="There is no file"):
        read([])
