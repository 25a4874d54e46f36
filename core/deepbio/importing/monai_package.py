"""A bundle of MONAI as a model package: the same network, pre-processing, tiles and decision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.engine.steps import apply_output_steps, apply_steps
from deepbio.errors import CardError
from deepbio.importing.choice import ImportChoice
from deepbio.importing.monai import Bundle, read_bundle
from deepbio.importing.monai_after import After, read_after
from deepbio.importing.monai_before import Before, read_before
from deepbio.importing.monai_network import Exported, Shapes, build_network, export_network, read_script
from deepbio.importing.monai_tiles import Tiles, read_tiles
from deepbio.importing.monai_words import words_of
from deepbio.library import ModelCard
from deepbio.library.content import PackageContent, TensorContent
from deepbio.library.package import write_package
from deepbio.training.export import OPSET

__all__ = ["write_monai_package"]

_EDGE = 32  # of the self-test, along each axis where the network takes it


@dataclass(frozen=True)
class _Parts:
    """What a bundle is made of, in our words."""

    bundle: Bundle
    before: Before
    tiles: Tiles
    after: After
    channels: tuple[str, ...]
    classes: Mapping[int, str]


def write_monai_package(
    folder: Path, name: str, target: Path, choice: ImportChoice | None = None
) -> ModelCard:
    """Write the package of a bundle.

    Parameters
    ----------
    folder : Path
        That holds ``configs`` and ``models``.
    name : str
        What the bundle is called; the package's name is made of it.
    target : Path
        An existing folder, in which the package's own is made.
    choice : ImportChoice, optional
        Regions.

    Returns
    -------
    ModelCard
        Read back.

    Raises
    ------
    CardError
        If a file is missing, or the bundle asks for something that is not known here; the message says what.
    WeightsError
        If the weights cannot be read, do not fit the network, or cannot be written so that scores stay the same.
    MissingPackage
        If the network has to be built and MONAI is not installed.
    """
    bundle = read_bundle(folder, name)
    parts = _read(bundle, choice or ImportChoice())
    scratch = target / "network"
    scratch.mkdir()
    exported = _exported(parts, scratch)
    return write_package(target / "package" / _slug(bundle.name), _content(parts, exported))


def _read(bundle: Bundle, choice: ImportChoice) -> _Parts:
    inputs, outputs = (_tensor(bundle, group) for group in ("inputs", "outputs"))
    channels, heads = _count(inputs, "inputs"), _count(outputs, "outputs")
    dims = _dims(inputs)
    config = bundle.config
    inferer = config.component(config.named("evaluator", "inferer", "inferer"), "inferer")
    before = config.component(config.named("dataset", "transform", "preprocessing"), "preprocessing")
    after = config.component(config.named("evaluator", "postprocessing", "postprocessing"), "postprocessing")
    named = _names(outputs, heads)
    regions = _regions(choice, named)
    decided = read_after(after, channels=heads, regions=regions)
    classes = {label: named[channel] for channel, label in regions} or {
        k + 1: label for k, label in enumerate(named[0 if decided.decision == "threshold" else 1 :])
    }
    return _Parts(
        bundle,
        read_before(before, dims=dims, channels=channels),
        read_tiles(inferer, dims=dims),
        decided,
        tuple(_names(inputs, channels)),
        classes,
    )


def _regions(choice: ImportChoice, named: list[str]) -> tuple[tuple[int, int], ...]:
    """Channel and label of each region that the user named."""
    found = []
    for region in choice.regions:
        channel, _, label = region.rpartition("=")
        if channel.isdecimal() and int(channel) < len(named):
            found.append((int(channel), int(label)))
        elif named.count(channel) == 1:
            found.append((named.index(channel), int(label)))
        else:
            told = ", ".join(f"{k} ({name})" for k, name in enumerate(named))
            raise CardError(f"The bundle has no channel {channel!r}; it has {told}.")
    if len({label for _, label in found}) != len(found) or len({channel for channel, _ in found}) != len(
        found
    ):
        raise CardError(f"The regions {', '.join(choice.regions)} name a channel or a label twice.")
    return tuple(found)


def _tensor(bundle: Bundle, group: str) -> Mapping[str, Any]:
    """The one tensor of ``network_data_format``."""
    told = bundle.metadata.get("network_data_format")
    found = told.get(group) if isinstance(told, Mapping) else None
    if not isinstance(found, Mapping) or len(found) != 1:
        count = len(found) if isinstance(found, Mapping) else "no"
        raise CardError(
            f"The bundle's metadata.json names {count} {group} of the network (network_data_format); expected one."
        )
    entry = next(iter(found.values()))
    if not isinstance(entry, Mapping):
        raise CardError(f"The bundle's metadata.json has {group} {entry!r}; expected names and values.")
    return entry


def _count(tensor: Mapping[str, Any], group: str) -> int:
    count = tensor.get("num_channels")
    if type(count) is not int or not 0 < count <= 1000:
        raise CardError(
            f"The bundle's metadata.json has num_channels {count!r} of its {group}; expected a number."
        )
    return count


def _dims(tensor: Mapping[str, Any]) -> int:
    shape = tensor.get("spatial_shape")
    if not isinstance(shape, list) or len(shape) not in (2, 3):
        raise CardError(f"The bundle's metadata.json has spatial_shape {shape!r}; expected 2 or 3 sizes.")
    return len(shape)


def _names(tensor: Mapping[str, Any], count: int) -> list[str]:
    """Names of channels; those that nobody has named are numbered."""
    told = tensor.get("channel_def")
    told = told if isinstance(told, Mapping) else {}
    return [str(told.get(str(k)) or f"channel {k}")[:100] for k in range(count)]


def _exported(parts: _Parts, folder: Path) -> Exported:
    bundle, dims = parts.bundle, parts.before.dims
    told = _tensor(bundle, "inputs")["spatial_shape"]
    if bundle.scripted:
        network = read_script(bundle.weights, dims)
        step = _step_of(told)
    else:
        role = next((one for one in ("network_def", "network", "net") if one in bundle.config), "network_def")
        network, step = build_network(bundle.config.component(f"@{role}", role), bundle.weights, dims)
    network.channels = list(parts.after.order)
    size = parts.tiles.size
    if not parts.tiles.fixed:
        size = tuple(4 * s for s in step) if step else _fixed_size(told)
    shapes = Shapes(parts.before.channels, len(network.channels) or parts.after.channels, step, size)
    return export_network(network, shapes, folder, scripted=bundle.scripted)


def _step_of(told: list[Any]) -> tuple[int, ...]:
    """What sizes are multiples of, where the metadata write ``"16*n"`` along each axis."""
    found = [re.fullmatch(r"(\d{1,4})\s*\*\s*n", str(one)) for one in reversed(told)]
    return tuple(int(match[1]) for match in found if match) if all(found) else ()


def _fixed_size(told: list[Any]) -> tuple[int, ...]:
    if not all(type(n) is int and 0 < n <= 4096 for n in told):
        raise CardError(
            f"The bundle's metadata.json has spatial_shape {told!r}; for this network expected sizes, "
            "or '16*n' along each axis."
        )
    return tuple(reversed(told))


def _content(parts: _Parts, exported: Exported) -> PackageContent:
    before, after = parts.before, parts.after
    raw = _made_up(parts, exported)
    pixels = apply_steps(raw, ("channel", *before.axes), before.steps)
    scores = apply_output_steps(_run(exported, pixels), after.steps)
    one = after.decision == "threshold"
    heads = tuple(parts.classes.values()) if one else ("background", *parts.classes.values())
    weights: dict[str, Any] = {"torchscript": exported.path}
    if exported.path.suffix == ".onnx":
        weights = {"onnx": exported.path, "opset": OPSET}
    return PackageContent(
        **words_of(parts.bundle, parts.classes, dims=before.dims),
        **weights,
        task="segment",
        inputs=[
            TensorContent(
                raw[None],
                parts.channels,
                minimum=tuple(2 * s for s in exported.step) if exported.free else (),
                step=exported.step if exported.free else (),
                steps=before.steps,
                description="raw intensities",
            )
        ],
        outputs=[TensorContent(scores[None], heads, steps=after.steps, description=_what(after))],
        config=_config(parts, exported),
    )


def _made_up(parts: _Parts, exported: Exported) -> np.ndarray:
    """A small image of plausible intensities, for the self-test: a bundle has none that is its own."""
    size = exported.size
    if exported.free:
        size = tuple(max(2 * s, -(-_EDGE // s) * s) for s in exported.step)
    limits = next(
        (step.kwargs for step in parts.before.steps if step.id == "clip"), {"min": 0.0, "max": 200.0}
    )
    low, high = (limits["min"], limits["max"]) if limits["max"] > 1 else (0.0, 200.0)
    drawn = np.random.default_rng(0).uniform(low, high, (parts.before.channels, *size))
    return drawn.astype(np.float32)


def _run(exported: Exported, pixels: np.ndarray) -> np.ndarray:
    """Scores of the network, before the card's steps."""
    import torch

    with torch.inference_mode():
        scores: np.ndarray = exported.network(torch.from_numpy(pixels)[None]).float().numpy()[0]
    return scores


