"""From a trained network to a model package: weights, ONNX twin, card, sample and self-test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepbio.library.card import steps_of
from deepbio.library.cascade import LABELS, cascade_entry
from deepbio.library.content import PackageContent, TensorContent
from deepbio.networks.ensemble import Ensemble
from deepbio.networks.unet import UNet, fold_norms
from deepbio.tasks.decoder import Decoder
from deepbio.training.description import Description
from deepbio.training.packaging import folded_arguments, input_names, middle_of
from deepbio.training.plan import Plan
from deepbio.training.targets import channel_names
from deepbio.training.weights import weight_files

__all__ = ["package_content"]

# In 2D 64 pixels: large tiles waste less of it and cost no more per pixel. In 3D as nnU-Net: nothing
# smaller was seen to be as accurate (benchmarks/).
_OVERLAP = {2: 0.0625, 3: 0.5}
_TILE = {2: 1024, 3: 128}
_SAMPLE_EDGE = {2: 256, 3: 64}


@dataclass(frozen=True)
class Ending:
    """What a package has beside the network, its plan and its decoder.

    Attributes
    ----------
    about : Description
        What people should know.
    sample : ndarray, shape (C, [z,] y, x)
        Raw pixels of an image (of the val part), on the grid that the network works on, for the
        self-test; cut to a small piece. Of a cascade the last channel is what the first stage found.
    first_stage : Path, optional
        Package of that first stage.
    """

    about: Description
    sample: np.ndarray
    first_stage: Path | None = None


@contextmanager
def package_content(
    network: UNet | Ensemble, plan: Plan, decoder: Decoder, ending: Ending
) -> Iterator[PackageContent]:
    """Prepare a trained network for `write_package`; its files last as long as the context.

    Weights are rounded to float16 and used as float32, in both of their files the same numbers.

    Parameters
    ----------
    network : UNet or Ensemble
        Trained, in evaluation mode, on the CPU; an ensemble's members are those of the folds.
    plan : Plan
        What it was trained with.
    decoder : Decoder
        How its scores become labels.
    ending : Ending
        All else.

    Yields
    ------
    PackageContent
        Without scores.
    """
    name, arguments, state = _folded(network, plan)
    about, sample = ending.about, ending.sample
    raw = middle_of(sample, network.divisor, _SAMPLE_EDGE[sample.ndim - 1])
    ready = _normalised(raw, plan)
    tile, overlap = _tile(plan, network.divisor)
    with weight_files(name, arguments, state, raw.shape) as files:
        with torch.inference_mode():
            expected: np.ndarray = files.network(torch.from_numpy(ready)[None])[0].numpy()
        inputs = _input(raw, ready, plan, about, network.divisor)
        outputs = TensorContent(
            test=expected[None],
            channels=_output_channels(plan, about),
            halo=tuple(round(overlap / 2 * edge) for edge in tile),
            description="scores; foreground is before the sigmoid"
            if plan.target == "instances"
            else "scores before softmax",
        )
        yield PackageContent(
            **about.words,
            task="segment",
            inputs=[inputs],
            outputs=[outputs],
            **files.entries,
            config=_config(plan, decoder, about, tile),
            first_stage=ending.first_stage,
        )


def _input(
    raw: np.ndarray, ready: np.ndarray, plan: Plan, about: Description, divisor: tuple[int, ...]
) -> TensorContent:
    """The network's input: of a cascade as the network takes it, else as images are."""
    count = plan.channels
    names = tuple(about.channels) if len(about.channels) == count else input_names(count)
    return TensorContent(
        test=(ready if plan.refine else raw)[None],
        sample=raw[None],
        channels=(*names, LABELS) if plan.refine else names,
        minimum=divisor,
        step=divisor,
        steps=() if plan.refine else steps_of(plan.normalisation),
        description="normalised intensities, and labels of the first stage"
        if plan.refine
        else "raw intensities" + (", grey or RGB" if count == 3 else ""),
    )


def _folded(network: UNet | Ensemble, plan: Plan) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """Name, arguments and state of the network for prediction, normalisations folded into it."""
    name = plan.network["name"]
    arguments = {**folded_arguments(plan.network), "deep_supervision": False}
    if not isinstance(network, Ensemble):
        return name, arguments, fold_norms(network).state_dict()
    state = {}
    for number, member in enumerate(network.members):
        assert isinstance(member, UNet)  # noqa: S101 - for the type checker
        for key, value in fold_norms(member).state_dict().items():
            state[f"members.{number}.{key}"] = value
    return "ensemble", {"network": name, "arguments": arguments, "members": len(network.members)}, state


def _tile(plan: Plan, divisor: Sequence[int]) -> tuple[tuple[int, ...], float]:
    """Tile and overlap to begin with."""
    if plan.dims == 2 or not plan.configuration:
        return (_TILE[plan.dims],) * plan.dims, _OVERLAP[plan.dims]
    # as large as what the network saw, and half more: most images of the data set are then one tile
    tile = tuple(-(-3 * n // (2 * d)) * d for n, d in zip(plan.patch, divisor, strict=True))
    return tile, _OVERLAP[plan.dims]


def _config(plan: Plan, decoder: Decoder, about: Description, tile: tuple[int, ...]) -> dict[str, Any]:
    """The rest of ``config: deepbio:``."""
    default = asdict(Decoder())
    told = {k: v for k, v in asdict(decoder).items() if k == "method" or v != default[k]}
    config: dict[str, Any] = {
        "decode": told,
        "tile": {"size": list(tile), "overlap": _OVERLAP[plan.dims]},
        "grid": plan.grid,
        "classes": about.card_classes or _numbered(plan),
        "training": {**asdict(plan), "refine": Path(plan.refine).name},
    }
    if plan.refine:
        config["cascade"] = cascade_entry(steps_of(plan.normalisation))
    if plan.augmentation.mirror:
        config["mirror"] = list(plan.augmentation.mirror)
    if plan.per_slice or about.per_slice:
        config["per_slice"] = True
    if about.channel_files:
        config["channel_files"] = True
    if about.sizes:
        config["sizes"] = dict(about.sizes)
    if plan.channels == 3 and not about.channels:  # colours
        config["grey"] = "repeat"
    return config


def _output_channels(plan: Plan, about: Description) -> tuple[str, ...]:
    if plan.target == "instances":
        return channel_names(plan.dims)
    names = about.names
    return ("background", *(names.get(label, one["name"]) for label, one in _numbered(plan).items()))


def _numbered(plan: Plan) -> dict[int, dict[str, str]]:
    """Classes that nobody has named, by their labels, so that tables and viewers have a name; of objects none."""
    count = plan.classes if plan.target == "classes" else 0
    return {label: {"name": f"class_{label}"} for label in range(1, count + 1)}


def _normalised(raw: np.ndarray, plan: Plan) -> np.ndarray:
    """What the network takes: normalised pixels, and of a cascade the labels behind them as they are."""
    from deepbio.engine.steps import apply_steps

    axes = ("channel", *"zyx"[3 - plan.dims :])
    pixels = raw[: plan.channels].astype(np.float32)
    ready = apply_steps(pixels, axes, steps_of(plan.normalisation))
    return np.concatenate((ready, raw[plan.channels :].astype(np.float32)))
