"""From a trained generator to the content of a package: weights, ONNX twin, card and self-test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from deepbio.engine.steps import apply_output_steps, apply_steps
from deepbio.library.card import Step
from deepbio.library.content import PackageContent, TensorContent
from deepbio.networks.unet import UNet, fold_norms
from deepbio.tasks.conditions import CONDITIONS
from deepbio.tasks.generate import make_latents
from deepbio.training.description import Description
from deepbio.training.packaging import input_names
from deepbio.training.weights import weight_files

if TYPE_CHECKING:
    from deepbio.training.generate_plan import Plan

__all__ = ["Pieces", "generator_content"]

_TILE, _OVERLAP = 512, 0.125
# bytes become -1 to 1, and the other way
_FROM_BYTES = (Step("scale_linear", {"gain": 1 / 127.5, "offset": -1.0}),)
_TO_BYTES = (Step("scale_linear", {"gain": 127.5, "offset": 127.5}), Step("clip", {"min": 0.0, "max": 255.0}))


@dataclass(frozen=True)
class Pieces:
    """What the self-test is made of: a latent and a class, conditions (1, 6, y, x), or an image of bytes."""

    latent: int = 0
    classes: tuple[str, ...] = ()
    conditions: np.ndarray | None = None
    pixels: np.ndarray | None = None


@contextmanager
def generator_content(
    network: nn.Module, plan: Plan, pieces: Pieces, config: Mapping[str, Any], about: Description
) -> Iterator[PackageContent]:
    """Prepare a trained generator for `write_package`; its files last as long as the context.

    Parameters
    ----------
    network : torch.nn.Module
        Trained, in evaluation mode, on the CPU.
    plan : Plan
        What it was trained with.
    pieces : Pieces
        For the self-test.
    config : mapping
        What the card says of the generator.
    about : Description
        What people should know.

    Yields
    ------
    PackageContent
        Without scores.
    """
    arguments = dict(plan.network["arguments"])
    if isinstance(network, UNet):
        network, arguments["norm"] = fold_norms(network), "none"
    steps = () if plan.kind == "paired" else _TO_BYTES
    first = _FROM_BYTES if plan.kind == "cycle" else ()
    test = _test_input(pieces)
    with weight_files(plan.network["name"], arguments, network.state_dict(), test.shape[1:]) as files:
        with torch.inference_mode():
            ready = apply_steps(test[0].astype(np.float32), ("channel", "y", "x")[: test.ndim - 1], first)
            raw = files.network(torch.from_numpy(ready)[None])[0].numpy()
        made = apply_output_steps(raw.copy(), steps)
        yield PackageContent(
            **about.words,
            task="generate",
            inputs=[_input(test, pieces, plan)],
            outputs=[
                TensorContent(
                    test=made[None],
                    channels=input_names(plan.channels),
                    steps=steps,
                    description="pixels from 0 to 255"
                    if plan.kind != "paired"
                    else "relative pixels: 0 is the background, 1 the mean of the objects",
                )
            ],
            **files.entries,
            config={**config, **_tile(plan), "training": _plain(asdict(plan))},
            # half a byte: the twin rounds products of weights once more
            tolerance=(1e-3, 1e-3 if plan.kind == "paired" else 0.5),
        )


def _test_input(pieces: Pieces) -> np.ndarray:
    if pieces.pixels is not None:
        return np.ascontiguousarray(pieces.pixels)
    if pieces.conditions is not None:
        return np.ascontiguousarray(pieces.conditions, np.float32)
    return make_latents([0], [1], pieces.latent, len(pieces.classes))


def _input(test: np.ndarray, pieces: Pieces, plan: Plan) -> TensorContent:
    if pieces.conditions is not None:
        return TensorContent(
            test=test,
            channels=CONDITIONS,
            minimum=(16, 16),
            step=(4, 4),
            description="what is known of the mask, and noise; see deepbio.tasks.conditions",
        )
    if pieces.pixels is not None:
        return TensorContent(
            test=test,
            channels=input_names(plan.channels),
            minimum=(16, 16),
            step=(4, 4),
            steps=_FROM_BYTES,
            description="image of bytes of the kind to start from",
        )
    names = (*(f"latent_{i + 1}" for i in range(pieces.latent)), *pieces.classes)
    return TensorContent(
        test=test, channels=names, description="normal random numbers, then the class as a 1 among zeros"
    )


def _tile(plan: Plan) -> dict[str, Any]:
    return {} if plan.kind == "class" else {"tile": {"size": [_TILE, _TILE], "overlap": _OVERLAP}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
