"""A movie of a disk that beats, and networks of sequences without training, as packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepbio.cases.sequence import Clip, SequenceCase
from deepbio.image import Grid, Image, LabelMap
from deepbio.library.package import write_package
from deepbio.networks import build
from deepbio.training.description import Description
from deepbio.training.sequence_package import sequence_content
from deepbio.training.sequence_plan import Plan

SPACING = (8.0, 1.2, 0.8)
STEPS = [{"id": "scale_linear", "kwargs": {"gain": 0.01, "offset": 0.0}}]


def beating(frames: int = 9, slices: int = 3, shape: tuple[int, int] = (37, 45)) -> tuple[Image, LabelMap]:
    """Disks whose radius follows a sine; oblique, anisotropic, int16."""
    y, x = np.indices(shape)
    labels = np.zeros((frames, slices, *shape), np.uint8)
    for t in range(frames):
        for z in range(slices):
            radius = 8 + z + 3 * np.cos(2 * np.pi * t / frames)
            labels[t, z] = (y - 17) ** 2 + (x - 21) ** 2 <= radius**2
    pixels = (labels * 150 + 20 + np.random.default_rng(1).normal(0, 3, labels.shape)).astype(np.int16)
    turn = np.array([[0.0, 0.6, -0.8], [0.0, 0.8, 0.6], [1.0, 0.0, 0.0]])
    grid = Grid(labels.shape[1:], SPACING, (3.0, -4.0, 5.5), turn, "millimeter")
    return (
        Image(pixels, "TZYX", grid, frame_interval=0.04),
        LabelMap(labels, "TZYX", grid, {1: "ventricle"}, 0.04),
    )


def package(
    folder: Path, name: str, kind: str = "segment", *, threshold: bool = False, **changes: Any
) -> Path:
    """Write a package of a small network; with `threshold` it finds what is brighter than 100."""
    torch.manual_seed(5)
    memory = {"cell": changes.pop("cell", "lstm"), "bidirectional": changes.pop("bidirectional", False)}
    if kind == "segment":
        arguments = {
            "in_channels": 1,
            "out_channels": 2,
            "features": [4, 6],
            "levels": [1],
            "hidden": [3],
            **memory,
        }
        network_name, arguments = "sequence_unet", {**arguments, "norm": "none"}
    else:
        per = kind.removeprefix("per-")
        arguments = {"in_channels": 1, "out_channels": 2, "features": [4], "hidden": 3, "per": per, **memory}
        network_name = "sequence_classifier"
    network: Any = build(network_name, arguments).eval()
    for addition in getattr(network, "additions", ()):
        nn.init.normal_(addition.weight, std=0.0 if threshold else 0.5)
    if threshold:
        _make_threshold(network)
    plan = Plan(
        kind=kind,
        channels=1,
        classes=("ventricle",) if kind == "segment" else ("calm", "wild"),
        network={"name": network_name, "arguments": arguments},
        frames=changes.pop("frames", 4),
        patch=(16, 16),
        normalisation=STEPS,
        **changes,
    )
    image, labels = beating(4, 1)
    clip = Clip(
        image.numpy()[:, 0][:, None],
        labels.numpy()[:, 0].astype(np.int16),
        (),
        SequenceCase(folder),
        image.grid,
    )
    about = Description(title="Beating disks", classes={1: "ventricle"} if kind == "segment" else {})
    with sequence_content(network, plan, clip, about) as content:
        write_package(folder / name, content)
    return folder / name


def _make_threshold(network: Any) -> None:
    """All weights zero but one way through: the pixel, from the first feature of each stage to the head."""
    unet = network.unet
    with torch.no_grad():
        for part in (*unet.encoder[0], *unet.decoder[0]):
            if not isinstance(part, nn.Sequential):
                continue
            conv = part[0]
            conv.weight.zero_()
            conv.bias.zero_()
            # the decoder's first convolution sees the features from below first, then those of the skip
            source = conv.in_channels // 2 if conv.in_channels > conv.out_channels else 0
            conv.weight[0, source, 1, 1] = 1
        unet.heads[0].weight.zero_()
        unet.heads[0].bias.copy_(torch.tensor([0.0, -10.0]))
        unet.heads[0].weight[1, 0] = 10.0
