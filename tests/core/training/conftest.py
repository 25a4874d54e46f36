"""A small data set that a small network learns in seconds."""

from pathlib import Path

import numpy as np
import pytest

from deepbio import io
from deepbio.image import Grid, Image, LabelMap
from tests.core.tasks.scenes import touching_discs
from tests.core.training.blobs import clean_blobs, write_pairs


def write_cases(folder: Path, count: int, shape: tuple[int, ...]) -> Path:
    """Bright discs on dark ground, and their labels; every fifth case is for validation."""
    random = np.random.default_rng(0)
    for number in range(count):
        labels = touching_discs(shape, seed=number)
        pixels = np.where(labels > 0, 180.0, 30.0) + random.normal(0, 8, shape)
        grid = Grid(shape, tuple(0.5 for _ in shape), unit="micrometer")
        axes = "ZYX"[3 - len(shape) :]
        part = folder / ("val" if number % 5 == 4 else "train")
        for name in ("images", "labels"):
            (part / name).mkdir(parents=True, exist_ok=True)
        io.write(
            part / "images" / f"case{number}.tif", Image(pixels.clip(0, 255).astype(np.uint8), axes, grid)
        )
        io.write(part / "labels" / f"case{number}.tif", LabelMap(labels, axes, grid))
    return folder


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten 2D cases of 75 x 91 pixels."""
    return write_cases(tmp_path_factory.mktemp("discs"), 10, (75, 91))


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five 3D cases."""
    return write_cases(tmp_path_factory.mktemp("balls"), 5, (19, 35, 33))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        pixels = np.random.default_rng(number).poisson(clean_blobs((45, 61), number)).astype(np.uint16)
        io.write(folder / f"{number}.tif", Image(pixels))
    return folder
