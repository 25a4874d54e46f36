"""How well a model restores images whose truth is known, beside what needs no model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from deepbio.cases.restore import RestoreCase, RestoreSample, load_restore_sample, read_restore_cases
from deepbio.errors import ImageError
from deepbio.evaluation.report import Report, score_row
from deepbio.events import Listener, Progress, silent
from deepbio.image import Grid, Image, Table
from deepbio.library.restoration import Restoration
from deepbio.metrics.restoration import exposed, fit_intensity, noise_level, psnr, ssim
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.predict import Model

__all__ = ["BASELINES", "evaluate_cases", "score_cases"]

BASELINES = ("input", "Gaussian", "non-local means", "interpolation")
"""What a model is compared with: the input as it is, and filters at their best setting for each image."""

_SIGMAS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
_STRENGTHS = (0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)  # of non-local means, in units of the noise
_MOST = {
    "Gaussian": 2**24,
    "non-local means": 2**18,
}  # pixels on which settings are tried; the middle of larger


def evaluate_cases(
    model: Model, data: Path, split: str, options: RunOptions, *, on_progress: Listener = silent
) -> Report:
    """Run a restorer on images whose truth is known, and score it beside simple filters.

    Before anything is measured, the intensities of each result are fitted to the truth by a factor and
    an offset. The filters are given the setting with the best PSNR for each image, which nobody has who
    does not know the truth: so they are a hard floor.

    Parameters
    ----------
    model : Model
        Of the task restore.
    data : path
        As in `read_restore_cases`; images without a target are their own truth where the model makes a
        finer grid or goes through a code.
    split : str
        The part of the data, or ``"all"``.
    options : RunOptions
        How the model is run.
    on_progress : Listener
        Hears files and tiles.

    Returns
    -------
    Report
        PSNR in dB and SSIM, of the model and of what it is compared with; where a truth is overexposed also
        the PSNR without the pixels at its highest value.

    Raises
    ------
    ImageError
        If no case of that part has a truth.
    """
    cases = [case for case in read_restore_cases(data) if split in ("all", case.split)]
    report = score_cases(model, cases, split, options, on_progress=on_progress, data=data)
    if not report.summary:
        raise ImageError(
            f"No case of {str(data)!r} in the part {split!r} has a target.",
            "Name one in the column 'target', or choose another part with --split.",
        )
    return report


def score_cases(
    model: Model,
    cases: Sequence[RestoreCase],
    split: str,
    options: RunOptions | None = None,
    *,
    on_progress: Listener = silent,
    data: Path | None = None,
) -> Report:
    """As :func:`evaluate_cases`, on cases; without a truth among them there are no scores."""
    rule = Restoration.from_card(model.card)
    usable = [case for case in cases if not _needs_target(rule) or (case.image and case.target)]
    options = (options or RunOptions()).replace(output=("image",))
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(usable):
        on_progress(Progress("files", number, len(usable), None, case.path.name))
        rows.extend(_scored(model, rule, case, options, on_progress))
    if usable:
        on_progress(Progress("files", len(usable), len(usable), 0.0))
    command = f"deepbio evaluate {model.card.name} {data.name} --split {split}" if data is not None else ""
    columns = (
        {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {"image": np.array([])}
    )
    units = {"psnr": "dB", "psnr_exposed": "dB", "seconds": "s"} if rows else {}
    return Report(
        _summary(rows, split, command), Table(columns, units), partial(_figure, rows) if rows else None
    )


def _needs_target(rule: Restoration) -> bool:
    return rule.method not in ("superresolution", "autoencoder", "vae")


def _scored(
    model: Model, rule: Restoration, case: RestoreCase, options: RunOptions, listener: Listener
) -> Iterator[dict[str, Any]]:
    """A row for the model and each baseline."""
    factor = max(rule.factor)
    sample = load_restore_sample(case, factor)
    image, truth = _image_and_truth(sample, rule)
    start = time.perf_counter()
    found = model.run(image, options, on_progress=listener).image
    seconds = time.perf_counter() - start
    assert found is not None, "the task gives an image"  # noqa: S101
    given = np.asarray(image.numpy(), np.float32)
    planes = _comparable(given, truth.shape, model.card.ndim)
    results = [(model.card.name, found.numpy(), "", seconds)]
    results.extend(_baselines(planes, given, truth, model.card.ndim))
    counted = exposed(truth)
    for method, result, setting, spent in results:
        fitted = fit_intensity(result, truth)
        known = fitted if counted is None else fit_intensity(result, truth, counted)
        yield {
            "image": case.path.name,
            "group": case.group,
            "method": method,
            "setting": setting,
            "psnr": round(psnr(fitted, truth), 3),
            "psnr_exposed": round(psnr(known, truth, counted), 3),
            "ssim": round(_ssim(fitted, truth, model.card.ndim), 4),
            "seconds": round(spent, 3),
        }


def _image_and_truth(sample: RestoreSample, rule: Restoration) -> tuple[Image, np.ndarray]:
    """What the model is given, and what it should give; axes T, C and space that the file has."""
    from deepbio.cases.restore import coarser

    given, truth = sample.image, sample.target
    ndim = sample.given.ndim - 2
    factor = ((1,) * (ndim - len(rule.factor))) + rule.factor
    if given is None or truth is None:
        truth = sample.given
        if rule.finer:
            given, truth = coarser(truth, factor)
        elif given is None:
            given = truth
    assert given is not None, "it was made, if it was not there"  # noqa: S101
    axes = "TC" + "ZYX"[3 - ndim :]
    grid = Grid(given.shape[2:]) if rule.finer else sample.grid
    return Image(given, axes, grid, sample.channels), truth


def _comparable(given: np.ndarray, shape: tuple[int, ...], ndim: int) -> np.ndarray:
    """The input on the grid of the truth: itself, or interpolated."""
    if given.shape == shape:
        return given
    zoom = [n / m for n, m in zip(shape, given.shape, strict=True)]
    return ndimage.zoom(given, zoom, order=3, mode="nearest", grid_mode=True)


def _baselines(
    planes: np.ndarray, given: np.ndarray, truth: np.ndarray, ndim: int
) -> Iterator[tuple[str, np.ndarray, str, float]]:
    if given.shape != truth.shape:
        yield "interpolation", planes, "cubic", 0.0
        return
    yield "input", planes, "", 0.0
    yield (
        "Gaussian",
        *_best(
            "Gaussian",
            [(f"sigma {s:g}", partial(_gaussian, sigma=s, ndim=ndim)) for s in _SIGMAS],
            planes,
            truth,
        ),
    )
    tries = [(f"h {s:g} x noise", partial(_non_local_means, strength=s, ndim=ndim)) for s in _STRENGTHS]
    yield ("non-local means", *_best("non-local means", tries, planes, truth))


def _best(
    name: str,
    tries: Sequence[tuple[str, Callable[[np.ndarray], np.ndarray]]],
    image: np.ndarray,
    truth: np.ndarray,
) -> tuple[np.ndarray, str, float]:
    """The result with the best PSNR; settings are compared on the middle of a large image."""
    key = _middle(image.shape, _MOST[name])
    small, small_truth = image[key], truth[key]
    found = []
    for setting, apply in tries:
        start = time.perf_counter()
        value = psnr(fit_intensity(apply(small), small_truth), small_truth)
        found.append((value, setting, apply, time.perf_counter() - start))
    _, setting, apply, seconds = max(found, key=lambda one: one[0])
    return apply(image), setting, seconds


def _middle(shape: tuple[int, ...], most: int) -> tuple[slice, ...]:
    edges = list(shape)
    while np.prod(edges) > most:
        axis = int(np.argmax(edges))
        edges[axis] = (edges[axis] + 1) // 2
    return tuple(slice((n - e) // 2, (n - e) // 2 + e) for n, e in zip(shape, edges, strict=True))


def _gaussian(image: np.ndarray, sigma: float, ndim: int) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(image, [0.0] * (image.ndim - ndim) + [sigma] * ndim))


def _non_local_means(image: np.ndarray, strength: float, ndim: int) -> np.ndarray:
    """Each channel of each frame (and slice) for itself."""
    from skimage.restoration import denoise_nl_means

    flat = image.reshape(-1, *image.shape[image.ndim - ndim :])
    result = np.empty_like(flat)
    for number, plane in enumerate(flat):
        noise = noise_level(plane)
        spread = float(plane.std()) or 1.0
        small = 3 if ndim == 3 else 5
        result[number] = (
            denoise_nl_means(
                plane / spread,
                h=strength * max(noise, 1e-6 * spread) / spread,
                sigma=noise / spread,
                patch_size=small,
                patch_distance=small + 1 if ndim == 2 else 3,
                fast_mode=True,
            )
            * spread
        )
    return result.reshape(image.shape)


def _ssim(found: np.ndarray, truth: np.ndarray, ndim: int) -> float:
    """Mean over channels and frames (and slices of a 2D model), each over the range of the whole truth."""
    shape = truth.shape[truth.ndim - ndim :]
    pairs = zip(found.reshape(-1, *shape), truth.reshape(-1, *shape), strict=True)
    return float(np.mean([ssim(a, b) for a, b in pairs if b.min() < b.max()]))


def _summary(rows: Sequence[dict[str, Any]], split: str, command: str) -> list[dict[str, Any]]:
    """The model first, then what it is compared with."""
    summary = []
    for method in dict.fromkeys(row["method"] for row in rows):
        chosen = [row for row in rows if row["method"] == method]
        said = "" if method == rows[0]["method"] else f", {method}"
        metrics = [("psnr", "PSNR in dB"), ("ssim", "SSIM")]
        if any(row["psnr_exposed"] != row["psnr"] for row in rows):
            metrics.insert(1, ("psnr_exposed", "PSNR in dB where the truth is not overexposed"))
        for name, metric in metrics:
            value = float(np.mean([row[name] for row in chosen]))
            summary.append(score_row(split, f"{metric}{said}", value, len(chosen), command=command))
    return summary


def _figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Points of each method, an image each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(8, 0.6 + 0.5 * len(methods)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, label) in zip(
        figure.subplots(1, 2), (("psnr", "PSNR [dB]"), ("ssim", "SSIM")), strict=True
    ):
        for y, method in enumerate(reversed(methods)):
            values = [row[name] for row in rows if row["method"] == method]
            axes.plot(values, [y] * len(values), "o", alpha=0.6)
            axes.plot(np.mean(values), y, "|", color="black", markersize=18)
        axes.set_yticks(range(len(methods)), list(reversed(methods)))
        axes.set_xlabel(label)
    figure.savefig(path, dpi=120, format="png")
