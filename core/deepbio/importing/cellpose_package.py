"""A model of Cellpose as a package: the same network, tiles, sizes and way to objects under our names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepbio.engine.steps import apply_steps
from deepbio.importing.cellpose import CellposeFacts, cellpose_facts, cellpose_state
from deepbio.importing.checkpoint import read_checkpoint
from deepbio.library import ModelCard
from deepbio.library.card import Step
from deepbio.library.content import PackageContent, TensorContent
from deepbio.library.package import write_package
from deepbio.networks import build
from deepbio.training.weights import weight_files

__all__ = ["write_cellpose_package"]

_TILE, _OVERLAP = 224, 0.1  # as Cellpose has them where nobody says otherwise, and so the numbers below
_STEPS, _ERROR, _SHARE, _LEAST = 200, 0.4, 0.4, 15
_ZOOM = (0.05, 20.0)
_MULTIPLE = 16
_REACH = 256  # pixels: cells are large, and found on the image's own grid
_EDGE = 48  # of the self-test
_INPUTS = ("cells", "nuclei")
_OUTPUTS = ("flow along y", "flow along x", "cell")
_CITATIONS = (
    {
        "text": "Stringer et al., Cellpose: a generalist algorithm for cellular segmentation, Nature Methods 18:100 "
        "(2021)",
        "doi": "10.1038/s41592-020-01018-x",
    },
    {
        "text": "Stringer & Pachitariu, Cellpose3: one-click image restoration for improved cellular segmentation, "
        "Nature Methods 22:592 (2025)",
        "doi": "10.1038/s41592-025-02595-5",
    },
)


def write_cellpose_package(path: Path, target: Path) -> ModelCard:
    """Write the package of a model of Cellpose.

    Parameters
    ----------
    path : Path
        The file that Cellpose keeps it in.
    target : Path
        An existing folder, in which the package's own is made.

    Returns
    -------
    ModelCard
        Its name is made from the file's.

    Raises
    ------
    CardError
        If it is a network that is not known here.
    WeightsError
        If the file cannot be read, or is not whole.
    """
    state = {key.removeprefix("module."): value for key, value in read_checkpoint(path).items()}
    facts = cellpose_facts(state, path)
    expected = build("style_unet", facts.arguments).state_dict()
    ours = cellpose_state(state, expected, path)
    channels = _channels(facts.arguments["in_channels"])
    raw = np.random.default_rng(0).normal(100, 20, (len(channels), _EDGE, _EDGE)).astype(np.float32)
    steps = (Step("scale_range", {"axes": ["y", "x"], "min_percentile": 1.0, "max_percentile": 99.0}),)
    with weight_files("style_unet", facts.arguments, ours, raw.shape, half=False) as files:
        pixels = apply_steps(raw, ("channel", "y", "x"), steps)
        with torch.inference_mode():
            scores = files.network(torch.from_numpy(pixels)[None]).numpy()
        content = PackageContent(
            **_words(path, facts),
            task="segment",
            inputs=[
                TensorContent(
                    raw[None],
                    channels,
                    minimum=(_MULTIPLE, _MULTIPLE),
                    step=(_MULTIPLE, _MULTIPLE),
                    steps=steps,
                    description="raw intensities",
                )
            ],
            outputs=[
                TensorContent(
                    scores,
                    _OUTPUTS,
                    description="five times the flows, and scores of cells before the sigmoid",
                )
            ],
            **files.entries,
            config=_config(path, facts),
        )
        return write_package(target / _slug(path), content)


def _channels(count: int) -> tuple[str, ...]:
    return _INPUTS[:count] if count <= len(_INPUTS) else tuple(f"channel {k + 1}" for k in range(count))


def _config(path: Path, facts: CellposeFacts) -> dict[str, Any]:
    config: dict[str, Any] = {
        "decode": {
            "method": "flows",
            "steps": _STEPS,
            "error": _ERROR,
            "share": _SHARE,
            "min_size": _LEAST,
            "reach": _REACH,
        },
        "tile": {
            "size": [_TILE, _TILE],
            "overlap": _OVERLAP,
            "fixed": True,
            "pad": "zero",
            "blend": "cellpose",
            "spread": "cellpose",
        },
        "grid": {"interpolation": "linear"},
        "sizes": {
            "typical": [facts.diameter, facts.diameter],
            "usual": facts.usual,
            "zoom": list(_ZOOM),
            "exact": True,
        },
        "mirror": [0, 1],
        "origin": {"program": "Cellpose", "file": path.name},
    }
    if facts.arguments["in_channels"] > 1:
        config["grey"] = "first"
    return config


def _slug(path: Path) -> str:
    return (
        re.sub(r"[^a-z0-9._]+", "-", path.name.lower().removesuffix(".pth")).strip("-._")[:64] or "cellpose"
    )


def _words(path: Path, facts: CellposeFacts) -> dict[str, Any]:
    """What people should know; the file tells nothing but sizes."""
    title = re.sub(r"[^A-Za-z0-9_+\- ()]+", " ", f"{path.name} (Cellpose)")[:128]
    inputs = ", ".join(_channels(facts.arguments["in_channels"]))
    documentation = (
        f"# {title}\n\nImported from Cellpose: the file {path.name}, whose licence and training data it does not tell. "
        f"Channels in this order: {inputs}; those that are not given are 0.\n\n"
        f"The network knows objects of {facts.diameter:g} pixels; in its training images they had {facts.usual:.3g} on "
        "average, and that is taken where no diameter is given."
    )
    return {
        "title": title,
        "description": "Segments cells or nuclei by flows, with a network of Cellpose.",
        "license": "",
        "authors": [{"name": "The authors of the model"}],
        "citations": [dict(row) for row in _CITATIONS],
        "tags": ["cellpose", "segmentation", "2d"],
        "modality": ["fluorescence"],
        "training_data": "not told by the file",
        "documentation": documentation,
    }
