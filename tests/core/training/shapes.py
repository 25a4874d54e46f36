"""Small images of discs and crosses, as data sets of every layout."""

from pathlib import Path

import numpy as np

from deepbio import io
from deepbio.image import RGB, Image


def shape_image(kind: int, seed: int, size: tuple[int, int] = (21, 25)) -> np.ndarray:
    """A bright disc (0) or cross (1) on dark ground, uint8."""
    random = np.random.default_rng((kind, seed))
    y, x = np.mgrid[: size[0], : size[1]]
    y = y - size[0] / 2 - random.uniform(-2, 2)
    x = x - size[1] / 2 - random.uniform(-2, 2)
    inside = y**2 + x**2 < 36 if kind == 0 else np.minimum(abs(y), abs(x)) < 1.5
    pixels = np.where(inside, 180.0, 40.0) + random.normal(0, 12, size)
    return pixels.clip(0, 255).astype(np.uint8)


def write_folders(folder: Path, counts: dict[str, tuple[int, int]], *, colour: bool = False) -> Path:
    """Folders train/ and val/ with a folder for each class: counts of (disc, cross) for each part."""
    for part, numbers in counts.items():
        for kind, count in enumerate(numbers):
            one = folder / part / ("disc", "cross")[kind]
            one.mkdir(parents=True)
            for number in range(count):
                pixels = shape_image(kind, number + 1000 * (part == "val"))
                image = Image(pixels)
                if colour:
                    image = Image(np.stack([pixels, pixels // 2, 255 - pixels]), "CYX", channels=RGB)
                io.write(one / f"{number}.tif", image)
    return folder


def write_arrays(path: Path, counts: dict[str, tuple[int, int]]) -> Path:
    """The same as arrays in an .npz file."""
    arrays = {}
    for part, numbers in counts.items():
        kinds = [kind for kind, count in enumerate(numbers) for _ in range(count)]
        arrays[f"{part}_images"] = np.stack(
            [shape_image(kind, n + 1000 * (part == "val")) for n, kind in enumerate(kinds)]
        )
        arrays[f"{part}_labels"] = np.array(kinds, np.uint8)[:, None]
    np.savez(path, **arrays)
    return path
