"""Score `denoise` on clean images that it has not seen, with drawn noise, beside a Gaussian filter of the best width.

    python recipes/denoise/score_drawn.py DSB [--model denoise] [--count 16]

DSB is the unzipped folder dsb2018_nuclei (its val part is used). Prints mean PSNR in dB, once intensities are
fitted, for nuclei and for drawn structures of other numbers than those that were learned from, by the part of
noise in the image's deviation.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from make_csv import nuclei
from make_structures import draw
from scipy import ndimage

import deepbio
from deepbio.metrics.restoration import fit_intensity, psnr
from deepbio.training.restore_noise import add_noise

PARTS = (0.2, 0.4, 0.6, 0.85)
SIGMAS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0)
FIRST = 1000  # number of the first structure; those that were learned from have 0 to 31


def noisy(light: np.ndarray, part: float, rng: np.random.Generator) -> np.ndarray:
    """An image with photon and read noise, in a share that is drawn."""
    variance = light.var() * part**2 / (1 - part**2)
    share = rng.uniform()
    photons, read_noise = light.mean() / max(share * variance, 1e-9), np.sqrt((1 - share) * variance)
    return add_noise(light, photons, read_noise, rng, tails=0.25).astype(np.float32)


def images(dsb: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and brightness above the floor of each clean image."""
    for _, path, _ in nuclei(dsb, "val", count):
        pixels = deepbio.read(path).numpy()
        yield "nuclei", pixels.reshape(-1, *pixels.shape[-2:])[0]
    for number in range(count):
        yield "structures", draw(256, FIRST + number)


def main() -> None:
    """Print one row for each kind and part of noise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsb", type=Path)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--count", type=int, default=16)
    asked = parser.parse_args()
    model = deepbio.load_model(asked.model, device="cpu")
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for number, (kind, clean) in enumerate(images(asked.dsb, asked.count)):
        light = np.maximum(clean.astype(float) - np.percentile(clean, 0.5), 0)
        for part in PARTS:
            image = noisy(light, part, np.random.default_rng(number))
            restored = model.run(deepbio.Image(image)).image.numpy()
            smooth = [ndimage.gaussian_filter(image, sigma) for sigma in SIGMAS]
            best, mine = (
                max(psnr(fit_intensity(one, light), light) for one in results)
                for results in (smooth, [restored])
            )
            found.setdefault((kind, part), []).append((best, mine))
    for (kind, part), values in sorted(found.items()):
        best, mine = np.mean(values, axis=0)
        print(f"{kind}, noise {part}: Gaussian {best:.2f}, {asked.model} {mine:.2f} ({mine - best:+.2f} dB)")  # noqa: T201


if __name__ == "__main__":
    main()
