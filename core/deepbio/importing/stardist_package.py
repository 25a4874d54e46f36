"""A model of StarDist as a model package: the same network, normalisation and polygons or polyhedra."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepbio.engine.steps import apply_steps
from deepbio.importing.stardist import StarModel, read_stardist
from deepbio.importing.stardist_facts import StarFacts, star_facts
from deepbio.importing.stardist_weights import star_state
from deepbio.library import ModelCard
from deepbio.library.content import PackageContent, TensorContent
from deepbio.library.package import write_package
from deepbio.networks import build
from deepbio.networks.star import StarUNet
from deepbio.networks.star_resnet import StarResNet
from deepbio.training.weights import weight_files

__all__ = ["write_stardist_package"]

_EDGE = 1024  # pixels of a tile; of networks that look far, twice as many
_EDGE_3D = 128  # voxels; of networks that look far, twice as many as two tiles share
_TEST = {2: 64, 3: 32}  # pixels of the self-test, where the network takes them
_SPDX = {
    "BSD 3-Clause License": "BSD-3-Clause"
}  # StarDist's own, which its export writes unless told another
_CITATIONS = (
    {
        "text": "Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018",
        "doi": "10.1007/978-3-030-00934-2_30",
    },
    {
        "text": "Weigert et al., Star-convex Polyhedra for 3D Object Detection and Segmentation, WACV 2020",
        "doi": "10.1109/WACV45572.2020.9093435",
    },
)


def write_stardist_package(file: Path, called: str, target: Path) -> ModelCard:
    """Write the package of a model.

    Parameters
    ----------
    file : Path
        With the configuration, from :func:`deepbio.importing.stardist.find_stardist`.
    called : str
        What the model is called; an export's card has a name of its own.
    target : Path
        An existing folder, in which the package's own is made.

    Returns
    -------
    ModelCard
        Its name is made of the model's.

    Raises
    ------
    CardError
        If the configuration cannot be read, or asks for something that is not known here.
    WeightsError
        If the weights cannot be read or do not fit the configuration.
    """
    model = read_stardist(file)
    facts = star_facts(model)
    called = str(model.card.get("name") or called)
    network = build(facts.network, facts.arguments)
    assert isinstance(network, (StarUNet, StarResNet))  # noqa: S101 - for the type checker
    state = star_state(model.weights, network, facts.arguments, facts.prefix)
    raw = _made_up(facts)
    with weight_files(facts.network, facts.arguments, state, raw.shape, onnx=False, half=False) as files:
        pixels = apply_steps(raw, ("channel", *"zyx"[3 - len(facts.grid) :]), facts.steps)
        with torch.inference_mode():
            scores = files.network(torch.from_numpy(pixels)[None]).numpy()
        rays = facts.arguments["rays"]
        content = PackageContent(
            **_words(model, facts, called),
            task="segment",
            inputs=[_input(raw, facts)],
            outputs=[
                TensorContent(
                    scores,
                    ("probability", *(f"distance_{k}" for k in range(rays))),
                    scale=tuple(1 / n for n in _cell(facts)),
                    description="object probability, and distances to its border along rays in pixels",
                )
            ],
            **files.entries,
            config=_config(facts, network, called),
        )
        return write_package(target / _slug(called), content)


def _made_up(facts: StarFacts) -> np.ndarray:
    """Bright discs (balls) on noise, for the self-test: a training has no image with it."""
    size = [-(-_TEST[len(facts.divisor)] // divisor) * divisor for divisor in facts.divisor]
    drawn = np.random.default_rng(0)
    away = [
        ((n % 32 - 15) * stretch) ** 2
        for n, stretch in zip(np.ogrid[tuple(map(slice, size))], _stretch(facts), strict=True)
    ]
    disc = sum(away) < 81
    noise = drawn.standard_normal((facts.arguments["in_channels"], *size))
    return np.round(200 + 800 * disc + 20 * noise).astype(np.float32)


def _stretch(facts: StarFacts) -> tuple[float, ...]:
    return facts.anisotropy[3 - len(facts.divisor) :]


def _cell(facts: StarFacts) -> tuple[int, ...]:
    """Pixels that one answer of the network stands for; in 2D it repeats its answers."""
    return facts.grid if len(facts.grid) == 3 else (1, 1)


def _input(raw: np.ndarray, facts: StarFacts) -> TensorContent:
    channels = facts.arguments["in_channels"]
    names = ("red", "green", "blue") if channels == 3 else tuple(f"channel_{k}" for k in range(channels))
    return TensorContent(
        raw[None],
        names,
        minimum=facts.divisor,
        step=facts.divisor,
        steps=facts.steps,
        description="raw intensities",
    )


def _config(facts: StarFacts, network: StarUNet | StarResNet, called: str) -> dict[str, Any]:
    seen = [field + divisor for field, divisor in zip(network.receptive_field, facts.divisor, strict=True)]
    return {
        "decode": {
            "method": "stars",
            "threshold": facts.threshold,
            "overlap": facts.overlap,
            "grid": list(facts.grid),
            "divisor": list(facts.divisor),
            "min_size": 1,
            "reach": facts.reach,
            "logits": False,
            **({"rays": dict(facts.rays)} if facts.rays else {}),
        },
        "tile": {**_tile(facts, seen), "spread": "aligned", "blend": "nearest"},
        "origin": {"program": "StarDist", "model": called},
    }


def _tile(facts: StarFacts, seen: list[int]) -> dict[str, Any]:
    """Sizes of tiles, and how much they share: all that the network sees."""
    if len(seen) == 2:
        edge = _EDGE if 3 * max(seen) <= _EDGE else 2 * _EDGE
        return {"size": [max(edge // divisor, 1) * divisor for divisor in facts.divisor], "shared": max(seen)}
    edges = [max(_EDGE_3D, 2 * n) for n in seen]
    size = [-(-edge // divisor) * divisor for edge, divisor in zip(edges, facts.divisor, strict=True)]
    return {"size": size, "shared": seen, "cell": list(facts.grid)}


def _slug(called: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", called.lower()).strip("-._")[:64] or "stardist"


def _words(model: StarModel, facts: StarFacts, called: str) -> dict[str, Any]:
    """What people should know, as far as the files tell."""
    card = model.card
    licence = str(card.get("license") or "")
    title = re.sub(r"[^A-Za-z0-9_+\- ()]+", " ", called)[:110] + " (StarDist)"
    rays = facts.arguments["rays"]
    dims = len(facts.grid)
    shape, shapes = {2: ("polygon", "polygons"), 3: ("polyhedron", "polyhedra")}[dims]
    about = (
        f"Imported from StarDist: {called}. Star-convex {shapes} of {rays} rays on a grid of "
        f"{' x '.join(map(str, facts.grid))} pixels; probability from {facts.threshold:g}, overlap up to "
        f"{facts.overlap:g} of the smaller {shape}."
    )
    told = f"Licence as its card has it: {licence or 'none'}."
    return {
        "title": title,
        "description": "Finds star-convex objects, such as nuclei, with a network that StarDist trained.",
        "license": _SPDX.get(licence, licence if re.fullmatch(r"[A-Za-z0-9.+-]+", licence) else ""),
        "authors": _authors(card) or [{"name": f"The authors of {called}"}],
        "citations": _CITATIONS[: dims - 1],
        "tags": ["stardist", "instance-segmentation", f"{dims}d"],
        "documentation": "\n".join([f"# {title}", "", about, told]),
    }


def _authors(card: Mapping[str, Any]) -> list[dict[str, str]]:
    found = card.get("authors")
    rows = found if isinstance(found, list) else []
    return [{"name": str(row["name"])} for row in rows if isinstance(row, Mapping) and row.get("name")]
