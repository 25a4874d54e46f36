"""Draws stacks of nuclei with their labels, and cuts the real one into its parts: what `nuclei-3d` learns from.

    python recipes/nuclei-3d/make_volumes.py OUT --plantseg plantseg_nuclei3d

Nuclei are ellipsoids with waved outlines that fill a volume without overlapping, close together or apart. They
differ in brightness, have a grain, lie in the haze of what is out of focus, are blurred more along z, and are counted
in few or many photons. What a stack is like (sizes, thickness of slices, crowding, blur, noise) is drawn for each, over
wide ranges; the same number gives the same stack.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy import ndimage

from deepbio.image import Image, LabelMap
from deepbio.io import read, read_labels, write

SHAPE = (40, 96, 96)
CUT = 62  # slices of the real stack before it are train, those after a gap of 4 are val


def main() -> None:
    """Write images, labels and index.csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--plantseg", type=Path, required=True, help="folder with 1135_mini_raw.tif and its labels"
    )
    parser.add_argument("--count", type=int, default=96)
    asked = parser.parse_args()
    for kind in ("images", "labels"):
        (asked.output / kind).mkdir(parents=True, exist_ok=True)
    rows = [("file", "group", "split")]
    for number in range(asked.count):
        rng = np.random.default_rng((2026, number))
        image, labels = drawn(rng)
        name = f"drawn_{number:03d}.tif"
        save(asked.output, name, image, labels)
        rows.append((name, "drawn", "val" if number % 12 == 0 else "train"))
    image = read(asked.plantseg / "1135_mini_raw.tif").numpy()
    labels = read_labels(asked.plantseg / "1135_mini_label.tif").numpy()
    for name, part, split in (("low.tif", slice(CUT), "train"), ("high.tif", slice(CUT + 4, None), "val")):
        save(asked.output, name, image[part], labels[part])
        rows.append((name, "plantseg", split))
    with (asked.output / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def save(folder: Path, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    """Write a case of the data set."""
    write(folder / "images" / name, Image(image, "ZYX"))
    write(folder / "labels" / name, LabelMap(labels.astype(np.uint16), "ZYX"))


def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A stack (uint8) and its labels."""
    thickness = rng.uniform(0.9, 2.8)  # of slices, in pixels
    radius = np.exp(rng.uniform(np.log(5.0), np.log(15.0)))
    labels = packed(rng, radius, thickness)
    light = lit(rng, labels)
    along = rng.uniform(0.4, 2.5)
    sharp = ndimage.gaussian_filter(light, (along * rng.uniform(1, 2.5) / thickness, along, along))
    wide = radius * rng.uniform(0.5, 2.0)
    haze = ndimage.gaussian_filter(light, (2 * wide / thickness, wide, wide))
    field = sharp + rng.uniform(0.05, 0.9) * haze + rng.uniform(0.0, 0.25)
    depth = np.linspace(1, rng.uniform(0.4, 1), SHAPE[0])[:: rng.choice((-1, 1))]
    field = field * depth[:, None, None]
    photons = np.exp(rng.uniform(np.log(3.0), np.log(300.0)))
    counted = rng.poisson(np.maximum(field, 0) * photons) + rng.normal(0, rng.uniform(0, 1.5), SHAPE)
    if rng.uniform() < 0.5:  # detectors and files smooth noise now and then
        counted = ndimage.gaussian_filter(counted, rng.uniform(0, 0.8))
    low, high = np.percentile(counted, (0.1, 99.95))
    return (255 * np.clip((counted - low) / (high - low), 0, 1)).astype(np.uint8), labels


def packed(rng: np.random.Generator, radius: float, thickness: float) -> np.ndarray:
    """Nuclei that do not overlap: a new one takes what is free, if enough of it is."""
    labels = np.zeros(SHAPE, np.int32)
    wanted, tries, number = rng.uniform(0.08, 0.45), 0, 0
    while (labels > 0).mean() < wanted and tries < 600:
        tries += 1
        mask, place = nucleus(rng, radius, thickness)
        part = labels[place]
        free = mask & (part == 0)
        if free.sum() < 0.75 * mask.sum() or free.sum() < 40:
            continue
        pieces, count = ndimage.label(free)
        if count > 1:
            free = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        number += 1
        part[free] = number
    return labels


def nucleus(
    rng: np.random.Generator, radius: float, thickness: float
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A turned ellipsoid with a waved outline, and where it lies in the stack."""
    axes = radius * np.exp(rng.normal(0, 0.18, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    reach = 1.35 * axes.max() / np.array([thickness, 1, 1])
    centre = rng.uniform(-0.3 * reach, np.array(SHAPE) + 0.3 * reach)
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.maximum(np.minimum(np.ceil(centre + reach) + 1, SHAPE).astype(int), low + 1)
    place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    points = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
    )
    away = (points - centre) * [thickness, 1, 1] @ turn / axes
    distance = np.linalg.norm(away, axis=-1)
    waves = sum(
        rng.normal(0, 0.05) * np.sin(away @ rng.normal(0, 2.5, 3) + rng.uniform(0, 2 * np.pi))
        for _ in range(4)
    )
    return distance + waves < 1, place


def lit(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """How bright each nucleus is, with a grain and now and then a dark body or a dark middle."""
    count = labels.max()
    bright = np.concatenate([[0.0], np.exp(rng.normal(0, rng.uniform(0.1, 0.7), count))])
    grain = ndimage.gaussian_filter(
        rng.normal(size=SHAPE), (rng.uniform(0.6, 1.5), *(rng.uniform(0.8, 3.0),) * 2)
    )
    grain = 1 + rng.uniform(0, 0.5) * grain / grain.std()
    light = bright[labels] * np.maximum(grain, 0.05)
    if rng.uniform() < 0.4:  # nucleoli
        spots = ndimage.gaussian_filter(rng.normal(size=SHAPE), (1.2, 2.2, 2.2))
        light = np.where(spots > 1.8 * spots.std(), 0.3 * light, light)
    return light / max(light[labels > 0].mean(), 1e-6) if count else light


if __name__ == "__main__":
    main()
