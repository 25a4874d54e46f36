"""Draw clean images of what fluorescence shows: fibres, membranes, vesicles and nuclei.

    python recipes/denoise/make_structures.py FOLDER [--count N] [--size PIXELS]

Each image is a sum of two or three kinds of structure at random sizes, blurred as a microscope blurs, with light
from out of focus. They have no noise: `deepbio train` draws it. The same number gives the same image.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

import deepbio


def fibres(size: int, rng: np.random.Generator) -> np.ndarray:
    """Bent lines, in bundles that share a direction."""
    canvas = np.zeros((size, size))
    for _ in range(rng.integers(2, 8)):
        centre, direction = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        spread, bend = rng.uniform(0.02, 0.6), 10 ** rng.uniform(-3.2, -1.6)
        for _ in range(rng.integers(5, 60)):
            steps = int(size * rng.uniform(0.2, 1.5))
            angle = direction + rng.normal(0, spread) + np.cumsum(rng.normal(0, bend, steps))
            start = centre + rng.normal(0, size / 4, 2)
            y = start[0] + np.cumsum(np.sin(angle)) / 2
            x = start[1] + np.cumsum(np.cos(angle)) / 2
            bright = rng.gamma(2, 0.5) * (1 + 0.5 * np.sin(np.cumsum(rng.normal(0, 0.1, steps))))
            _add(canvas, y, x, bright)
    return ndimage.gaussian_filter(canvas, rng.uniform(0.7, 1.6))


def membranes(size: int, rng: np.random.Generator) -> np.ndarray:
    """The borders of cells that touch, of uneven brightness."""
    seeds = rng.uniform(-0.1 * size, 1.1 * size, (rng.integers(8, 120), 2))
    wave = [ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), 12) * 12 * 2 for _ in range(2)]
    at = np.stack(np.mgrid[:size, :size], -1).astype(float) + np.stack(wave, -1) * rng.uniform(0, 4)
    near, _ = cKDTree(seeds).query(at, k=2)
    wide = rng.uniform(0.8, 3)
    line = np.exp(-(((near[..., 1] - near[..., 0]) / wide) ** 2))
    body = rng.uniform(0, 0.3) * _cloud(size, 20, rng)
    return line * (0.3 + _cloud(size, rng.uniform(3, 30), rng)) + body


def vesicles(size: int, rng: np.random.Generator) -> np.ndarray:
    """Dots, short rods and rings, crowded in places."""
    canvas = np.zeros((size, size))
    crowd = _cloud(size, size / 8, rng) ** 3
    chosen = rng.choice(size * size, rng.integers(100, 1500), p=(crowd / crowd.sum()).ravel())
    long = rng.uniform(0, 20)
    for place in chosen:
        steps = 1 + int(rng.exponential(long))
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.15, steps))
        y = place // size + np.cumsum(np.sin(angle)) / 2
        x = place % size + np.cumsum(np.cos(angle)) / 2
        _add(canvas, y, x, rng.gamma(2, 0.5))
    wide = rng.uniform(0.7, 2.5)
    body = ndimage.gaussian_filter(canvas, wide)
    if rng.uniform() < 0.3:  # bright walls about a dark middle
        body = np.maximum(body - 0.8 * ndimage.gaussian_filter(canvas, 0.7 * wide) * 0.5, 0)
    return body


def nuclei(size: int, rng: np.random.Generator) -> np.ndarray:
    """Ellipses with a texture inside."""
    canvas = np.zeros((size, size))
    grid = np.mgrid[:size, :size].astype(float)
    middle = 10 ** rng.uniform(0.8, 1.9)
    for _ in range(int(np.clip(rng.uniform(0.05, 0.5) * size**2 / (3 * middle**2), 1, 150))):
        centre, angle = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        a, b = middle * rng.uniform(0.7, 1.3), middle * rng.uniform(0.5, 1.0)
        y, x = grid[0] - centre[0], grid[1] - centre[1]
        u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        inside = 1 / (
            1 + np.exp(np.clip((np.hypot(u / a, v / b) - 1) * middle / rng.uniform(0.7, 2), -50, 50))
        )
        canvas = np.maximum(canvas, inside * rng.gamma(4, 0.25))
    grain = _cloud(size, 10 ** rng.uniform(0.2, 1.0), rng)
    return canvas * (1 + rng.uniform(0, 1) * (grain - grain.mean()))


def _add(canvas: np.ndarray, y: np.ndarray, x: np.ndarray, bright: np.ndarray | float) -> None:
    """Light at points between the pixels, shared among the four about each."""
    low_y, low_x = np.floor(y).astype(int), np.floor(x).astype(int)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = bright * np.abs(1 - dy - (y - low_y)) * np.abs(1 - dx - (x - low_x))
            iy, ix = low_y + dy, low_x + dx
            inside = (iy >= 0) & (ix >= 0) & (iy < canvas.shape[0]) & (ix < canvas.shape[1])
            np.add.at(canvas, (iy[inside], ix[inside]), weight[inside])


def _cloud(size: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth random brightness between 0 and 1."""
    cloud = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), scale, mode="wrap")
    return (cloud - cloud.min()) / (np.ptp(cloud) + 1e-12)


def draw(size: int, seed: int) -> np.ndarray:
    """One image, 16-bit."""
    rng = np.random.default_rng(seed)
    kinds = [fibres, membranes, vesicles, nuclei]
    picked = [kinds[seed % 4], *(kinds[k] for k in rng.choice(4, rng.integers(0, 2)))]
    light = np.zeros((size, size))
    for number, kind in enumerate(picked):
        part = kind(size, rng)
        light += part / (np.percentile(part, 99.5) + 1e-9) * (1 if number == 0 else rng.uniform(0.1, 0.8))
    light = ndimage.gaussian_filter(light, rng.uniform(0, 1.2))
    light += rng.uniform(0, 0.5) * ndimage.gaussian_filter(light, 10 ** rng.uniform(0.8, 1.7))  # out of focus
    light *= 0.4 + 0.6 * _cloud(size, size / 6, rng) if rng.uniform() < 0.5 else 1
    top = np.percentile(light, 99.9)
    return np.clip(light / top * 40000, 0, 65535).astype(np.uint16)


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for number in range(asked.count):
        image = deepbio.Image(draw(asked.size, number), "yx")
        deepbio.write(asked.folder / f"structure{number:03d}.tif", image)


if __name__ == "__main__":
    main()
