"""From a trained classifier to a model package: calibrated, with its ONNX twin and self-test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from deepbio.engine.steps import apply_steps
from deepbio.library.card import Step
from deepbio.library.content import PackageContent, TensorContent
from deepbio.metrics.classes import calibration_error
from deepbio.networks.classifier import Classifier, fold_norms
from deepbio.training.classify_data import image_steps
from deepbio.training.description import Description
from deepbio.training.packaging import input_names
from deepbio.training.weights import weight_files

if TYPE_CHECKING:
    from deepbio.training.classify_plan import Plan

__all__ = ["Calibration", "calibrate", "class_content", "input_steps", "sample_of"]

_PARTS = 5  # of the held-out cases, to tell the error on cases that the temperature was not fitted to
_HOTTEST = 20.0
_PULL = 0.05  # on biases towards 0


@dataclass(frozen=True)
class Calibration:
    """What makes scores into probabilities that mean what they say: ``softmax(scores / temperature + bias)``.

    Attributes
    ----------
    temperature : float
        Above 1 where the network was too sure.
    bias : tuple of float
        For each class; empty for none. It says how frequent the classes are where a network has learned
        as if all were as frequent.
    before, after : float
        Expected calibration error without both, and with ones fitted to other held-out cases.
    """

    temperature: float
    bias: tuple[float, ...]
    before: float
    after: float


def calibrate(scores: np.ndarray, classes: np.ndarray, *, with_bias: bool = False) -> Calibration:
    """Fit a temperature, and where wanted a bias of each class, to the scores of held-out cases.

    Guo et al., ICML 2017 (arXiv:1706.04599), and with biases Alexandari et al., ICML 2020
    (arXiv:1901.06852): those that make the truth likeliest. The error after it is told with ones fitted
    to four fifths of the cases, on the other fifth.

    Parameters
    ----------
    scores : ndarray of float, shape (N, K)
        Before softmax.
    classes : ndarray of int, shape (N,)
        The truth.
    with_bias : bool
        Whether classes get a bias.
    """
    folds = np.random.default_rng(0).permutation(len(classes)) % _PARTS
    probabilities = np.zeros(scores.shape)
    for fold in range(_PARTS):
        inside = folds == fold
        others = ~inside if (~inside).any() else inside
        temperature, bias = _fitted(scores[others], classes[others], with_bias=with_bias)
        probabilities[inside] = softmax(scores[inside] / temperature + bias, 1)
    temperature, bias = _fitted(scores, classes, with_bias=with_bias)
    return Calibration(
        temperature=temperature,
        bias=tuple(float(one) for one in bias) if with_bias else (),
        before=calibration_error(classes, softmax(scores, 1)),
        after=calibration_error(classes, probabilities),
    )


def _fitted(scores: np.ndarray, classes: np.ndarray, *, with_bias: bool) -> tuple[float, np.ndarray]:
    count = scores.shape[1]
    rows = np.arange(len(classes))

    def bias_of(values: np.ndarray) -> np.ndarray:
        if not with_bias:
            return np.zeros(count)
        return np.asarray(values[1:] - values[1:].mean())

    def unlikely(values: np.ndarray) -> float:
        told = log_softmax(scores / np.exp(values[0]) + bias_of(values), 1)
        # a class without held-out cases must not be pushed away for ever
        return float(-told[rows, classes].mean() + _PULL * (values[1:] ** 2).sum() / len(classes))

    reach = np.log(_HOTTEST)
    bounds = [(-reach, reach)] + [(-_HOTTEST, _HOTTEST)] * (count * with_bias)
    best = minimize(unlikely, np.zeros(len(bounds)), bounds=bounds, method="L-BFGS-B").x
    return float(np.exp(best[0])), bias_of(best)


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

    Temperature and biases go into the last layer and the card ends in a softmax, so that every program
    that reads the card gets calibrated probabilities.

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
    folded = _calibrated(network, calibration)
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
            channels=input_names(plan.channels),
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
            **about.words,
            task="classify",
            inputs=[inputs],
            outputs=[outputs],
            **files.entries,
            config=_config(plan, calibration, about),
        )


def _calibrated(network: Classifier, calibration: Calibration) -> Classifier:
    """A copy that gives calibrated scores, with its norms folded into the convolutions."""
    folded = fold_norms(network)
    with torch.no_grad():
        folded.head.weight.div_(calibration.temperature)
        folded.head.bias.div_(calibration.temperature)
        if calibration.bias:
            folded.head.bias.add_(torch.tensor(calibration.bias))
    return folded


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
        "calibration": {key: np.round(value, 4).tolist() for key, value in told.items() if value != ()},
        "training": asdict(plan),
    }
    if plan.grid:
        config["grid"] = plan.grid
    if plan.variation.flip:
        config["mirror"] = list(plan.variation.flip)
    if about.per_slice:
        config["per_slice"] = True
    return config


def sample_of(pixels: np.ndarray, normalise: str) -> np.ndarray:
    """Raw pixels for the self-test: bytes stay bytes."""
    return np.ascontiguousarray(pixels, np.uint8 if normalise == "dataset" else np.float32)
