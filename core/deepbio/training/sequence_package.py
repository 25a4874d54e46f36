"""From a trained network with memory to what a model package holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from deepbio.cases.sequence import Clip
from deepbio.engine.steps import apply_steps
from deepbio.library.card import Step, steps_of
from deepbio.library.content import PackageContent, TensorContent
from deepbio.networks.sequence import fold_sequence
from deepbio.training.description import Description
from deepbio.training.packaging import folded_arguments, input_names
from deepbio.training.sequence_plan import Plan
from deepbio.training.weights import weight_files

__all__ = ["sequence_content"]

_SAMPLE_EDGE = 128
_TILE, _OVERLAP = 512, 0.125


@contextmanager
def sequence_content(
    network: nn.Module, plan: Plan, sample: Clip, about: Description, *, onnx: bool = True
) -> Iterator[PackageContent]:
    """Prepare a trained network for `write_package`; its files last as long as the context.

    Parameters
    ----------
    network : torch.nn.Module
        Trained, in evaluation mode, on the CPU.
    plan : Plan
        What it was trained with.
    sample : Clip
        Frames (of the val part) for the self-test; cut to a small piece.
    about : Description
        What people should know.
    onnx : bool
        Whether to write the ONNX twin too.

    Yields
    ------
    PackageContent
        Without scores.
    """
    arguments = folded_arguments(plan.network)
    name, state = plan.network["name"], fold_sequence(network).state_dict()
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    raw = _piece(sample, plan, divisor)
    steps = steps_of(plan.normalisation)
    with weight_files(name, arguments, state, raw.shape, onnx=onnx, fixed=(1,)) as files:
        expected = _scores_of(files.network, raw, steps)
        sizes = plan.kind == "segment"
        inputs = TensorContent(
            test=raw[None],
            sample=raw[None],
            channels=input_names(plan.channels),
            time=True,
            minimum=(plan.frames, *divisor) if sizes else (),
            step=(0, *divisor) if sizes else (),
            steps=steps,
            description="raw intensities of consecutive frames",
        )
        outputs = TensorContent(
            test=expected[None],
            channels=("background", *plan.classes) if sizes else plan.classes,
            time=expected.ndim > 1,
            description="scores before softmax",
        )
        yield PackageContent(
            **about.words,
            task="sequence",
            inputs=[inputs],
            outputs=[outputs],
            **files.entries,
            config=_config(plan, about),
        )


def _config(plan: Plan, about: Description) -> dict[str, Any]:
    """The rest of ``config: deepbio:``."""
    classes = about.card_classes or {i: {"name": n} for i, n in enumerate(plan.classes, start=1)}
    sequence = {
        "kind": plan.kind,
        "frames": plan.frames,
        "bidirectional": bool(plan.network["arguments"].get("bidirectional")),
        "cyclic": plan.cyclic,
        "smooth": plan.smooth,
        "harmonics": plan.harmonics,
        "ejection": plan.ejection,
    }
    config: dict[str, Any] = {
        "sequence": sequence,
        "classes": classes,
        "training": asdict(plan),
        "per_slice": True,
    }
    if plan.kind == "segment":
        config |= {
            "decode": {"method": "classes", "largest": list(range(1, len(plan.classes) + 1))},
            "tile": {"size": [_TILE, _TILE], "overlap": _OVERLAP},
            "grid": plan.grid,
        }
    return config


def _piece(sample: Clip, plan: Plan, divisor: tuple[int, ...]) -> np.ndarray:
    """The first frames of a sample, its middle, in a size that the network takes: (C, T, y, x)."""
    index = [min(t, len(sample.pixels) - 1) for t in range(plan.frames)]
    pixels = sample.pixels[index].swapaxes(0, 1)
    sizes = plan.patch if plan.kind != "segment" else None
    for axis, d in zip((2, 3), divisor, strict=True):
        have = pixels.shape[axis]
        wanted = sizes[axis - 2] if sizes else max(min(have, _SAMPLE_EDGE) // d, 1) * d
        start = max(0, (have - wanted) // 2)
        pixels = np.take(pixels, np.clip(np.arange(start, start + wanted), 0, have - 1), axis)
    return np.ascontiguousarray(pixels)


def _scores_of(network: nn.Module, raw: np.ndarray, steps: list[Step]) -> np.ndarray:
    pixels = raw.astype(np.float32)
    ready = np.stack(
        [apply_steps(pixels[:, t], ("channel", "y", "x"), steps) for t in range(pixels.shape[1])], axis=1
    )
    with torch.inference_mode():
        scores: np.ndarray = network(torch.from_numpy(ready)[None])[0].numpy()
    return scores
