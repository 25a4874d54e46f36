"""Draw docs/images/upscale.png: held-out images made coarser, and what becomes of them.

    python recipes/upscale-x2/picture.py upscale.csv docs/images/upscale.png [--model upscale-x2]

upscale.csv is what make_csv.py wrote. A row is a detail of one image: what the coarse camera saw, a cubic spline
through that, what the model makes of it, and the sharp image.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from score import methods, planes, seen

from deepbio.cases.restore import read_restore_cases

EDGE, ZOOM = 72, 4  # pixels of the sharp image, and of the picture for each
GAP, STRIP = 6, 26  # between panels, for the titles
# name of a file, corner of the detail in the sharp image, blur, part of noise
ROWS = (
    ("b24ea5c268469a95.png", (180, 300), 0.7, 0.0),
    ("mito-60x-noise2.png", (284, 360), 0.7, 0.0),
    ("mito-60x-noise2.png", (284, 360), 0.0, 0.2),
)


def panel(plane: np.ndarray, low: float, high: float) -> Picture.Image:
    """A detail in grey, its pixels as squares."""
    grey = np.clip((plane - low) / (high - low), 0, 1) ** 0.7 * 255
    return Picture.fromarray(grey.astype(np.uint8)).resize((EDGE * ZOOM,) * 2, Picture.Resampling.NEAREST)


def main() -> None:
    """Draw all rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="upscale-x2")
    asked = parser.parse_args()
    cases = [case for case in read_restore_cases(asked.data) if case.split == "val"]
    sharp_images = {case.path.name: sharp for case, sharp in planes(cases)}
    ways = methods(asked.model)
    step = EDGE * ZOOM + GAP
    page = Picture.new("RGB", (4 * step + GAP, STRIP + len(ROWS) * step + GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for column, title in enumerate(("coarse image", "cubic spline", asked.model, "sharp image")):
        draw.text((GAP + column * step, STRIP / 2), title, "black", font, anchor="lm")
    for row, (name, (top, left), blur, part) in enumerate(ROWS):
        sharp = sharp_images[name]
        coarse = seen(sharp, blur, part, 0)
        shown = (coarse.repeat(2, 0).repeat(2, 1), ways["spline"](coarse), ways[asked.model](coarse), sharp)
        low, high = np.percentile(sharp[top : top + EDGE, left : left + EDGE], (0.5, 99.8))
        for column, plane in enumerate(shown):
            one = panel(plane[top : top + EDGE, left : left + EDGE], low, high)
            page.paste(one, (GAP + column * step, STRIP + row * step))
    page.save(asked.output, optimize=True)


if __name__ == "__main__":
    main()
