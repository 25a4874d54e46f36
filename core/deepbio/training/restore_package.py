"""From a trained restorer to a model package: weights, ONNX twin, card, sample and self-test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.engine.steps import apply_steps
from deepbio.library.card import steps_of
from deepbio.library.content import PackageContent, TensorContent
from deepbio.networks.autoencoder import Autoencoder
from deepbio.networks.restorer import Restorer, fold_restorer
from deepbio.training.description import Description
from deepbio.training.packaging import folded_arguments, input_names, middle_of
from deepbio.training.restore_plan import Plan
from deepbio.training.weights import weight_files

__all__ = ["restore_content"]

_TILE = {2: 512, 3: 96}
_OVERLAP = {2: 0.125, 3: 0.25}
_CODE_OVERLAP = 0.5  # of pieces that go through a code, which fit less well at their borders
_SAMPLE_EDGE = {2: 256, 3: 48}
_WORDS = {
    "paired": "denoised image",
    "noise2void": "denoised image",
    "superresolution": "image on a finer grid",
    "autoencoder": "image after its way through the code",
    "vae": "image after its way through the code",
}


@contextmanager
def restore_content(
    network: nn.Module, plan: Plan, raw: np.ndarray, names: Sequence[str], about: Description
) -> Iterator[PackageContent]:
    """Prepare a trained network for `write_package`; its files last as long as the context.

    Parameters
    ----------
    network : torch.nn.Module
        Trained, in evaluation mode, on the CPU.
    plan : Plan
        What it was trained with.
    raw : ndarray, shape (C, [z,] y, x)
        Raw pixels of a held-out image for the self-test; cut to a small piece.
    names : sequence of str
        Of the channels, where they are known.
    about : Description
        What people should know.

    Yields
    ------
    PackageContent
        Without scores.
    """
    name, arguments, state = _folded(network, plan)
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    fixed = isinstance(network, Autoencoder)
    piece = _as_stored(middle_of(raw, divisor, 0 if fixed else _SAMPLE_EDGE[raw.ndim - 1]))
    steps = steps_of(plan.normalisation)
    axes = ("channel", *"zyx"[3 - plan.dims :])
    channels = tuple(names) if len(names) == plan.channels else input_names(plan.channels)
    tile = tuple(divisor) if fixed else (_TILE[plan.dims],) * plan.dims
    overlap = _CODE_OVERLAP if fixed else _OVERLAP[plan.dims]
    with weight_files(name, arguments, state, piece.shape, onnx=not fixed) as files:
        with torch.inference_mode():
            ready = torch.from_numpy(apply_steps(piece, axes, steps))[None]
            expected = files.network(ready).numpy()
        inputs = TensorContent(
            test=piece[None],
            sample=piece[None],
            channels=channels,
            minimum=() if fixed else tuple(divisor),
            step=() if fixed else tuple(divisor),
            steps=steps,
            description="raw intensities",
        )
        outputs = TensorContent(
            test=expected,
            channels=channels,
            halo=() if fixed else tuple(round(overlap / 2 * edge) * plan.factor for edge in tile),
            scale=(plan.factor,) * plan.dims,
            description=f"{_WORDS[plan.method]}, in units of the normalised input",
        )
        yield PackageContent(
            **about.words,
            task="restore",
            inputs=[inputs],
            outputs=[outputs],
            **files.entries,
            config=_config(plan, tile, overlap),
        )


def _folded(network: nn.Module, plan: Plan) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Name, arguments and state of the network for prediction."""
    name = plan.network["name"]
    if not isinstance(network, Restorer):
        return name, dict(plan.network["arguments"]), network.state_dict()
    return name, folded_arguments(plan.network), fold_restorer(network).state_dict()


def _config(plan: Plan, tile: Sequence[int], overlap: float) -> dict[str, Any]:
    config: dict[str, Any] = {
        "restore": {"method": plan.method, "factor": plan.factor},
        "tile": {"size": list(tile), "overlap": overlap},
        "mirror": list(plan.mirror),
        "training": asdict(plan),
    }
    if plan.dims == 2:
        config["per_slice"] = True  # each slice is an image of its own
    return config


def _as_stored(pixels: np.ndarray) -> np.ndarray:
    """Whole numbers as the type that images have them in, which makes the sample small."""
    whole = bool((pixels == np.rint(pixels)).all()) and pixels.min() >= 0 and pixels.max() < 2**16
    return pixels.astype(np.uint8 if pixels.max() < 256 else np.uint16) if whole else pixels