def _what(after: After) -> str:
    return "probabilities" if after.activation else "scores"


def _config(parts: _Parts, exported: Exported) -> dict[str, Any]:
    before, after = parts.before, parts.after
    tile = dict(parts.tiles.card)
    if not parts.tiles.fixed and not exported.free:
        tile["size"] = list(exported.size)
    config: dict[str, Any] = {
        "decode": after.decode,
        "tile": tile,
        "classes": {label: {"name": name} for label, name in parts.classes.items()},
        "origin": {
            "program": "MONAI",
            "bundle": parts.bundle.name,
            "version": str(parts.bundle.metadata.get("version", "")),
            "weights": parts.bundle.weights.name,
        },
    }
    grid = _grid(before, after)
    return {**config, "grid": grid} if grid else config


def _grid(before: Before, after: After) -> dict[str, Any]:
    grid: dict[str, Any] = {}
    if before.spacing and any(s is not None for s in before.spacing):
        grid = {"spacing": list(before.spacing), "unit": "millimeter", "interpolation": "monai"}
        if after.nearest:
            grid["back"] = "nearest"
    if before.inside:
        grid |= {"interpolation": "monai", "inside": "nonzero"}
    if before.orientation:
        grid["orientation"] = before.orientation
    if before.crop:
        grid["crop"] = before.crop
    return grid


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")[:64] or "monai-bundle"
