"""From a trained classifier to a model package: calibrated, with its ONNX twin and self-test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from deepbio.engine.steps import apply_steps
from deepbio.image import RGB
from deepbio.library.card import Step
from deepbio.library.content import PackageContent, TensorContent
from deepbio.metrics.classes import calibration_error
from deepbio.networks.classifier import Classifier, fold_norms
from deepbio.training.classify_data import image_steps
from deepbio.training.description import Description
from deepbio.training.weights import OPSET, weight_files

if TYPE_CHECKING:
    from deepbio.training.classify import Plan

__all__ = ["Calibration", "calibrate", "class_content", "input_steps"]

_PARTS = 5  # of the held-out cases, to tell the error on cases that the temperature was not fitted to
_HOTTEST = 20.0


@dataclass(frozen=True)
class Calibration:
    """The temperature by which scores are divided, and what it does.

    Attributes
    ----------
    temperature : float
        Above 1 where the network was too sure.
    before, after : float
        Expected calibration error without it, and with one fitted to other held-out cases.
    """

    temperature: float
    before: float
    after: float


def calibrate(scores: np.ndarray, classes: np.ndarray) -> Calibration:
    """Fit a temperature to the scores of held-out cases.

    Guo et al., ICML 2017 (arXiv:1706.04599): the temperature that makes the truth likeliest. The error
    after it is told with a temperature fitted to four fifths of the cases, on the other fifth.

    Parameters
    ----------
    scores : ndarray of float, shape (N, K)
        Before softmax.
    classes : ndarray of int, shape (N,)
        The truth.
    """
    folds = np.random.default_rng(0).permutation(len(classes)) % _PARTS
    probabilities = np.zeros(scores.shape)
    for fold in range(_PARTS):
        inside = folds == fold
        others = ~inside if (~inside).any() else inside
        probabilities[inside] = softmax(scores[inside] / _temperature(scores[others], classes[others]), 1)
    return Calibration(
        temperature=_temperature(scores, classes),
        before=calibration_error(classes, softmax(scores, 1)),
        after=calibration_error(classes, probabilities),
    )


def _temperature(scores: np.ndarray, classes: np.ndarray) -> float:
    def unlikely(logarithm: float) -> float:
        told = log_softmax(scores / np.exp(logarithm), 1)
        return float(-told[np.arange(len(classes)), classes].mean())

    reach = np.log(_HOTTEST)
    return float(np.exp(minimize_scalar(unlikely, bounds=(-reach, reach), method="bounded").x))


def input_steps(plan: Plan) -> list[Step]:
    """How a card says the normalisation of a plan."""
    if plan.normalise == "image":
        return image_steps(plan.dims)
    mean, std = list(plan.mean), list(plan.std)
    if plan.channels == 1:
        return [Step("fixed_zero_mean_unit_variance", {"mean": mean[0], "std": std[0]})]
    return [Step("fixed_zero_mean_unit_variance", {"mean": mean, "std": std, "axis": "channel"})]


@contextmanager
def class_content(
    network: Classifier,
    plan: Plan,
    sample: np.ndarray,
    calibration: Calibration,
    about: Description,
) -> Iterator[PackageContent]:
    """Prepare a trained network for `write_package`; its files last as long as the context.

    The temperature goes into the last layer and the card ends in a softmax, so that every program that
    reads the card gets calibrated probabilities.

    Parameters
    ----------
    network : Classifier
        Trained, in evaluation mode, on the CPU.
    plan : Plan
        What it was trained with.
    sample : ndarray, shape (C, [z,] y, x)
        Raw pixels of a held-out image in the plan's size, for the self-test.
    calibration : Calibration
        Of its scores.
    about : Description
        What people should know.

    Yields
    ------
    PackageContent
        Without scores.
    """
    folded = fold_norms(network)
    with torch.no_grad():
        folded.head.weight /= calibration.temperature
        folded.head.bias /= calibration.temperature
    arguments = {**plan.network["arguments"], "norm": "none"}
    steps, last = input_steps(plan), [Step("softmax", {"axis": "channel"})]
    axes = ("channel", *"zyx"[3 - plan.dims :])
    ready = apply_steps(np.asarray(sample, np.float32), axes, steps)
    with weight_files(plan.network["name"], arguments, folded.state_dict(), sample.shape) as files:
        with torch.inference_mode():
            scores = files.network(torch.from_numpy(ready)[None])[0].numpy()
        inputs = TensorContent(
            test=sample[None],
            sample=sample[None],
            channels=_channel_names(plan.channels),
            steps=steps,
            description="one image, or an object's surroundings, resampled to this size",
        )
        outputs = TensorContent(
            test=apply_steps(scores, ("channel",), last)[None],
            channels=plan.classes,
            steps=last,
            description="calibrated probability of each class",
        )
        yield PackageContent(
            title=about.title,
            description=about.summary,
            task="classify",
            license=about.license,
            authors=about.authors,
            inputs=[inputs],
            outputs=[outputs],
            network=plan.network["name"],
            arguments=arguments,
            safetensors=files.safetensors,
            onnx=files.onnx,
            opset=OPSET,
            documentation=about.documentation,
            citations=about.citations,
            tags=about.tags,
            modality=about.modality,
            version=about.version,
            training_data=about.training_data,
            config=_config(plan, calibration, about),
        )


def _config(plan: Plan, calibration: Calibration, about: Description) -> dict[str, Any]:
    """The rest of ``config: deepbio:``."""
    known = {str(entry["name"]): entry for entry in about.card_classes.values()}
    classes: Mapping[int, Any] = {
        number: known.get(name, {"name": name}) for number, name in enumerate(plan.classes, start=1)
    }
    told = asdict(calibration)
    config: dict[str, Any] = {
        "classes": classes,
        "tile": {"size": list(plan.size), "overlap": 0.5},
        "calibration": {key: round(value, 4) for key, value in told.items()},
        "training": asdict(plan),
    }
    if plan.variation.flip:
        config["mirror"] = list(plan.variation.flip)
    if about.per_slice:
        config["per_slice"] = True
    return config


def _channel_names(count: int) -> tuple[str, ...]:
    if count == 3:
        return RGB
    return ("intensity",) if count == 1 else tuple(f"channel_{i + 1}" for i in range(count))


def sample_of(pixels: np.ndarray, normalise: str) -> np.ndarray:
    """Raw pixels for the self-test: bytes stay bytes."""
    return np.ascontiguousarray(pixels, np.uint8 if normalise == "dataset" else np.float32)


def training_picture(work: Path) -> Mapping[str, Path]:
    """The curve, for the package."""
    return {"training.png": work / "history.png"} if (work / "history.png").exists() else {}
