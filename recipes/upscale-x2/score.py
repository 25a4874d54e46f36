"""Score `upscale-x2` on held-out images, beside interpolation, and look whether it invents things.

    python recipes/upscale-x2/score.py upscale.csv [--model upscale-x2]
    python recipes/upscale-x2/score.py upscale.csv --objects DSB

upscale.csv is what make_csv.py wrote. Each sharp image of its val part is made coarser: blurred by a Gaussian
(deviation in pixels of the sharp image), then the mean of 2 x 2 pixels, then noise of photons and camera (its part of
the coarse image's deviation). Prints mean PSNR in dB and SSIM against the sharp image, once intensities are fitted.

With ``--objects`` the model `nuclei` runs on the sharp image, on the coarse one, and on what becomes of the coarse
one, and the average precision of its objects against the labels in DSB (the unzipped folder dsb2018_nuclei) is
printed.
"""

# ruff: noqa: T201

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from scipy import ndimage

import deepbio
from deepbio.cases.restore import RestoreCase, coarser, load_restore_sample, read_restore_cases
from deepbio.metrics import match_objects
from deepbio.metrics.restoration import fit_intensity, psnr, ssim
from deepbio.training.restore_noise import add_noise

# blur, noise
LEVELS = ((0.0, 0.0), (0.0, 0.05), (0.0, 0.1), (0.0, 0.2), (0.0, 0.4), (0.7, 0.0), (0.7, 0.1), (2.0, 0.0))
OBJECTS = ((0.0, 0.0), (0.0, 0.2), (0.7, 0.0))
Enlarge = Callable[[np.ndarray], np.ndarray]


def seen(sharp: np.ndarray, blur: float, part: float, seed: int) -> np.ndarray:
    """A sharp image as a coarser camera sees it."""
    coarse = coarser(ndimage.gaussian_filter(sharp, blur) if blur else sharp, (2, 2))[0]
    if part == 0:
        return coarse
    rng = np.random.default_rng(seed)
    floor = float(np.percentile(coarse, 0.5))
    light = np.maximum(coarse.astype(float) - floor, 0)
    variance = light.var() * part**2 / (1 - part**2)
    share = rng.uniform()
    photons, read_noise = light.mean() / max(share * variance, 1e-9), np.sqrt((1 - share) * variance)
    noisy: np.ndarray = add_noise(light, photons, read_noise, rng, tails=0.25) + floor
    return noisy.astype(np.float32)


def resized(filter_: Picture.Resampling) -> Enlarge:
    """Interpolation as Pillow does it; pixel centres lie by half pixels."""

    def enlarge(coarse: np.ndarray) -> np.ndarray:
        height, width = coarse.shape
        return np.asarray(Picture.fromarray(coarse).resize((2 * width, 2 * height), filter_))

    return enlarge


def spline(coarse: np.ndarray) -> np.ndarray:
    """A cubic spline through the pixels."""
    return np.asarray(ndimage.zoom(coarse, 2, order=3, mode="nearest", grid_mode=True))


def methods(name: str) -> dict[str, Enlarge]:
    """The ways to twice as many pixels, by name."""
    model, denoiser = (deepbio.load_model(one, device="cpu") for one in (name, "denoise"))

    def restored(by: deepbio.Model) -> Enlarge:
        return lambda image: by.run(deepbio.Image(image)).image.numpy()

    return {
        "bicubic": resized(Picture.Resampling.BICUBIC),
        "Lanczos": resized(Picture.Resampling.LANCZOS),
        "spline": spline,
        "denoise, then spline": lambda image: spline(restored(denoiser)(image)),
        name: restored(model),
    }


def planes(cases: list[RestoreCase]) -> Iterator[tuple[RestoreCase, np.ndarray]]:
    """Each case and its sharp image, of even size."""
    for case in cases:
        plane = load_restore_sample(case, 2).given[0, 0]
        yield case, plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]


def score_pixels(cases: list[RestoreCase], ways: dict[str, Enlarge]) -> None:
    """Print a row for each group, blur and noise: PSNR and SSIM of each way."""
    found: dict[tuple[str, float, float], list[list[tuple[float, float]]]] = {}
    for number, (case, sharp) in enumerate(planes(cases)):
        for blur, part in LEVELS:
            coarse = seen(sharp, blur, part, number)
            fitted = [fit_intensity(enlarge(coarse), sharp) for enlarge in ways.values()]
            scores = [(psnr(one, sharp), ssim(one, sharp)) for one in fitted]
            found.setdefault((case.group, blur, part), []).append(scores)
    print("| images | blur | noise |", " | ".join(ways), "|")
    print("|" + "---|" * (3 + len(ways)))
    for (group, blur, part), values in found.items():
        means = np.mean(values, axis=0)
        told = " | ".join(f"{decibels:.2f} dB, {similar:.4f}" for decibels, similar in means)
        print(f"| {group} ({len(values)}) | {blur} | {part} | {told} |")


def score_objects(cases: list[RestoreCase], ways: dict[str, Enlarge], dsb: Path) -> None:
    """Print the average precision of nuclei found in each kind of image."""
    nuclei = deepbio.load_model("nuclei", device="cpu")
    found: dict[str, list[list[float]]] = {}
    for number, (case, sharp) in enumerate(planes([case for case in cases if case.group == "nuclei"])):
        truth = deepbio.read(dsb / "labels" / f"{case.name}.png").numpy()[: sharp.shape[0], : sharp.shape[1]]

        def add(name: str, labels: np.ndarray, truth: np.ndarray = truth) -> None:
            matched = match_objects(truth, labels)
            (invented,) = match_objects(truth, labels, (0.1,))
            row = [one.precision for one in matched] + [invented.false_positive]
            found.setdefault(name, []).append(row)

        def labels(image: np.ndarray) -> np.ndarray:
            return nuclei.run(deepbio.Image(image)).labels.array

        add("sharp image", labels(sharp))
        for blur, part in OBJECTS:
            coarse = seen(sharp, blur, part, number)
            level = f"blur {blur}, noise {part}"
            add(f"{level}: coarse image, labels doubled", np.kron(labels(coarse), np.ones((2, 2), int)))
            for way, enlarge in ways.items():
                if way not in ("Lanczos", "spline", "denoise, then spline"):
                    add(f"{level}: {way}", labels(enlarge(coarse)))
    print(
        "| nuclei are found in | AP at IoU 0.5 | mean AP at 0.5-0.9 | objects where no nucleus is (IoU below 0.1) |"
    )
    print("|---|---|---|---|")
    for name, values in found.items():
        *precisions, _ = np.mean(values, axis=0)
        wrong = sum(row[-1] for row in values)
        print(f"| {name} | {precisions[0]:.3f} | {np.mean(precisions):.3f} | {wrong} |")


def main() -> None:
    """Score pixels, or objects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="upscale-x2")
    parser.add_argument("--objects", type=Path)
    asked = parser.parse_args()
    cases = [case for case in read_restore_cases(asked.data) if case.split == "val"]
    if asked.objects:
        score_objects(cases, methods(asked.model), asked.objects)
    else:
        score_pixels(cases, methods(asked.model))


if __name__ == "__main__":
    main()
