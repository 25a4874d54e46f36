"""Pairs for the tests of restorers: blobs, and the same with noise."""

from pathlib import Path

import numpy as np

from deepbio import io
from deepbio.cases.restore import RestoreCase, RestoreSample
from deepbio.image import Grid, Image
from deepbio.training import propose_plan
from deepbio.training.restore import Plan, Wishes

SMALL = {"width": 4, "stages": 2, "patch": 16, "batch": 2, "steps": 3}


def clean_blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full(shape, 20.0)
    for centre in rng.uniform(0, 1, (12, len(shape))) * shape:
        r2 = sum((np.arange(n) - c).reshape([-1 if k == a else 1 for k in range(len(shape))]) ** 2
                 for a, (n, c) in enumerate(zip(shape, centre, strict=True)))  # fmt: skip
        image = image + 150 * np.exp(-r2 / 18)
    return image


def write_pairs(folder: Path, shape: tuple[int, ...] = (45, 61), count: int = 4, target: bool = True) -> Path:
    """Blobs, and the same with noise at another gain and offset; the last is for validation."""
    rng = np.random.default_rng(3)
    axes = "ZYX"[3 - len(shape) :]
    for number in range(count):
        clean = clean_blobs(shape, number)
        noisy = rng.poisson(clean) * 3 + 100
        part = folder / ("val" if number == count - 1 else "train")
        for name, pixels in (("input", noisy), ("target", clean)):
            if target or name == "input":
                (part / name).mkdir(parents=True, exist_ok=True)
                grid = Grid(shape, (0.7,) * len(shape), unit="micrometer")
                io.write(part / name / f"case{number}.tif", Image(pixels.astype(np.uint16), axes, grid))
    return folder


def restore_plan(data: Path, **wishes: object) -> Plan:
    return propose_plan(data, Wishes(**{**SMALL, **wishes}), task="restore")


def restore_sample(image: np.ndarray | None, target: np.ndarray | None = None) -> RestoreSample:
    given = target if image is None else image
    case = RestoreCase(None if image is None else Path("a.tif"), None if target is None else Path("b.tif"))
    return RestoreSample(image, target, case, Grid(given.shape[2:]))
