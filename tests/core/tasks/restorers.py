"""Restorers that add a constant to what they are given: everything around them can be tested exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from deepbio.engine.steps import apply_steps
from deepbio.library import Step
from deepbio.library.package import PackageContent, TensorContent, write_package

MEAN_STD = Step("zero_mean_unit_variance", {"axes": ["y", "x"]})


def write_restorer(
    folder: Path, name: str, dims: int = 2, *, channels: int = 1, factor: int | tuple[int, ...] = 1,
    add: float = 0.0, step: Step = MEAN_STD, **config: Any,
) -> Path:  # fmt: skip
    """A package whose network gives its input (interpolated), and `add` in normalised units."""
    import torch

    from deepbio.networks import build

    arguments = {"dims": dims, "channels": channels, "factor": factor, "features": [4, 4], "norm": "none"}
    network = build("restorer", arguments).eval()
    head = network.trunk.heads[0]
    torch.nn.init.constant_(head.bias, add)
    weights = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
    axes = ("channel", *"zyx"[3 - dims :])
    step = Step(step.id, {**step.kwargs, "axes": list(axes[1:])}) if "axes" in step.kwargs else step
    pixels = (np.arange(channels * 8**dims) % 251).astype(np.uint16).reshape(1, channels, *(8,) * dims)
    with torch.inference_mode():
        expected = network(torch.from_numpy(apply_steps(pixels[0], axes, [step]))[None]).numpy()
    factors = (factor,) * dims if isinstance(factor, int) else factor
    names = tuple(f"channel_{i + 1}" for i in range(channels))
    content = PackageContent(
        title="Adds a constant",
        description="Gives its input again.",
        task="restore",
        license="CC0-1.0",
        authors=[{"name": "The DeepBio developers"}],
        inputs=[TensorContent(pixels, names, minimum=(2,) * dims, step=(2,) * dims, steps=[step])],
        outputs=[TensorContent(expected, names, scale=factors)],
        network="restorer",
        arguments=arguments,
        safetensors=weights,
        config={
            "restore": {"method": "paired", "factor": list(factors)},
            "tile": {"size": [16] * dims, "overlap": 0.25},
            **({"per_slice": True} if dims == 2 else {}),
            **config,
        },
    )
    write_package(folder / name, content)
    return folder / name
