"""Draw docs/images/nuclei-3d.png: a noisy stack from above and from the side, experts' outlines and what is found.

    python recipes/nuclei-3d/picture.py plantseg_nuclei3d docs/images/nuclei-3d.png [--model nuclei-3d]

The stack is the held-out part of 1135_mini, which examples/noisy_nuclei_stack.tif is as well.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

import deepbio
from deepbio.io import read, read_labels

FIRST = 66  # slice of the real stack from which on it was held out
LEVEL, ROW = 14, 50  # the slice, and the row of the view from the side
ZOOM, GAP, STRIP = 4, 6, 26
TALL = 2.238  # a slice is so many times as thick as a pixel


def outlined(grey: np.ndarray, labels: np.ndarray | None, tall: float) -> Picture.Image:
    """A plane in grey, enlarged, with the outlines of labels in orange."""
    size = (grey.shape[1] * ZOOM, round(grey.shape[0] * ZOOM * tall))
    picture = Picture.fromarray((255 * grey).astype(np.uint8)).resize(size, Picture.Resampling.BICUBIC)
    pixels = np.stack([np.asarray(picture)] * 3, axis=-1)
    if labels is not None:
        large = Picture.fromarray(labels.astype(np.int32)).resize(size, Picture.Resampling.NEAREST)
        pixels[find_boundaries(np.asarray(large), mode="inner")] = (255, 150, 40)
    return Picture.fromarray(pixels)


def main() -> None:
    """Draw both views."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="nuclei-3d")
    asked = parser.parse_args()
    pixels = read(asked.data / "1135_mini_raw.tif").numpy()[FIRST:]
    truth = read_labels(asked.data / "1135_mini_label.tif").numpy()[FIRST:]
    result = deepbio.load_model(asked.model).run(deepbio.Image(pixels, "ZYX"))
    found = np.asarray(result.labels.numpy())  # type: ignore[union-attr]
    low, high = np.percentile(pixels, (1, 99.8))
    grey = np.clip((pixels - low) / (high - low), 0, 1) ** 0.7
    views = [
        (grey[LEVEL], truth[LEVEL], found[LEVEL], 1.0),
        (grey[:, ROW], truth[:, ROW], found[:, ROW], TALL),
    ]
    rows = [
        [outlined(plane, one, tall) for one in (None, by_hand, ours)] for plane, by_hand, ours, tall in views
    ]
    width = rows[0][0].width
    height = STRIP + sum(row[0].height + GAP for row in rows)
    page = Picture.new("RGB", (3 * (width + GAP) + GAP, height), "white")
    draw, font, top = ImageDraw.Draw(page), ImageFont.load_default(15), STRIP
    for column, title in enumerate(
        ("slice 15 of 34; below from the side", "outlined by experts", asked.model)
    ):
        draw.text((GAP + column * (width + GAP), STRIP / 2), title, "black", font, anchor="lm")
    for row in rows:
        for column, picture in enumerate(row):
            page.paste(picture, (GAP + column * (width + GAP), top))
        top += row[0].height + GAP
    page.save(asked.output, optimize=True)


if __name__ == "__main__":
    main()
