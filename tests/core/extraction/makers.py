"""Generators of ours with random weights, as packages: of classes, of masks, and of other images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepbio.library import Step
from deepbio.library.package import PackageContent, TensorContent, write_package
from deepbio.networks import build
from deepbio.tasks.conditions import CONDITIONS
from deepbio.training.weights import weight_files

APPEARANCES = [[0.1, 0.5, 0.2], [0.2, 0.6, 0.1]]
MASKS = {
    "edge": 36,
    "areas": [60.0, 90.0],
    "spread": 0.2,
    "cover": [0.15, 0.25],
    "elongation": 1.3,
    "overlap": 0.2,
}
STYLE = {"latent": 3, "classes": 2, "out_channels": 1, "features": [6, 5, 4], "style": 8}
FROM_BYTES = [Step("scale_linear", {"gain": 0.01, "offset": -1.0})]


def unet_of(channels: int) -> dict[str, Any]:
    return {"dims": 2, "in_channels": channels, "out_channels": 1, "features": [4, 6], "norm": "none"}


def write_maker(folder: Path, kind: str) -> Path:
    """A package of the generator "class", "paired" or "cycle"."""
    name = "style_generator" if kind == "class" else "unet"
    arguments = STYLE if kind == "class" else unet_of(6 if kind == "paired" else 1)
    with torch.random.fork_rng([]):
        torch.manual_seed(4)
        state = build(name, arguments).eval().state_dict()
    random = np.random.default_rng(2)
    shape = {"class": (5,), "paired": (6, 16, 16), "cycle": (1, 16, 16)}[kind]
    test = (
        random.integers(0, 200, (1, *shape)).astype(np.uint8)
        if kind == "cycle"
        else random.normal(size=(1, *shape)).astype(np.float32)
    )
    names = {"class": ("a", "b", "c", "dark", "light"), "paired": CONDITIONS, "cycle": ("intensity",)}[kind]
    sizes = {} if kind == "class" else {"minimum": (16, 16), "step": (2, 2)}
    said = {"class": {"latent": 3}, "paired": {"appearances": APPEARANCES, "masks": MASKS}, "cycle": {}}[kind]
    config = {"generator": {"kind": kind, **said}}
    if kind == "class":
        config["classes"] = {1: {"name": "dark"}, 2: {"name": "light"}}
    with weight_files(name, arguments, state, shape, onnx=False) as files:
        ready = test * np.float32(0.01) - 1 if kind == "cycle" else test
        with torch.no_grad():
            made = files.network(torch.from_numpy(ready.astype(np.float32))).numpy()
        content = PackageContent(
            title=f"Maker {kind}",
            description="Random weights.",
            task="generate",
            license="CC0-1.0",
            authors=[{"name": "The DeepBio developers"}],
            inputs=[TensorContent(test, names, steps=FROM_BYTES if kind == "cycle" else (), **sizes)],
            outputs=[TensorContent(made, ("intensity",))],
            network=name,
            arguments=arguments,
            safetensors=files.safetensors,
            config=config,
        )
        write_package(folder / kind, content)
    return folder / kind
